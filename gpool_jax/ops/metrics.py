"""Measurements: sums that can be added over batches and devices, and intervals."""

import functools

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

    Args:
      per_image: [N], or [S, N] for S seeds: mean score of each image.
      num_draws: bootstrap samples.
      level: coverage.
      seed: of the draws.

    Returns:
      (low, high); see `bootstrap_ratio`, of which this is the case of equal
      counts.
    """
    scores = np.atleast_2d(np.asarray(per_image, np.float64))
    ones = np.ones_like(scores)
    return bootstrap_ratio(scores, ones, num_draws=num_draws, level=level, seed=seed)


def bootstrap_ratio(
    sums: np.ndarray,
    counts: np.ndarray,
    *,
    versus: tuple[np.ndarray, np.ndarray] | None = None,
    num_draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of total sum over total count.

    The image is the unit that is drawn again, so that the many (image, cell,
    permutation) or (image, shift) answers of one image do not count as
    independent. With several seeds each draw takes seeds with replacement, then
    images with replacement (the same images for every seed drawn: they share
    one test set).

    Where every image is at 0 or every image at 1, no draw differs and the
    bootstrap knows no doubt; the exact binomial bound over images stands in.

    Args:
      sums: [S, N], of the score of each seed and image.
      counts: [S, N], answers behind each sum.
      versus: (sums, counts) of another arm on the same images, its seeds in the
        same order: the interval is that of the difference, each draw taking the
        same seeds and images for both.
      num_draws: bootstrap samples.
      level: coverage.
      seed: of the draws.

    Returns:
      (low, high); both NaN if there is no answer at all.

    References: Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    chapters 8 and 13; Clopper and Pearson, Biometrika 26, 1934.
    """
    sums, counts = np.asarray(sums, np.float64), np.asarray(counts, np.float64)
    num_images = int((counts.sum(axis=0) > 0).sum())
    if num_images == 0:
        return float("nan"), float("nan")
    if versus is None:
        beyond = ((1.0 - level) / 2.0) ** (1.0 / num_images)
        if np.all(sums == counts):
            return beyond, 1.0
        if np.all(sums == 0.0):
            return 0.0, 1.0 - beyond
    drawn = _draw_again(*sums.shape, num_draws, seed)
    values = _ratios(sums, counts, *drawn)
    if versus is not None:
        other_sums, other_counts = (np.asarray(v, np.float64) for v in versus)
        values = values - _ratios(other_sums, other_counts, *drawn)
    tail = (1.0 - level) / 2.0
    # A draw may hold none of the few images that count: it says nothing.
    low, high = np.nanquantile(values, [tail, 1.0 - tail])
    return float(low), float(high)


@functools.lru_cache(maxsize=2)
def _draw_again(
    num_seeds: int, num_images: int, num_draws: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """How often each seed [D, S] and each image [D, N] is drawn in each draw."""
    generator = np.random.default_rng(seed)
    of_seeds = np.empty((num_draws, num_seeds), np.uint8)
    of_images = np.empty((num_draws, num_images), np.uint8)
    for draw in range(num_draws):
        seeds = generator.integers(0, num_seeds, num_seeds)
        images = generator.integers(0, num_images, num_images)
        of_seeds[draw] = np.bincount(seeds, minlength=num_seeds)
        of_images[draw] = np.bincount(images, minlength=num_images)
    return of_seeds, of_images


def _ratios(
    sums: np.ndarray, counts: np.ndarray, of_seeds: np.ndarray, of_images: np.ndarray
) -> np.ndarray:
    """Total over total in every draw: [D]."""

    def totals(values: np.ndarray) -> np.ndarray:
        # Seeds first: [D, S] weights of few rows, never a float copy of [D, N].
        per_seed = np.stack([_weighted(of_images, row) for row in values], axis=1)
        return (per_seed * of_seeds).sum(axis=1)

    total, count = totals(sums), totals(counts)
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)


def _weighted(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """uint8 [D, N] times float64 [N], in blocks of draws."""
    blocks = [
        weights[start : start + 256].astype(np.float64) @ values
        for start in range(0, len(weights), 256)
    ]
    return np.concatenate(blocks)


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
