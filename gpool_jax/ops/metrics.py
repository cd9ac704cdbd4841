"""Measurements: sums that can be added over batches and devices, and intervals."""

import jax
import jax.numpy as jnp
import numpy as np


def masked_sum(values: jax.Array, mask: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """A quantity as (sum, count), so that means over unequal batches are exact.

    Args:
      values: [B], one value per example.
      mask: bool [B], False where the example is padding; None keeps all.

    Returns:
      float32 (sum, count), scalars.
    """
    values = values.astype(jnp.float32)
    if mask is None:
        return values.sum(), jnp.float32(values.size)
    mask = mask.astype(jnp.float32)
    return (values * mask).sum(), mask.sum()


def bootstrap_interval(
    per_image: np.ndarray, *, num_draws: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean, over images and over seeds.

    The image is the unit that is drawn again, so that the many (image, cell,
    permutation) answers of one image do not count as independent. With several
    seeds each draw takes seeds with replacement, then images with replacement
    (the same images for every seed drawn: they share one test set).

    Args:
      per_image: [N], or [S, N] for S seeds: mean score of each image.
      num_draws: bootstrap samples.
      level: coverage.
      seed: of the draws.

    Where every image has the same score 0 or 1, no draw differs and the
    bootstrap knows no doubt; the exact binomial bound over images stands in.

    Returns:
      (low, high).

    References: Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    chapters 8 and 13; Clopper and Pearson, Biometrika 26, 1934.
    """
    scores = np.atleast_2d(np.asarray(per_image, np.float64))
    num_seeds, num_images = scores.shape
    beyond = ((1.0 - level) / 2.0) ** (1.0 / num_images)
    if np.all(scores == 1.0):
        return beyond, 1.0
    if np.all(scores == 0.0):
        return 0.0, 1.0 - beyond
    generator = np.random.default_rng(seed)
    means = np.empty(num_draws)
    for draw in range(num_draws):
        chosen = generator.integers(0, num_seeds, num_seeds)
        weights = np.bincount(generator.integers(0, num_images, num_images), minlength=num_images)
        means[draw] = (scores[chosen].mean(axis=0) * weights).sum() / num_images
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return float(low), float(high)


def position_selectivity(total: np.ndarray, total_of_squares: np.ndarray, count: int) -> np.ndarray:
    """Share of each channel's variance that the cell explains (eta squared).

    Args:
      total: [cells, C], sum of the latent over images, per cell.
      total_of_squares: [cells, C], sum of its square.
      count: images per cell.

    Returns:
      float64 [C] in 0..1; 0 for a channel that never changes.

    Reference: Fisher, Statistical Methods for Research Workers, 1925 (the
    correlation ratio).
    """
    total = np.asarray(total, np.float64)
    mean_per_cell = total / count
    between = mean_per_cell.var(axis=0)
    everything = np.asarray(total_of_squares, np.float64).mean(axis=0) / count
    variance = everything - mean_per_cell.mean(axis=0) ** 2
    # Rounding alone makes a dead channel's variance about 1e-7 of its square.
    alive = variance > 1e-6 * np.maximum(everything, 1e-12)
    return np.where(alive, np.clip(between / np.where(alive, variance, 1.0), 0.0, 1.0), 0.0)
