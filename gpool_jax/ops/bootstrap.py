"""Bootstrap over images, and over seeds: how far a number would move on other images.

Reference: Efron and Tibshirani, An Introduction to the Bootstrap, 1993.
"""

import functools

import numpy as np


def draw_resamples(num_images: int, *, num_draws: int, seed: int) -> np.ndarray:
    """Draw images with replacement, as many as there are, again and again.

    Returns:
      uint8 [num_draws, num_images], read-only: how often each image is drawn in each draw.

    >>> draw_resamples(4, num_draws=2, seed=0).sum(axis=1).tolist()
    [4, 4]
    """
    return _draw_resamples((num_images,), num_draws, seed)[0]


@functools.lru_cache(maxsize=2)
def _draw_resamples(sizes: tuple[int, ...], num_draws: int, seed: int) -> tuple[np.ndarray, ...]:
    """Resample several populations, one after the other within each draw."""
    generator = np.random.default_rng(seed)
    counts = tuple(np.empty((num_draws, size), np.uint8) for size in sizes)
    for draw in range(num_draws):
        for size, out in zip(sizes, counts, strict=True):
            out[draw] = np.bincount(generator.integers(0, size, size), minlength=size)
    for out in counts:
        out.flags.writeable = False
    return counts


def resampled_means(
    scores: np.ndarray, weights: np.ndarray, *, num_draws: int, seed: int
) -> np.ndarray:
    """Mean scores over resampled images, from which a ranking's stability is computed.

    Args:
      scores: [N, C], each image's scores.
      weights: [N], 0 for an image that does not count.
      num_draws: D, see `draw_resamples`.
      seed: random seed of the draws.

    Returns:
      float64 [D, C].
    """
    counts = draw_resamples(len(scores), num_draws=num_draws, seed=seed)
    drawn = counts * np.asarray(weights, np.float64)
    total = np.maximum(drawn.sum(axis=1, keepdims=True), 1e-12)
    return drawn @ np.asarray(scores, np.float64) / total


def bootstrap_interval(
    per_image: np.ndarray, *, num_draws: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval (low, high) of a mean: `bootstrap_ratio` with counts of 1.

    `per_image` is [N], or [S, N] for S seeds; the options are those of `bootstrap_ratio`.
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

    The image is the unit that is resampled, so that the many (image, cell, permutation) or
    (image, shift) predictions of one image do not count as independent. With several seeds
    each draw resamples seeds, then images (the same images for every seed drawn: they share
    one test set).

    Where every image scores 0 or every image scores 1, all draws are equal and the bootstrap
    interval is empty; the exact binomial bound over images is used instead.

    Args:
      sums: [S, N], the summed score of each seed and image.
      counts: [S, N], predictions behind each sum.
      versus: (sums, counts) of another arm on the same images, its seeds in the same order;
        the interval is then that of the difference, each draw taking the same seeds and
        images for both.
      num_draws: bootstrap samples.
      level: coverage.
      seed: random seed of the draws.

    Returns:
      (low, high); both NaN if there is no prediction at all.

    References: Efron and Tibshirani, chapters 8 and 13; Clopper and Pearson, Biometrika 26, 1934.
    """
    sums, counts = np.asarray(sums, np.float64), np.asarray(counts, np.float64)
    num_images = int((counts.sum(axis=0) > 0).sum())
    if num_images == 0:
        return float("nan"), float("nan")
    tail = (1.0 - level) / 2.0
    if versus is None:
        beyond = tail ** (1.0 / num_images)
        if np.all(sums == counts):
            return beyond, 1.0
        if np.all(sums == 0.0):
            return 0.0, 1.0 - beyond
    drawn = _draw_resamples(sums.shape, num_draws, seed)
    values = _ratios(sums, counts, *drawn)
    if versus is not None:
        other_sums, other_counts = (np.asarray(v, np.float64) for v in versus)
        values = values - _ratios(other_sums, other_counts, *drawn)
    # A draw may hold none of the few images that count: it says nothing.
    low, high = np.nanquantile(values, [tail, 1.0 - tail])
    return float(low), float(high)


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
    blocks = (weights[i : i + 256] for i in range(0, len(weights), 256))
    return np.concatenate([block.astype(np.float64) @ values for block in blocks])
