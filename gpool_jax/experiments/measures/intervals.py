"""Values of quantities with bootstrap intervals over images."""

from typing import NamedTuple

import numpy as np
from scipy import special

from gpool_jax import ops
from gpool_jax.experiments.measures.quantity import Quantity


class Estimate(NamedTuple):
    """A value over all images, its 95 % bootstrap interval, and the classes in the mean, if any."""

    value: float
    low: float
    high: float
    num_classes: int | None


def resampled_values(quantity: Quantity, counts: np.ndarray, resamples: np.ndarray) -> np.ndarray:
    """Values [D] of a quantity over bootstrap samples [D, N], from the counts [N, ...]."""
    totals = resamples @ counts.reshape(len(counts), -1).astype(np.float64)
    return quantity.score(totals.reshape(len(totals), *counts.shape[1:]))


def percentile_interval(values: np.ndarray) -> tuple[float, float]:
    """The range of the middle 95 % of values; NaN among them is left out."""
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def interval(
    value: float, resampled: np.ndarray, num_units: int, bounds: tuple[float, float]
) -> tuple[float, float]:
    """The 95 % interval of a value from its resamples [D], exact where those are all the same.

    The range of the middle 95 % is too narrow for few units, by the root of (n - 1) / n and by
    Student's t over the normal: it is widened about the value so (Hesterberg, "What teachers
    should know about the bootstrap", 2015). That is 6 % for 30 images, and nine times for the two
    videos of a test set, which say little. `num_units` is the number of images, or of clusters of
    them, that were resampled, `bounds` the smallest and largest value that one of them can give;
    see `ops.unseen_interval`.
    """
    low, high = percentile_interval(resampled)
    if num_units and high - low < 1e-12:
        return ops.unseen_interval(value, num_units, bounds)
    if num_units < 2:
        return low, high
    wider = _small_sample(num_units) * special.stdtrit(num_units - 1, 0.975) / special.ndtri(0.975)
    low, high = value - wider * (value - low), value + wider * (high - value)
    return float(max(low, bounds[0])), float(min(high, bounds[1]))


def _small_sample(num_units: int) -> float:
    """How much larger a standard error is than its bootstrap estimate."""
    return (num_units / (num_units - 1)) ** 0.5


def p_value(
    value: float, resampled: np.ndarray, num_units: int, bounds: tuple[float, float]
) -> float:
    """Two-sided probability of a value so far from 0 if the truth is 0, by its resamples [D].

    The resamples' spread is the standard error of Student's t, so that p is not bounded by their
    number. Where they are all the same, it is at most the probability that every image
    gives this value, which is largest if all others give the bound on the other side of 0.
    """
    resampled = resampled[~np.isnan(resampled)]
    if not len(resampled) or not num_units:
        return float("nan")
    spread, size = float(resampled.std()), abs(value)
    if spread > 1e-12:
        error = spread * _small_sample(num_units)
        return float(2.0 * special.stdtr(num_units - 1, -size / error))
    other = abs(bounds[0] if value > 0 else bounds[1])
    return min(1.0, 2.0 * (other / (other + size)) ** num_units) if size else 1.0


def num_classes(quantity: Quantity, totals: np.ndarray) -> int | None:
    """Classes in the mean of a quantity, from counts summed over images."""
    return None if quantity.classes is None else int(quantity.classes(totals))


def count_units(counts: np.ndarray, units: np.ndarray) -> int:
    """Clusters `units` [N] of images in which something was counted, from counts [N, ...]."""
    told = counts.reshape(len(counts), -1).any(axis=1)
    return len(np.unique(units[told]))


def estimate(
    quantity: Quantity, counts: np.ndarray, resamples: np.ndarray, units: np.ndarray | None = None
) -> Estimate:
    """A quantity's value and interval, from counts int [N, ...] of each image.

    `resamples` uint8 [D, N], from `ops.cluster_resamples` of the images' clusters `units` [N]
    (None: each is its own), are the same for all that is compared.
    """
    units = np.arange(len(counts)) if units is None else units
    totals = counts.sum(axis=0, dtype=np.int64)
    value = float(quantity.score(totals))
    resampled = resampled_values(quantity, counts, resamples)
    low, high = interval(value, resampled, count_units(counts, units), (0.0, 1.0))
    return Estimate(value, low, high, num_classes(quantity, totals))
