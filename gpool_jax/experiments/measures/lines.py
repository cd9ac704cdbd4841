"""From per-image scores to the lines of a result, each with its interval."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gpool_jax import ops
from gpool_jax.experiments.experiment import Member
from gpool_jax.report import Probe, Result, Row


def make_row(
    arm: str,
    task: str,
    checkpoint: str,
    scores: np.ndarray,
    *,
    steps: list[int],
    chance: float,
    predictions_per_image: int,
    bootstrap: int,
) -> Row:
    """Make a row from per-image accuracies [S, N] of S seeds."""
    low, high = ops.bootstrap_interval(scores, num_draws=bootstrap)
    return Row(
        arm=arm,
        task=task,
        checkpoint=checkpoint,
        accuracy=float(scores.mean()),
        low=low,
        high=high,
        chance=chance,
        num_images=scores.shape[1],
        num_predictions=scores.shape[1] * predictions_per_image,
        num_seeds=scores.shape[0],
        per_seed=[float(s) for s in scores.mean(axis=1)],
        steps=steps,
    )


def make_probe(
    facts: dict[str, Any], scores: np.ndarray, *, predictions_per_image: int, bootstrap: int
) -> Probe:
    """Make a probe's line from per-image accuracies [S, N] and what names the probe."""
    low, high = ops.bootstrap_interval(scores, num_draws=bootstrap)
    return Probe(
        **facts,
        accuracy=float(scores.mean()),
        low=low,
        high=high,
        num_images=scores.shape[1],
        num_predictions=scores.shape[1] * predictions_per_image,
        num_seeds=scores.shape[0],
    )


def group(
    members: dict[str, Member],
    kind: str,
    lines: Callable[[Result], list],
    key: Callable[[Any], tuple],
) -> dict[tuple, list[tuple[Any, np.ndarray]]]:
    """Group the lines of all runs that differ in nothing but the seed, with their scores [1, N].

    Args:
      members: the runs.
      kind: "row" or "probe": how the scores of line i are called, `row0`, `row1`, ...
      lines: the lines of a result.
      key: what lines of one group have in common.
    """
    groups: dict[tuple, list[tuple[Any, np.ndarray]]] = {}
    for member in members.values():
        for i, line in enumerate(lines(member.result)):
            groups.setdefault(key(line), []).append((line, member.arrays[f"{kind}{i}"]))
    return groups


def combine_probes(members: dict[str, Member], n: int, bootstrap: int) -> list[Probe]:
    """Combine each probe of each network over its seeds.

    Args:
      members: the runs.
      n: cells per side of the canvases.
      bootstrap: draws of images and seeds.
    """
    names = ("network", "stage", "input", "probe", "target")
    groups = group(
        members, "probe", lambda r: r.probes, lambda p: tuple(getattr(p, name) for name in names)
    )
    return [
        make_probe(
            dict(zip(names, key, strict=True)) | {"chance": lines[0][0].chance},
            np.concatenate([scores for _, scores in lines]),
            predictions_per_image=n**2,
            bootstrap=bootstrap,
        )
        for key, lines in groups.items()
    ]
