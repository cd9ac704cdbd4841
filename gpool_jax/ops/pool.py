"""Pooling: global averages, and padded max-pools that obey the padding mode."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gpool_jax.ops.conv import pad2d


def global_average_pool(features: jax.Array) -> jax.Array:
    """Mean over the two spatial dimensions, in float32.

    Args:
      features: [B, H, W, C].

    Returns:
      float32 [B, C].
    """
    return jnp.mean(features.astype(jnp.float32), axis=(1, 2))


def max_pool2d(
    x: jax.Array, *, size: int, stride: int, amount: int = 0, padding: str = "zeros"
) -> jax.Array:
    """Largest value in each window.

    Args:
      x: [B, H, W, C].
      size: side of the window.
      stride: step between windows.
      amount: pixels of padding on each side.
      padding: one of `PADDING_MODES`. Under "zeros" and "partial" the outside
        never wins (minus infinity, as in PyTorch); the others extend the map.

    Returns:
      [B, H', W', C] with H' = (H + 2*amount - size) // stride + 1.
    """
    if amount and padding in ("zeros", "partial"):
        pads = ((0, 0), (amount, amount), (amount, amount), (0, 0))
    else:
        x = pad2d(x, amount, padding)
        pads = ((0, 0),) * 4
    # A constant, not a traced array: JAX must see that this is a maximum to differentiate it.
    low = np.array(-np.inf, x.dtype)
    return lax.reduce_window(x, low, lax.max, (1, size, size, 1), (1, stride, stride, 1), pads)
