"""Permutations of the channel dimension (section 3 of the paper)."""

import functools

import jax
import jax.numpy as jnp

from gpool_jax.ops.keys import example_keys


def draw_permutation(key: jax.Array, num_channels: int) -> jax.Array:
    """Draw one permutation of the channels uniformly: int32 [C]."""
    return jax.random.permutation(key, num_channels).astype(jnp.int32)


def draw_permutations(key: jax.Array, index: jax.Array, num_channels: int) -> jax.Array:
    """Draw an independent permutation for each example: int32 [B, num_channels].

    `index`, int [B], is the global index of each example.
    """
    return jax.vmap(lambda k: draw_permutation(k, num_channels))(example_keys(key, index))


@functools.singledispatch
def permute_channels(x: jax.Array, permutation: jax.Array) -> jax.Array:
    """Reorder the last dimension: channel i of the result is channel `permutation[i]`.

    Args:
      x: [B, ..., C], or a `SharedBackground`.
      permutation: int [C], shared by the batch, or [B, C], one per example.

    Raises:
      ValueError: if the shapes do not fit.

    >>> import numpy as np
    >>> permute_channels(np.array([[10, 20, 30]]), np.array([2, 0, 1])).tolist()
    [[30, 10, 20]]
    """
    if permutation.shape == x.shape[-1:]:
        return jnp.take(x, permutation, axis=-1)
    if permutation.shape == (x.shape[0], x.shape[-1]):
        return jax.vmap(lambda row, p: jnp.take(row, p, axis=-1))(x, permutation)
    raise ValueError(
        f"`permutation` must have shape {x.shape[-1:]} or {(x.shape[0], x.shape[-1])} for an input "
        f"of shape {x.shape}; got {permutation.shape}."
    )
