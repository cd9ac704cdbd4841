"""Scores of channels: how much position each of them carries, and what depends on it.

Every score belongs to one example, so that means, intervals and rankings of resampled images
come from the same numbers. `features` are the maps [B, H, W, C] of a layer; `latent` is their
mean over space [B, C].
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np


def region_means(features: jax.Array, weights: jax.Array) -> jax.Array:
    """Average each channel over each region: float32 [B, R, C].

    Args:
      features: [B, H, W, C].
      weights: [R, H, W], the share of every pixel in a region (`region_weights`), not all 0.
    """
    weights = jnp.asarray(weights, jnp.float32)
    weights = weights / weights.sum(axis=(1, 2), keepdims=True)
    return jnp.einsum("bhwc,rhw->brc", features.astype(jnp.float32), weights)


def flip_difference(
    features: jax.Array, mirrored: jax.Array, weights: jax.Array, *, axis: int
) -> jax.Array:
    """Signed flip difference, the change of region means under mirroring: float32 [B, R, C].

    The map of the mirrored input is mirrored back, so that every pixel is compared with the same
    content seen from the other side: for the left half, content on the left minus the same content
    on the right. A network with symmetric kernels and no knowledge of position scores 0; any other
    network's orientation preferences enter the score too.

    Args:
      features: [B, H, W, C], the input's.
      mirrored: [B, H, W, C], those of the input mirrored along `axis`.
      weights: [R, H, W], see `region_means`.
      axis: 2, left to right, or 1, upside down.

    Reference: Islam et al., 2021, section 5 (their signed difference; they do not publish how they
    separate regions, so this definition is ours).
    """
    return region_means(features - jnp.flip(mirrored, axis), weights)


def absolute_flip_difference(features: jax.Array, mirrored: jax.Array) -> jax.Array:
    """Absolute change of each pooled channel when the input is mirrored: float32 [B, C].

    Reference: Islam et al., 2021, section 5 (overall position).
    """
    pooled = (x.astype(jnp.float32).mean(axis=(1, 2)) for x in (features, mirrored))
    return jnp.abs(next(pooled) - next(pooled))


def translation_difference(latent: jax.Array, inside: np.ndarray) -> jax.Array:
    """Mean latent of a crop placed inside a region minus that of it outside: float32 [B, C].

    Content is held fixed: a network that cannot know position (circular padding, moved by multiples
    of its stride) scores 0 in every channel.

    Args:
      latent: [B, P, C], one crop's latents at P places on an empty canvas.
      inside: bool [P], the places in the region; some, not all.
    """
    inside = np.asarray(inside, bool)
    weights = inside / inside.sum() - ~inside / (~inside).sum()
    return jnp.einsum("bpc,p->bc", latent.astype(jnp.float32), jnp.asarray(weights, jnp.float32))


def absolute_translation_difference(latent: jax.Array) -> jax.Array:
    """Mean absolute difference of each pooled channel over all pairs of places of a crop.

    `latent`, [B, P, C], holds one crop's latents at P places; the result is float32 [B, C].
    """
    first, second = np.triu_indices(latent.shape[1], k=1)
    latent = latent.astype(jnp.float32)
    return jnp.abs(latent[:, first] - latent[:, second]).mean(axis=1)


def gate_gradient(
    losses: Callable[[jax.Array], jax.Array], gate: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """First-order rise of each region's loss when a channel is removed, all channels at once.

    Args:
      losses: from a gate [B, C] that multiplies a layer's channels to the losses [R, B] of every
        region and example; example b must depend on `gate[b]` alone (batch statistics frozen).
      gate: [B, C]; ones leave the network unchanged.

    Returns:
      The losses [R, B], and minus their derivative with respect to the gate, [R, B, C].
    """
    values, pull_back = jax.vjp(losses, gate)

    def of_region(region: jax.Array) -> jax.Array:
        chosen = jnp.zeros_like(values).at[region].set(1.0)
        return -pull_back(chosen)[0]

    return values, jax.vmap(of_region)(jnp.arange(values.shape[0]))


def midpoints(steps: int) -> np.ndarray:
    """Gate values in (0, 1) over which `gate_gradient` is averaged: float32 [steps], descending.

    The average is the integrated gradient along the path from the open gate to the shut one
    (midpoint rule); summed over channels it is the loss with all channels removed minus the loss
    with none, up to the completeness gap.

    Reference: Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", 2017.

    >>> midpoints(2).tolist()
    [0.75, 0.25]
    """
    return (1.0 - (np.arange(steps, dtype=np.float32) + 0.5) / steps).astype(np.float32)


def gradient_times_activation(kernel: jax.Array, latent: jax.Array, label: jax.Array) -> jax.Array:
    """Contribution of each channel to the logit that a linear probe gives to the label.

    Both factors are centred: a softmax ignores what all logits share, and the probe's bias cancels
    what a channel adds to every example alike. From the probe's `kernel` [C, K], `latent` [B, C]
    of examples of all classes, and `label`, int [B] in [0, K), to float32 [B, C].
    """
    centred = kernel - kernel.mean(axis=1, keepdims=True)
    latent = latent.astype(jnp.float32)
    return centred.T[label] * (latent - latent.mean(axis=0, keepdims=True))


def between_class_share(count: np.ndarray, total: np.ndarray, square: np.ndarray) -> np.ndarray:
    """Share of each channel's variance that lies between classes, from sums: float64 [C] in 0..1.

    Args:
      count: [K], examples of each class.
      total: [K, C], the channels summed over the examples of each class.
      square: [C], their squares summed over all examples.

    Returns:
      0 for a channel that is constant up to rounding.

    >>> between_class_share(np.array([1, 1]), np.array([[1.0, 2], [3, 2]]), np.array([10.0, 8]))
    array([1., 0.])
    """
    count = np.asarray(count, np.float64)
    number = max(count.sum(), 1.0)
    mean = total.sum(axis=0) / number
    of_class = total / np.maximum(count, 1e-12)[:, None]
    between = (count[:, None] * (of_class - mean[None]) ** 2).sum(axis=0) / number
    variance = square / number - mean**2
    alive = variance > 1e-6 * (mean**2 + 1e-12)
    return np.where(alive, np.clip(between / np.where(alive, variance, 1.0), 0.0, 1.0), 0.0)


def rank_channels(scores: np.ndarray) -> np.ndarray:
    """Order channels by score, best first; of equals the lower index comes first: int [..., C].

    Raises:
      ValueError: if one of `scores` [..., C] is not finite.

    >>> rank_channels(np.array([0.5, 2.0, -1.0])).tolist()
    [1, 0, 2]
    """
    scores = np.asarray(scores)
    if not np.isfinite(scores).all():
        raise ValueError("`scores` must be finite; some are not.")
    return np.argsort(-scores, axis=-1, kind="stable")


def overlap_at(first: np.ndarray, second: np.ndarray, count: int) -> float:
    """Share of their best `count` channels that two rankings have in common.

    The rankings are int [C], best first; two random ones share count / C on average.

    Raises:
      ValueError: if `count` is not in [1, C].
    """
    if not 1 <= count <= len(first):
        raise ValueError(f"`count` must be in [1, {len(first)}]; got {count}.")
    return len(np.intersect1d(first[:count], second[:count])) / count


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's correlation of two sets of scores [C]; NaN if one is constant.

    Ties share their mean rank.
    """
    scores = (jnp.asarray(s, jnp.float32) for s in (first, second))
    ranks = (np.asarray(jax.scipy.stats.rankdata(s), np.float64) for s in scores)
    a, b = (r - r.mean() for r in ranks)
    norm = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / norm) if norm > 0 else float("nan")
