"""`gpool rank`: score every channel by every method, and compare the rankings."""

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gpool_jax import ops
from gpool_jax.config import RankConfig, plain
from gpool_jax.experiments import workdir
from gpool_jax.experiments.channels import files
from gpool_jax.experiments.channels.files import Ranking
from gpool_jax.experiments.channels.scoring import Ranked, score_channels
from gpool_jax.experiments.channels.subjects import Opened, images_of
from gpool_jax.report import Result, write_report, write_result
from gpool_jax.report.channel_result import Agreement, Stability
from gpool_jax.report.environment import environment


def run(
    opened: Opened,
    out: Path,
    *,
    authors_format: bool = False,
    warn: Callable[[str], None] = print,
) -> Result:
    """Rank the channels of a network; write rankings and report.

    Args:
      opened: from `subjects.open_run` or `open_weights`.
      out: gets ranking_METHOD_REGION.json, instead of those that are there, results.json
        and report.html.
      authors_format: write the rankings as the authors publish theirs.
      warn: receives warnings.
    """
    started = time.perf_counter()
    setup, config = opened.subject.setup, opened.subject.setup.config.rank
    workdir.check_writable(out)
    images = images_of(setup, config.splits, config.num_images, config.batch_size)
    ranked = score_channels(opened.subject, opened.variables, images, config.methods)
    rankings = make_rankings(ranked, config)
    result = Result(
        title=f"Channels of {config.feature}, ranked: {opened.name} on {setup.dataset.name}",
        config=plain.to_dict(setup.config),
        rows=[],
        probes=[],
        maps={"scores": _score_maps(rankings)},
        curves={},
        environment=environment(time.perf_counter() - started),
        notes=[
            *opened.notes,
            f"Ranked on {ranked.num_images:,} images of {' and '.join(config.splits)}.",
            *ranked.notes,
        ],
        agreements=compare(rankings, config.overlap),
        stability=stability(ranked, config),
    )
    workdir.make(out)
    files.write_all(rankings, out, authors_format=authors_format)
    write_result(result, out)
    write_report(result, out, warn)
    return result


def make_rankings(ranked: Ranked, config: RankConfig) -> list[Ranking]:
    """Best first, by every method, for every region."""
    return [
        Ranking(
            method=method,
            region=region,
            order=ops.rank_channels(found.mean),
            scores=found.mean,
            num_images=found.num_images or ranked.num_images,
            splits=config.splits,
            feature=config.feature,
        )
        for (method, region), found in ranked.scores.items()
    ]


def compare(rankings: list[Ranking], overlap: tuple[int, ...]) -> list[Agreement]:
    """Every two rankings for the same region; and each method's regions among themselves."""
    return [
        Agreement(
            region=first.region if first.region == second.region else "",
            first=_label(first, second),
            second=_label(second, first),
            correlation=_correlation(first, second),
            overlap={
                str(count): ops.overlap_at(first.order, second.order, count)
                for count in overlap
                if count <= len(first.order)
            },
            num_channels=len(first.order),
        )
        for first, second in itertools.combinations(rankings, 2)
        if first.region == second.region or first.method == second.method
    ]


def _label(ranking: Ranking, other: Ranking) -> str:
    same_region = ranking.region == other.region
    return ranking.method if same_region else f"{ranking.method} {ranking.region}"


def _correlation(first: Ranking, second: Ranking) -> float | None:
    if first.scores is None or second.scores is None:
        return None
    value = ops.rank_correlation(first.scores, second.scores)
    return None if np.isnan(value) else value


def stability(ranked: Ranked, config: RankConfig) -> list[Stability]:
    """Each ranking against those of resampled images."""
    return [
        _stability(key, found.mean, found.per_image, found.weights, config)
        for key, found in ranked.scores.items()
        if found.per_image is not None and found.weights is not None
    ]


def _stability(
    key: tuple[str, str],
    mean: np.ndarray,
    per_image: np.ndarray,
    weights: np.ndarray,
    config: RankConfig,
) -> Stability:
    again = ops.resampled_means(per_image, weights, num_draws=config.bootstrap, seed=0)
    order = ops.rank_channels(mean)
    orders = ops.rank_channels(again)
    correlation = np.array([ops.rank_correlation(mean, row) for row in again])
    low, high = np.quantile(correlation, [0.025, 0.975])
    counts = [count for count in config.overlap if count <= len(order)]
    return Stability(
        method=key[0],
        region=key[1],
        correlation=float(correlation.mean()),
        low=float(low),
        high=float(high),
        overlap={
            str(c): float(np.mean([ops.overlap_at(order, row, c) for row in orders]))
            for c in counts
        },
        num_images=int((weights > 0).sum()),
    )


def _score_maps(rankings: list[Ranking]) -> dict[str, list[float]]:
    """Scores of each ranking, best first: how fast they fall."""
    return {
        f"{r.method} {r.region}": [float(v) for v in r.scores[r.order]]
        for r in rankings
        if r.scores is not None
    }
