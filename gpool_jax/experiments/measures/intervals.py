"""Values of quantities with bootstrap intervals over images."""

from typing import NamedTuple

import numpy as np

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


def num_classes(quantity: Quantity, totals: np.ndarray) -> int | None:
    """Classes in the mean of a quantity, from counts summed over images."""
    return None if quantity.classes is None else int(quantity.classes(totals))


def estimate(quantity: Quantity, counts: np.ndarray, resamples: np.ndarray) -> Estimate:
    """A quantity's value and interval, from counts int [N, ...] of each image.

    `resamples` uint8 [D, N], from `ops.draw_resamples`, are the same for all that is compared.
    """
    totals = counts.sum(axis=0, dtype=np.int64)
    low, high = percentile_interval(resampled_values(quantity, counts, resamples))
    return Estimate(float(quantity.score(totals)), low, high, num_classes(quantity, totals))
