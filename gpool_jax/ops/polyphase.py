"""Adaptive polyphase sampling: subsampling that moves with its input (Chaman and Dokmanic, 2021).

Of the stride x stride grids on which a map can be subsampled, the strongest is taken, for each
image by itself. If the input moves by a pixel, the choice moves with it.
"""

import jax
import jax.numpy as jnp


def strongest_phase(x: jax.Array, stride: int) -> jax.Array:
    """Find the phase of a map whose values have the largest sum of squares: int32 [B].

    Phase p starts at row p // stride and column p % stride (section 4, with the L2 norm).

    Args:
      x: [B, H, W, C]; H and W are multiples of the stride.
      stride: step between the pixels of a phase.

    Raises:
      ValueError: for other sides.
    """
    squares = _phases(x.astype(jnp.float32), stride) ** 2
    return squares.sum(axis=(2, 3, 4)).argmax(axis=1).astype(jnp.int32)


def take_phase(x: jax.Array, phase: jax.Array, stride: int) -> jax.Array:
    """Subsample each map on the grid of its phase: [B, H / stride, W / stride, C].

    Args:
      x: [B, H, W, C]; H and W are multiples of the stride.
      phase: int [B] in [0, stride * stride), from `strongest_phase`.
      stride: step between the pixels of a phase.

    Raises:
      ValueError: for other sides.
    """
    return jax.vmap(lambda phases, index: phases[index])(_phases(x, stride), phase)


def _phases(x: jax.Array, stride: int) -> jax.Array:
    """Every phase of a map: [B, stride * stride, H / stride, W / stride, C]."""
    batch, height, width, channels = x.shape
    if height % stride or width % stride:
        raise ValueError(f"`x` must have sides that are multiples of {stride}; got {x.shape}.")
    parts = x.reshape(batch, height // stride, stride, width // stride, stride, channels)
    shape = batch, stride**2, height // stride, width // stride, channels
    return parts.transpose(0, 2, 4, 1, 3, 5).reshape(shape)
