"""Measurements with intervals from the (sum, count) of each image, alone or compared."""

import dataclasses

import numpy as np

from gpool_jax import ops
from gpool_jax.report import Measurement


@dataclasses.dataclass(frozen=True)
class Tally:
    """Sums [N], or [S, N] over seeds, and counts of predictions of one quantity of one network.

    `chance` is the value at chance, where there is one.
    """

    sums: np.ndarray
    counts: np.ndarray
    chance: float | None = None

    @property
    def per_seed(self) -> np.ndarray:
        """[S]: total over total of each seed."""
        sums, counts = np.atleast_2d(self.sums), np.atleast_2d(self.counts)
        total = counts.sum(axis=1)
        return np.divide(sums.sum(axis=1), total, out=np.full(len(sums), np.nan), where=total > 0)


# By (protocol, quantity).
Tallies = dict[tuple[str, str], Tally]


def stack(members: list[Tallies]) -> Tallies:
    """Join the tallies of several seeds: [N] each, to [S, N]."""
    return {
        key: Tally(
            np.stack([member[key].sums for member in members]),
            np.stack([member[key].counts for member in members]),
            tally.chance,
        )
        for key, tally in members[0].items()
    }


def summarise(arm: str, tallies: Tallies, *, bootstrap: int) -> list[Measurement]:
    """Summarise every quantity of one arm, with its interval."""
    return compare(arm, tallies, None, {}, bootstrap=bootstrap)


def compare(
    arm: str, tallies: Tallies, versus: str | None, others: Tallies, *, bootstrap: int
) -> list[Measurement]:
    """Subtract another arm, if any, from every quantity of one arm, paired by seed and image."""
    measurements = []
    for (protocol, quantity), tally in tallies.items():
        sums, counts = np.atleast_2d(tally.sums), np.atleast_2d(tally.counts)
        value, per_seed, chance, rival = _ratio(sums, counts), tally.per_seed, tally.chance, None
        if versus is not None:
            other = others[protocol, quantity]
            rival = np.atleast_2d(other.sums), np.atleast_2d(other.counts)
            value, per_seed, chance = value - _ratio(*rival), per_seed - other.per_seed, None
        low, high = ops.bootstrap_ratio(sums, counts, versus=rival, num_draws=bootstrap)
        measurements.append(
            Measurement(
                arm=arm,
                versus=versus,
                protocol=protocol,
                quantity=quantity,
                value=value,
                low=low,
                high=high,
                chance=chance,
                num_images=sums.shape[1],
                num_answers=round(float(counts.sum()) / len(counts)),
                num_seeds=len(sums),
                per_seed=[float(v) for v in per_seed],
            )
        )
    return measurements


def _ratio(sums: np.ndarray, counts: np.ndarray) -> float:
    total = counts.sum()
    return float(sums.sum() / total) if total > 0 else float("nan")


def to_arrays(tallies: Tallies) -> dict[str, np.ndarray]:
    """Make the arrays stored beside a result: `PROTOCOL/QUANTITY` to [2, N], sums and counts."""
    return {
        f"{protocol}/{quantity}": np.stack([tally.sums, tally.counts]).astype(np.float32)
        for (protocol, quantity), tally in tallies.items()
    }


def from_arrays(arrays: dict[str, np.ndarray], measurements: list[Measurement]) -> Tallies:
    """The inverse of `to_arrays`, with the chances of the measurements made from them."""
    tallies = {}
    for m in measurements:
        sums, counts = arrays[f"{m.protocol}/{m.quantity}"].astype(np.float64)
        tallies[(m.protocol, m.quantity)] = Tally(sums, counts, m.chance)
    return tallies
