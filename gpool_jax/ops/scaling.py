"""Channels brought to one scale, and latents without the order of their channels.

A channel's scale is arbitrary, since the next layer can undo it, but it decides where the channel
lands in a sorted latent. So channels are standardised before rows are sorted:
`sorted_latent(standardise(latent, fitting=fitting))`, and beside it `sorted_latent(latent)`.
"""

import functools

import jax
import jax.numpy as jnp

from gpool_jax.ops.permute import draw_permutation


def channel_scale(
    latent: jax.Array, fitting: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Mean and one over the standard deviation of each channel: float32 [C] each.

    Args:
      latent: [..., C].
      fitting: [...], bool or weight of each row; None: all rows count.

    Returns:
      The mean, and the scale: 0 where a channel is constant on the fitting rows, up to rounding.
    """
    rows = jnp.asarray(latent, jnp.float32).reshape(-1, latent.shape[-1])
    weight = jnp.ones(len(rows)) if fitting is None else jnp.asarray(fitting, jnp.float32)
    weight = weight.reshape(-1)
    weight = (weight / weight.sum())[:, None]
    mean = (rows * weight).sum(axis=0)
    variance = ((rows - mean[None]) ** 2 * weight).sum(axis=0)
    return mean, inverse_deviation(mean, variance)


def inverse_deviation(mean: jax.Array, variance: jax.Array) -> jax.Array:
    """One over the standard deviation; 0 for a channel that is constant up to rounding."""
    alive = variance > 1e-10 * (mean**2 + 1e-12)
    return jnp.where(alive, jax.lax.rsqrt(jnp.where(alive, variance, 1.0)), 0.0)


def standardise(latent: jax.Array, *, fitting: jax.Array | None = None) -> jax.Array:
    """Scale channels to zero mean and unit variance over the fitting rows: float32 [..., C].

    Every row is transformed, by the statistics of the fitting rows alone. A channel that is
    constant there becomes 0.

    Args:
      latent: [..., C].
      fitting: [...], bool or weight of each row; None: all rows count.

    >>> standardise(jnp.array([[1.0], [3.0], [9.0]]), fitting=jnp.array([1, 1, 0])).ravel().tolist()
    [-1.0, 1.0, 7.0]
    """
    mean, scale = channel_scale(latent, fitting)
    shape = (1,) * (latent.ndim - 1) + (-1,)
    return (jnp.asarray(latent, jnp.float32) - mean.reshape(shape)) * scale.reshape(shape)


def sorted_latent(latent: jax.Array) -> jax.Array:
    """Sort each row of [..., C], ascending: the maximal invariant under channel permutation.

    Two latents have the same sorted form if and only if one is a permutation of the other, so it
    allows everything to be decoded that needs no channel order (a given probe gives a lower bound
    on that).

    >>> sorted_latent(jnp.array([[3.0, 1.0, 2.0]])).tolist()
    [[1.0, 2.0, 3.0]]
    """
    return jnp.sort(latent, axis=-1)


@functools.partial(jax.jit, static_argnames="block")
def input_orders(
    key: jax.Array, latent: jax.Array, *, block: int = 4096
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Give latents in order, permuted and sorted: three arrays of the latent's shape.

    Nothing is standardised here: do so before, or leave it for the raw version.

    Args:
      key: PRNG key.
      latent: [..., C]; each row is permuted by a permutation of its own, that of
        `draw_permutations` for its place among all rows.
      block: rows permuted at once.
    """
    rows = latent.reshape(-1, latent.shape[-1])

    def permute(row: tuple[jax.Array, jax.Array]) -> jax.Array:
        index, values = row
        order = draw_permutation(jax.random.fold_in(key, index), len(values))
        return jnp.take(values, order)

    batch = min(block, len(rows))
    permuted = jax.lax.map(permute, (jnp.arange(len(rows)), rows), batch_size=batch)
    return latent, permuted.reshape(latent.shape), sorted_latent(latent)
