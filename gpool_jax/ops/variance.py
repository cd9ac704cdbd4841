"""Variance of each channel split into position, content and their interaction."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class VarianceShares(NamedTuple):
    """Shares of each channel's variance, float32 [C] each.

    Attributes:
      position: of the cell's mean over images (eta squared).
      content: of the image's mean over cells (eta squared).
      interaction: of what neither gives; the three add up to 1, or are 0 in a dead channel.
      position_corrected: omega squared, 0 on average where the cell plays no part; may be
        negative.
      content_corrected: the same for the image.
    """

    position: jax.Array
    content: jax.Array
    interaction: jax.Array
    position_corrected: jax.Array
    content_corrected: jax.Array


@jax.jit
def variance_shares(latent: jax.Array) -> VarianceShares:
    r"""Split the sum of squares of each channel, every image seen once in every cell.

    .. math:: SS = N \sum_m (\bar x_{.m} - \bar x)^2 + M \sum_i (\bar x_{i.} - \bar x)^2
              + \sum_{im} (x_{im} - \bar x_{i.} - \bar x_{.m} + \bar x)^2

    The split is exact since the design is balanced. Eta squared is too large by about
    (M - 1) / (N M) for position, and by 1 / M for content, where there is nothing to find: with
    few cells, use the corrected share of content.

    Args:
      latent: [N, M, C]: N images in M cells.

    Raises:
      ValueError: for fewer than two images or cells.

    References: Fisher, The Design of Experiments, 1935; Hays, Statistics for Psychologists, 1963
    (omega squared, its error the interaction).

    >>> shares = variance_shares(jnp.array([[[1.0], [2.0]], [[5.0], [6.0]]]))
    >>> [round(float(share[0]), 3) for share in shares[:3]]
    [0.059, 0.941, 0.0]
    """
    images, cells, channels = latent.shape
    if min(images, cells) < 2:
        raise ValueError(
            f"`latent` must hold at least 2 images in at least 2 cells; got shape {latent.shape}."
        )
    x = latent.astype(jnp.float32)
    mean = x.mean(axis=(0, 1), keepdims=True)
    x = x - mean
    # Centred once more: the first mean of many large numbers is rounded.
    x = x - x.mean(axis=(0, 1), keepdims=True)
    by_cell, by_image = x.mean(axis=0, keepdims=True), x.mean(axis=1, keepdims=True)
    position = images * (by_cell**2).sum(axis=(0, 1))
    content = cells * (by_image**2).sum(axis=(0, 1))
    interaction = ((x - by_cell - by_image) ** 2).sum(axis=(0, 1))
    total = position + content + interaction
    alive = total > 1e-10 * images * cells * (mean.reshape(channels) ** 2 + 1e-12)

    def share(part: jax.Array, whole: jax.Array) -> jax.Array:
        return jnp.where(alive, part / jnp.where(alive, whole, 1.0), 0.0)

    error = interaction / ((images - 1) * (cells - 1))
    return VarianceShares(
        share(position, total),
        share(content, total),
        share(interaction, total),
        share(position - (cells - 1) * error, total + error),
        share(content - (images - 1) * error, total + error),
    )
