"""Pooling: global averages, and max-pools and blur-pools that follow the padding mode."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gpool_jax.ops.conv import pad2d, tap_shares

# Rows of Pascal's triangle: repeated averages of two neighbours.
BLUR_TAPS = {
    2: (1.0, 1.0),
    3: (1.0, 2.0, 1.0),
    4: (1.0, 3.0, 3.0, 1.0),
    5: (1.0, 4.0, 6.0, 4.0, 1.0),
}


def global_average_pool(features: jax.Array) -> jax.Array:
    """Average over space in float32: [B, H, W, C] -> float32 [B, C]."""
    return jnp.mean(features.astype(jnp.float32), axis=(1, 2))


def max_pool2d(
    x: jax.Array,
    *,
    size: int,
    stride: int,
    amount: int | tuple[int, int] = 0,
    padding: str = "zeros",
) -> jax.Array:
    """Largest value in each window.

    Args:
      x: [B, H, W, C].
      size: side of the window.
      stride: step between windows.
      amount: pixels of padding on each side, or (before, after).
      padding: one of `PADDING_MODES`. "zeros" and "partial" pad with minus infinity, as
        PyTorch does; the others extend the map.

    Returns:
      [B, H', W', C] with H' = (H + before + after - size) // stride + 1.
    """
    if amount and padding in ("zeros", "partial"):
        both = (amount, amount) if isinstance(amount, int) else amount
        pads = ((0, 0), both, both, (0, 0))
    else:
        x = pad2d(x, amount, padding)
        pads = ((0, 0),) * 4
    # A constant, not a traced array: JAX must see that this is a maximum to differentiate it.
    low = np.array(-np.inf, x.dtype)

    def reduce_window(x: jax.Array) -> jax.Array:
        return lax.reduce_window(x, low, lax.max, (1, size, size, 1), (1, stride, stride, 1), pads)

    def reduce_slices(x: jax.Array) -> jax.Array:
        x = jnp.pad(x, pads, constant_values=-np.inf)
        for axis in (1, 2):
            last = x.shape[axis] - size + 1
            slices = [lax.slice_in_dim(x, i, i + last, stride, axis) for i in range(size)]
            x = functools.reduce(jnp.maximum, slices)
        return x

    # XLA's gradient of a window's maximum takes 7 times as long on a CPU. The two treat equal
    # values differently: slices share the gradient among them, a window gives it to the first.
    return lax.platform_dependent(x, cpu=reduce_slices, default=reduce_window)


def blur_pool2d(x: jax.Array, *, taps: int, stride: int, padding: str = "zeros") -> jax.Array:
    """Low-pass filter with a binomial kernel, then subsample: BlurPool.

    It stands between a layer at stride 1 and the subsampling that used to be part of that
    layer, to reduce aliasing. An even number of taps reaches one pixel further after than before.

    Args:
      x: [B, H, W, C].
      taps: 2 to 5 per dimension, such as (1, 2, 1) / 4 or (1, 4, 6, 4, 1) / 16.
      stride: step between output pixels.
      padding: one of `PADDING_MODES`. "partial" divides by the weight that falls inside the
        image; "resize" stretches the map by taps - 1 pixels first.

    Returns:
      [B, ceil(H / stride), ceil(W / stride), C], the dtype of `x`.

    Raises:
      ValueError: for another number of taps.

    Reference: Zhang, "Making convolutional networks shift-invariant again", 2019, section 3.2
    (whose code pads by reflection; here the padding is the network's).
    """
    if taps not in BLUR_TAPS:
        raise ValueError(f"`taps` must be one of {tuple(BLUR_TAPS)}; got {taps}.")
    weights = np.array(BLUR_TAPS[taps]) / sum(BLUR_TAPS[taps])
    out = pad2d(x, ((taps - 1) // 2, taps // 2), padding)
    # One dimension after the other, as sums of shifted slices: XLA's convolutions with one
    # channel per group are slow on a CPU.
    for axis in (1, 2):
        side = x.shape[axis]
        slices = (
            lax.slice_in_dim(out, i, i + side, stride, axis) * weight.astype(x.dtype)
            for i, weight in enumerate(weights)
        )
        out = sum(slices)
        if padding == "partial":
            shares = tap_shares(side, weights, stride=stride, dilation=1)
            out = out / jnp.expand_dims(jnp.asarray(shares, x.dtype), (0, 3 - axis, 3))
    return out
