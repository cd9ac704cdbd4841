"""Score every channel by every method that is asked for."""

import numpy as np

from gpool_jax.experiments.channels import gates, mirrored, tiled
from gpool_jax.experiments.channels.images import Images, map_images
from gpool_jax.experiments.channels.scores import ChannelScores, Scores, ScoreTable
from gpool_jax.experiments.channels.subject import Subject, Variables
from gpool_jax.train import parallel

# Seed of the random ranking.
_SEED = 0


def score_channels(
    subject: Subject, variables: Variables, images: Images, methods: tuple[str, ...]
) -> ChannelScores:
    """Score the channels of a network.

    Args:
      subject: the network.
      variables: its weights.
      images: to rank on.
      methods: among `ops.METHODS`.
    """
    look = parallel.map_batch(mirrored.make_look(subject))
    seen = map_images(look, variables, {}, images, title="plain and mirrored")
    notes: list[str] = []
    scores: ScoreTable = mirrored.score_views(subject, seen, methods, notes)
    if {"translation", "probe"} & set(methods):
        scores |= tiled.score_cells(subject, variables, images, methods, notes)
    if {"gate", "integrated"} & set(methods):
        scores |= gates.score_gates(subject, variables, images, methods, notes)
    if "random" in methods:
        drawn = np.random.default_rng(_SEED).random((len(subject.boxes), subject.num_channels))
        for name, row in zip(subject.boxes, drawn, strict=True):
            scores["random", name] = Scores(row)
    keys = [(method, region) for method in methods for region in subject.boxes]
    ordered = {key: scores[key] for key in keys if key in scores}
    return ChannelScores(ordered, mirrored.activation_of(seen), len(images), notes)
