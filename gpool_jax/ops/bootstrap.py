"""Intervals: images by bootstrap, a handful of seeds by Student's t.

References: Efron and Tibshirani, An Introduction to the Bootstrap, 1993; Zou and Donner,
Construction of Confidence Limits about Effect Measures, Statistics in Medicine 27, 2008.
"""

import functools
from typing import Any

import numpy as np
from scipy import special


def draw_resamples(num_images: int, *, num_draws: int, seed: int) -> np.ndarray:
    """Draw images with replacement, as many as there are, again and again.

    Returns:
      uint8 [num_draws, num_images], read-only: how often each image is drawn in each draw.

    >>> draw_resamples(4, num_draws=2, seed=0).sum(axis=1).tolist()
    [4, 4]
    """
    return _draw_resamples(num_images, num_draws, seed)


@functools.lru_cache(maxsize=2)
def _draw_resamples(num_images: int, num_draws: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    counts = np.empty((num_draws, num_images), np.uint8)
    for draw in counts:
        draw[:] = np.bincount(generator.integers(0, num_images, num_images), minlength=num_images)
    counts.flags.writeable = False
    return counts


def cluster_resamples(clusters: np.ndarray, *, num_draws: int, seed: int) -> np.ndarray:
    """Draw clusters of images with replacement, as many as there are, and all images of each.

    Images of one cluster, such as the frames of a video, are alike: drawn one by one they would
    count as independent, and intervals would be too narrow. With few clusters their spread is
    still too small, by the root of (n - 1) / n.

    Args:
      clusters: [N], the cluster of each image, numbers or names.
      num_draws: D.
      seed: random seed of the draws.

    Returns:
      uint8 [D, N], read-only: how often each image is drawn in each draw. With every image a
      cluster of its own, `draw_resamples`.

    References: Field and Welsh, Bootstrapping clustered data, JRSS B 69, 2007.

    >>> drawn = cluster_resamples(np.array(["a", "a", "b"]), num_draws=9, seed=0)
    >>> bool((drawn[:, 0] == drawn[:, 1]).all()), set((drawn[:, 0] + drawn[:, 2]).tolist())
    (True, {2})
    """
    names, cluster = np.unique(clusters, return_inverse=True)
    drawn = draw_resamples(len(names), num_draws=num_draws, seed=seed)[:, cluster.reshape(-1)]
    drawn.flags.writeable = False
    return drawn


def resampled_means(
    scores: np.ndarray,
    weights: np.ndarray,
    *,
    num_draws: int,
    seed: int,
    clusters: np.ndarray | None = None,
) -> np.ndarray:
    """Mean scores over resampled images, from which a ranking's stability is computed.

    Args:
      scores: [N, C], each image's scores.
      weights: [N], 0 for an image that does not count.
      num_draws: D, see `draw_resamples`.
      seed: random seed of the draws.
      clusters: [N], the cluster of each image; None: each is its own.

    Returns:
      float64 [D, C].
    """
    own = np.arange(len(scores)) if clusters is None else clusters
    counts = cluster_resamples(own, num_draws=num_draws, seed=seed)
    drawn = counts * np.asarray(weights, np.float64)
    total = np.maximum(drawn.sum(axis=1, keepdims=True), 1e-12)
    return drawn @ np.asarray(scores, np.float64) / total


def bootstrap_interval(
    per_image: np.ndarray,
    *,
    group_size: int = 1,
    num_draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval (low, high) of an accuracy: `bootstrap_ratio` with counts of 1, in [0, 1].

    Args:
      per_image: [N], or [S, N] for S seeds.
      group_size: images in a row that share a draw, such as of a permutation, and so are no
        independent ones: they are resampled together.
      num_draws: see `bootstrap_ratio`, as of the other options.
      level: coverage.
      seed: random seed of the draws.
    """
    scores = np.atleast_2d(np.asarray(per_image, np.float64))
    starts = np.arange(0, scores.shape[1], group_size)
    if len(starts) < 2 <= group_size:
        return 0.0, 1.0  # one draw says nothing of others
    sums, counts = (np.add.reduceat(x, starts, axis=1) for x in (scores, np.ones_like(scores)))
    low, high = bootstrap_ratio(sums, counts, num_draws=num_draws, level=level, seed=seed)
    return max(low, 0.0), min(high, 1.0)


def bootstrap_ratio(
    sums: np.ndarray,
    counts: np.ndarray,
    *,
    versus: tuple[np.ndarray, np.ndarray] | None = None,
    num_draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of total sum over total count, on other images and with other seeds.

    The image is the unit that is resampled, so that the many (image, cell, permutation) or
    (image, shift) predictions of one image do not count as independent. One seed gives the
    percentile interval over images: it says nothing about other seeds. Several seeds share their
    images; see `seed_interval`.

    Where all images say the same (every one scores 0, or 1, or two arms agree on each), all draws
    are equal and the bootstrap interval is empty: `unseen_interval` is used instead, if scores are
    shares of their counts.

    Args:
      sums: [S, N], the summed score of each seed and image.
      counts: [S, N], predictions behind each sum.
      versus: (sums, counts) of another arm on the same images, its seeds in the same order;
        the interval is then that of the difference, paired by seed and image.
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
    arms = [(sums, counts)]
    if versus is not None:
        arms.append((np.asarray(versus[0], np.float64), np.asarray(versus[1], np.float64)))
    value = float(_difference([_divide(s.sum(), c.sum()) for s, c in arms]))
    shares = all((0.0 <= s).all() and (s <= c).all() for s, c in arms)
    if shares and np.allclose(_difference([_influence(*arm) for arm in arms]), 0.0, atol=1e-12):
        bounds = (0.0 if versus is None else -1.0, 1.0)
        return unseen_interval(value, num_images, bounds, level=level)
    tail = (1.0 - level) / 2.0
    drawn = draw_resamples(sums.shape[1], num_draws=num_draws, seed=seed)
    over_images = _difference([_over_images(drawn, *arm) for arm in arms])
    # A draw may hold none of the few images that count: it says nothing.
    if len(sums) == 1:
        low, high = np.nanquantile(over_images[:, 0], [tail, 1.0 - tail])
        return float(low), float(high)
    return seed_interval(
        value,
        _difference([_divide(s.sum(axis=1), c.sum(axis=1)) for s, c in arms]),
        over_images,
        level=level,
    )


def unseen_interval(
    value: float, num_images: int, bounds: tuple[float, float], *, level: float = 0.95
) -> tuple[float, float]:
    """Interval of a mean to which every image gave the same: resampling them shows no spread.

    Whatever was seen in none of N images happens in at most 1 - ((1 - level) / 2) ** (1 / N) of
    all, and can move the mean as far as its bounds. For a share of 0 or 1 this is the exact
    binomial bound; for differences it holds as well, whatever the images' distribution.

    Args:
      value: the mean.
      num_images: N, the independent images (or clusters of them).
      bounds: smallest and largest value that an image can give.
      level: coverage.

    References: Clopper and Pearson, Biometrika 26, 1934.

    >>> unseen_interval(1.0, 359, (0.0, 1.0))[0] == 0.025 ** (1 / 359)
    True
    """
    share = 1.0 - ((1.0 - level) / 2.0) ** (1.0 / num_images)
    low, high = bounds
    return value - share * (value - low), value + share * (high - value)


def seed_interval(
    value: float, per_seed: np.ndarray, over_images: np.ndarray, *, level: float = 0.95
) -> tuple[float, float]:
    """Interval of a mean over a handful of seeds that share their images.

    The seeds' part is Student's t of their spread, the images' part normal; the squares of the two
    half-widths add up (Zou and Donner, 2008). Resampling two, three or five seeds covers 65, 77
    and 84 % where seeds differ more than images do; Satterthwaite's degrees of freedom, 88 % with
    two. This covers 94 to 98 % in simulations, up to 99 % with two (`tests/test_coverage.py`).

    Args:
      value: the mean.
      per_seed: [S], the value of each of at least two seeds; NaN is left out.
      over_images: [D, S + 1], the same over resampled images: each seed's value and, last, the
        mean's.
      level: coverage.

    Returns:
      (low, high), around `value`; both NaN with fewer than two seeds.
    """
    seeds = per_seed[np.isfinite(per_seed)]
    if len(seeds) < 2:
        return float("nan"), float("nan")
    *each, mean = np.nanvar(over_images, axis=0)
    # What an image adds to one seed alone is in the seeds' spread already.
    alone = max(float(np.mean(each)) - mean, 0.0) / (len(seeds) - 1)
    images = special.ndtri((1.0 + level) / 2.0) ** 2 * max(mean - alone, 0.0)
    student = special.stdtrit(len(seeds) - 1, (1.0 + level) / 2.0)
    half = float(images + student**2 * seeds.var(ddof=1) / len(seeds)) ** 0.5
    return value - half, value + half


def _difference(values: list) -> Any:
    """The first, minus the second if there is one."""
    return values[0] - values[1] if len(values) > 1 else values[0]


def _influence(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """How far each seed and image pulls total sum over total count from what it is: [S, N]."""
    total = counts.sum()
    return (sums - counts * _divide(sums.sum(), total)) / max(total, 1.0)


def _over_images(drawn: np.ndarray, sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Total over total in every draw of images, of each seed and of all: [D, S + 1]."""

    def totals(values: np.ndarray) -> np.ndarray:
        # Row by row: never a float copy of [D, N].
        return np.stack([_weighted(drawn, row) for row in (*values, values.sum(axis=0))], axis=1)

    return _divide(totals(sums), totals(counts))


def _divide(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    total, count = np.asarray(total, np.float64), np.asarray(count, np.float64)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _weighted(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """uint8 [D, N] times float64 [N], in blocks of draws."""
    blocks = (weights[i : i + 256] for i in range(0, len(weights), 256))
    return np.concatenate([block.astype(np.float64) @ values for block in blocks])
