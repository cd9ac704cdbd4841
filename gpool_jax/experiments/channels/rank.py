"""`gpool rank`: score every channel by every method, and compare the rankings."""

import itertools

import numpy as np

from gpool_jax import ops
from gpool_jax.config import RankConfig, plain
from gpool_jax.experiments.channels import classes, files, gates, mirrored, tiled
from gpool_jax.experiments.channels.files import Ranking
from gpool_jax.experiments.channels.images import Images, images_of, map_images
from gpool_jax.experiments.channels.scores import ChannelScores, Scores, ScoreTable
from gpool_jax.experiments.channels.subject import Subject, Target, Variables
from gpool_jax.experiments.experiment import Measured
from gpool_jax.experiments.measures.intervals import percentile_interval
from gpool_jax.report import Result
from gpool_jax.report.channel_result import Agreement, Stability
from gpool_jax.train import parallel

# Correlation beyond which two regions of a method are one list, and below which gate and
# integrated gradients disagree.
_ONE, _APART = 0.99, 0.3
# Seed of the random ranking.
_SEED = 0
_NUM_SHOWN = 10


def measure(target: Target, *, authors_format: bool = False) -> Measured:
    """Rank the channels of a network; perhaps as files like those that the authors publish."""
    subject = target.subject
    setup, config = subject.setup, subject.setup.config.rank
    images = images_of(setup, config.splits, config.num_images, config.batch_size)
    scored = score_channels(subject, target.variables, images, config.methods)
    rankings = make_rankings(scored, config)
    agreements = compare(rankings, config.overlap)
    result = Result(
        title=f"Channels of {config.feature}, ranked: {subject.name} on {setup.dataset.name}",
        config=plain.to_dict(setup.config),
        maps={"scores": _falling_scores(rankings), "first_channels": _first_channels(rankings)},
        notes=[
            *target.notes,
            f"Ranked on {scored.num_images:,} images of {' and '.join(config.splits)}.",
            *scored.notes,
            *describe(agreements),
        ],
        agreements=agreements,
        stability=stability(scored, config),
    )
    return Measured(result, files=files.to_files(rankings, authors_format=authors_format))


def score_channels(
    subject: Subject, variables: Variables, images: Images, methods: tuple[str, ...]
) -> ChannelScores:
    """Score the channels of a network by methods among `config.measurements.Method`."""
    look = parallel.map_batch(mirrored.make_look(subject))
    seen = map_images(look, variables, {}, images, title="plain and mirrored")
    notes: list[str] = []
    scores: ScoreTable = mirrored.score_views(subject, seen, methods, notes)
    if {"translation", "probe"} & set(methods):
        scores |= tiled.score_cells(subject, variables, images, methods, notes)
    if {"gate", "integrated"} & set(methods):
        scores |= gates.score_gates(subject, variables, images, methods, notes)
    if "class" in methods:
        scores |= classes.score_classes(subject, variables, images)
    if "random" in methods:
        drawn = np.random.default_rng(_SEED).random((len(subject.boxes), subject.num_channels))
        for name, row in zip(subject.boxes, drawn, strict=True):
            scores["random", name] = Scores(row)
    keys = [(method, region) for method in methods for region in subject.boxes]
    ordered = {key: scores[key] for key in keys if key in scores}
    clusters = images.clusters(subject.cluster)
    return ChannelScores(ordered, mirrored.activation_of(seen), len(images), notes, clusters)


def make_rankings(scored: ChannelScores, config: RankConfig) -> list[Ranking]:
    """Channels best first, by every method, for every region."""
    return [
        Ranking(
            method=method,
            region=region,
            order=ops.rank_channels(scores.mean),
            scores=scores.mean,
            num_images=scores.num_images or scored.num_images,
            splits=config.splits,
            feature=config.feature,
        )
        for (method, region), scores in scored.scores.items()
    ]


