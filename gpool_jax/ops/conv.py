"""Two-dimensional convolution under every way of treating the image border.

`conv_lowering` decides how the sum over taps is computed on this platform.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax.ops.conv_lowering import convolve

PADDING_MODES = ("zeros", "circular", "reflect", "replicate", "partial", "resize")

_NUMPY_MODE = {
    "zeros": "constant",
    "partial": "constant",
    "circular": "wrap",
    "reflect": "reflect",
    "replicate": "edge",
}


def pad2d(
    x: jax.Array, amount: int | tuple[int, int], mode: str, *, stretch: int | None = None
) -> jax.Array:
    """Extend the two spatial dimensions.

    Args:
      x: [B, H, W, C].
      amount: pixels on each side, or (before, after).
      mode: one of `PADDING_MODES`. "resize" is the reference's "no padding": the map is
        stretched bilinearly (half-pixel centres) instead.
      stretch: pixels that "resize" adds to each dimension; None: before + after.

    Returns:
      [B, H + before + after, W + before + after, C], or + `stretch` for "resize".

    Raises:
      ValueError: if `mode` is unknown.
    """
    if mode not in PADDING_MODES:
        raise ValueError(f"`mode` must be one of {PADDING_MODES}; got {mode!r}.")
    both = (amount, amount) if isinstance(amount, int) else amount
    if sum(both) == 0:
        return x
    if mode == "resize":
        batch, height, width, channels = x.shape
        extra = sum(both) if stretch is None else stretch
        shape = (batch, height + extra, width + extra, channels)
        return jax.image.resize(x, shape, method="bilinear")
    return jnp.pad(x, ((0, 0), both, both, (0, 0)), _NUMPY_MODE[mode])


@functools.singledispatch
def conv2d(
    x: jax.Array, kernel: jax.Array, *, stride: int = 1, dilation: int = 1, padding: str = "zeros"
) -> jax.Array:
    """Convolve with "same" padding of the named kind.

    Args:
      x: [B, H, W, C], or a `SharedBackground`.
      kernel: [k, k, C, F], k odd.
      stride: step between output pixels.
      dilation: step between taps.
      padding: one of `PADDING_MODES`. "partial" divides each output by the share of its taps
        that fall inside the image (Liu et al., "Partial Convolution based Padding", 2018).

    Returns:
      [B, ceil(H / stride), ceil(W / stride), F] ("resize" with k = 7: the reference stretches
      by 3 pixels only, which gives H / 2 - 1 at stride 2).

    Raises:
      ValueError: if `padding` is unknown.
    """
    size, amount = kernel.shape[0], dilation * (kernel.shape[0] // 2)
    if padding in ("zeros", "partial"):
        unseen = _taps_on_zeros(size, dilation, max(x.shape[1:3]))
        seen = kernel[unseen : size - unseen, unseen : size - unseen]
        # Zeros belong to the convolution: its gradient for `x` then leaves them out.
        out = convolve(
            x, seen, stride=stride, dilation=dilation, padding=amount - unseen * dilation
        )
    else:
        padded = pad2d(x, amount, padding, stretch=3 if size == 7 and dilation == 1 else None)
        out = convolve(padded, kernel, stride=stride, dilation=dilation)
    if padding == "partial" and size > 1:
        weights = np.full(size, 1.0 / size)
        rows, columns = (
            tap_shares(side, weights, stride=stride, dilation=dilation) for side in x.shape[1:3]
        )
        out = out * jnp.asarray(1.0 / np.outer(rows, columns), out.dtype)[None, :, :, None]
    return out


def _taps_on_zeros(size: int, dilation: int, side: int) -> int:
    """Count the taps at each end of a kernel that lie outside the map wherever its centre is.

    >>> [_taps_on_zeros(3, dilation, side=9) for dilation in (6, 12)]
    [0, 1]
    """
    return max(0, size // 2 - (side - 1) // dilation)


def tap_shares(side: int, weights: np.ndarray, *, stride: int, dilation: int) -> np.ndarray:
    """Compute the share of the taps' weight that falls inside a dimension of `side` pixels.

    `weights` [k] sums to 1. The result, float64 [ceil(side / stride)], has one share for
    every output pixel.
    """
    size = len(weights)
    starts = np.arange(0, side, stride)[:, None] - dilation * ((size - 1) // 2)
    taps = starts + dilation * np.arange(size)[None, :]
    return ((taps >= 0) & (taps < side)) @ weights
