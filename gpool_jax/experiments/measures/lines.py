"""From per-image scores to the lines of a result, each with its interval."""

import operator
from typing import Any

import numpy as np

from gpool_jax import ops
from gpool_jax.experiments.experiment import Member
from gpool_jax.report import Probe, Row


def summarise(
    scores: np.ndarray, *, predictions_per_image: int, bootstrap: int, group_size: int = 1
) -> dict[str, Any]:
    """The numbers of a row or probe, from per-image accuracies [S, N] of S seeds.

    So many images in a row as a group has are resampled together.
    """
    low, high = ops.bootstrap_interval(scores, num_draws=bootstrap, group_size=group_size)
    return {
        "accuracy": float(scores.mean()),
        "low": low,
        "high": high,
        "num_images": scores.shape[1],
        "num_predictions": scores.shape[1] * predictions_per_image,
        "num_seeds": scores.shape[0],
    }


def make_row(
    scores: np.ndarray,
    *,
    predictions_per_image: int,
    bootstrap: int,
    group_size: int = 1,
    **facts: Any,
) -> Row:
    """Make a row from per-image accuracies [S, N] of S seeds and what else `Row` says."""
    numbers = summarise(
        scores,
        predictions_per_image=predictions_per_image,
        bootstrap=bootstrap,
        group_size=group_size,
    )
    return Row(**facts, **numbers, per_seed=[float(s) for s in scores.mean(axis=1)])


def group(
    members: dict[str, Member], kind: str, names: tuple[str, ...]
) -> dict[tuple, list[tuple[Any, np.ndarray]]]:
    """Group lines of all runs by the fields that are named, each with its scores [1, N].

    `kind` is "row" or "probe": the scores of line i are called `row0`, ... or `probe0`, ...
    """
    key = operator.attrgetter(*names)
    groups: dict[tuple, list[tuple[Any, np.ndarray]]] = {}
    for member in members.values():
        for i, line in enumerate(getattr(member.result, f"{kind}s")):
            groups.setdefault(key(line), []).append((line, member.arrays[f"{kind}{i}"]))
    return groups


def combine_probes(members: dict[str, Member], bootstrap: int) -> list[Probe]:
    """Combine each probe of each network over its seeds."""
    names = ("network", "stage", "input", "probe", "target")
    probes = []
    for key, lines in group(members, "probe", names).items():
        scores = np.concatenate([scores for _, scores in lines])
        cells = lines[0][0].num_predictions // lines[0][0].num_images
        numbers = summarise(scores, predictions_per_image=cells, bootstrap=bootstrap)
        facts = dict(zip(names, key, strict=True))
        probes.append(Probe(**facts, chance=lines[0][0].chance, **numbers))
    return probes