def compare(rankings: list[Ranking], overlap: tuple[int, ...]) -> list[Agreement]:
    """Every two rankings for the same region; and each method's regions among themselves."""
    agreements = []
    for first, second in itertools.combinations(rankings, 2):
        same_region = first.region == second.region
        if not same_region and first.method != second.method:
            continue
        labels = [r.method if same_region else f"{r.method} {r.region}" for r in (first, second)]
        agreements.append(
            Agreement(
                region=first.region if same_region else "",
                first=labels[0],
                second=labels[1],
                correlation=_correlation(first, second),
                overlap=_overlap(first.order, second.order[None], overlap),
                num_channels=len(first.order),
            )
        )
    return agreements


def describe(agreements: list[Agreement]) -> list[str]:
    """Say which regions of a method are one list, and where two kinds of gradient disagree."""
    known = [(a, a.correlation) for a in agreements if a.correlation is not None]
    notes = []
    ends = [f"{a.first} and {a.second} ({c:+.2f})" for a, c in known if not a.region and c < -_ONE]
    same = [f"{a.first} and {a.second} ({c:+.2f})" for a, c in known if not a.region and c > _ONE]
    if ends:
        notes.append(
            f"One list, read from both ends: {'; '.join(ends)}. They are no two findings; "
            "`rank.contrast inside` scores a region alone."
        )
    if same:
        notes.append(f"One list under two names: {'; '.join(same)}.")
    apart = [
        f"{a.region} {c:+.2f}"
        for a, c in known
        if {a.first, a.second} == {"gate", "integrated"} and a.region and c < _APART
    ]
    if apart:
        notes.append(
            f"Gate and integrated gradients disagree (rank correlation: {', '.join(apart)}). "
            "The gate's gradient is of a network with every channel; integrated ones are mostly of "
            "one with almost none, where its loss rises (see `score_gates`). For the removal of a "
            "few channels, go by the gate. A large completeness gap, above, would be another "
            "reason."
        )
    return notes


def _correlation(first: Ranking, second: Ranking) -> float | None:
    if first.scores is None or second.scores is None:
        return None
    value = ops.rank_correlation(first.scores, second.scores)
    return None if np.isnan(value) else value


def _overlap(order: np.ndarray, others: np.ndarray, counts: tuple[int, ...]) -> dict[str, float]:
    """Mean share of the best channels of an order [C] that other orders [D, C] have as well."""
    return {
        str(count): float(np.mean([ops.overlap_at(order, other, count) for other in others]))
        for count in counts
        if count <= len(order)
    }


def stability(scored: ChannelScores, config: RankConfig) -> list[Stability]:
    """Each ranking against those of resampled images."""
    lines = []
    for (method, region), scores in scored.scores.items():
        if scores.per_image is None or scores.weights is None:
            continue
        again = ops.resampled_means(
            scores.per_image,
            scores.weights,
            num_draws=config.bootstrap,
            seed=0,
            clusters=scored.clusters,
        )
        correlation = np.array([ops.rank_correlation(scores.mean, row) for row in again])
        low, high = percentile_interval(correlation)
        order, others = ops.rank_channels(scores.mean), ops.rank_channels(again)
        lines.append(
            Stability(
                method=method,
                region=region,
                correlation=float(np.nanmean(correlation)),
                low=low,
                high=high,
                overlap=_overlap(order, others, config.overlap),
                num_images=scores.num_images,
            )
        )
    return lines


def _first_channels(rankings: list[Ranking]) -> dict[str, list[int]]:
    """The channels that each ranking puts first."""
    return {f"{r.method} {r.region}": r.order[:_NUM_SHOWN].tolist() for r in rankings}


def _falling_scores(rankings: list[Ranking]) -> dict[str, list[float]]:
    """Scores of each ranking, best first: how fast they fall."""
    return {
        f"{r.method} {r.region}": [float(score) for score in r.scores[r.order]]
        for r in rankings
        if r.scores is not None
    }
