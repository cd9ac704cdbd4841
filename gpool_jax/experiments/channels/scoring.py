"""Score every channel by every method that is asked for."""

import dataclasses
from typing import Any

import numpy as np

from gpool_jax.experiments.channels import gates, mirrored, placed
from gpool_jax.experiments.channels.images import Images, map_images
from gpool_jax.experiments.channels.scores import Scores
from gpool_jax.experiments.channels.subject import Subject
from gpool_jax.train import parallel

# Of the random ranking.
_SEED = 0


@dataclasses.dataclass(frozen=True)
class Ranked:
    """Everything that ranking found.

    Attributes:
      scores: by (method, region).
      activation: mean [C] and variance [C] of the channels over images and space.
      num_images: ranked on.
      notes: what could not be scored, and how exact the integration is.
    """

    scores: dict[tuple[str, str], Scores]
    activation: tuple[np.ndarray, np.ndarray]
    num_images: int
    notes: list[str]


def score_channels(
    subject: Subject, variables: Any, images: Images, methods: tuple[str, ...]
) -> Ranked:
    """Score the channels of a network.

    Args:
      subject: the network.
      variables: its weights.
      images: to rank on.
      methods: among `config.sections.Method`.
    """
    look = parallel.map_batch(mirrored.make_look(subject))
    seen = map_images(look, variables, {}, images, title="plain and mirrored")
    activation = mirrored.activation_of(seen)
    found: dict[tuple[str, str], Scores] = {}
    notes: list[str] = []
    if "flip" in methods:
        found |= mirrored.score_flip(subject, seen, notes)
    if "mean" in methods:
        found |= mirrored.compare(subject, "mean", seen["inside"], seen["outside"])
    if "variance" in methods:
        found |= mirrored.score_variance(subject, seen)
    if {"translation", "probe"} & set(methods):
        found |= placed.score_places(subject, variables, images, methods, notes)
    if {"gate", "integrated"} & set(methods):
        found |= gates.score_gates(subject, variables, images, methods, notes)
    if "random" in methods:
        drawn = np.random.default_rng(_SEED).random((len(subject.boxes), len(activation[0])))
        found |= {
            ("random", name): Scores(row) for name, row in zip(subject.boxes, drawn, strict=True)
        }
    ordered = {
        (method, region): found[method, region]
        for method in methods
        for region in subject.boxes
        if (method, region) in found
    }
    return Ranked(ordered, activation, len(images), notes)
