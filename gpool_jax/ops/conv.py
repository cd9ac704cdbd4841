"""Two-dimensional convolution under every way of treating the image border.

Two ideas live here because they meet in one operation: what stands outside the
image (`pad2d`), and how the sum over taps is computed fast on this platform
(`conv2d`).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

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
      mode: one of `PADDING_MODES`. "resize" is the reference's "no padding":
        nothing is added, the map itself is stretched bilinearly (half-pixel
        centres).
      stretch: pixels that "resize" adds per dimension in all; before + after if None.

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
    pad = ((0, 0), both, both, (0, 0))
    return jnp.pad(x, pad, _NUMPY_MODE[mode])


def conv2d(
    x: jax.Array, kernel: jax.Array, *, stride: int = 1, dilation: int = 1, padding: str = "zeros"
) -> jax.Array:
    """Convolve with "same" padding of the named kind.

    Args:
      x: [B, H, W, C].
      kernel: [k, k, C, F], k odd.
      stride: step between output pixels.
      dilation: step between taps.
      padding: one of `PADDING_MODES`. "partial" divides each output by the share
        of its taps that fall inside the image (Liu et al., "Partial Convolution
        based Padding", 2018).

    Returns:
      [B, ceil(H / stride), ceil(W / stride), F] ("resize" with k = 7: the
      reference stretches by 3 pixels only, which gives H / 2 - 1 at stride 2).

    Raises:
      ValueError: if `padding` is unknown.
    """
    size = kernel.shape[0]
    padded = pad2d(
        x, dilation * (size // 2), padding, stretch=3 if size == 7 and dilation == 1 else None
    )
    out = convolve_padded(padded, kernel, stride, dilation)
    if padding == "partial" and size > 1:
        ratio = _partial_ratio(x.shape[1:3], size, stride, dilation)
        out = out * jnp.asarray(ratio, out.dtype)[None, :, :, None]
    return out


def convolve_padded(
    x: jax.Array, kernel: jax.Array, stride: int = 1, dilation: int = 1
) -> jax.Array:
    """Convolve what is padded already, or needs no padding, by what is fastest here.

    Args:
      x: [B, H, W, C].
      kernel: [k, k, C, F].
      stride: step between output pixels.
      dilation: step between taps.

    Returns:
      [B, H', W', F], a pixel for every place that the kernel fits in.
    """
    if not _dot_is_faster(x.shape, kernel.shape, stride, dilation):
        return _convolve(x, kernel, stride, dilation)
    return lax.platform_dependent(
        x,
        kernel,
        cpu=lambda a, b: (_convolve_by_dot if dilation == 1 else _convolve_dilated)(
            a, b, stride, dilation
        ),
        default=lambda a, b: _convolve(a, b, stride, dilation),
    )


def _partial_ratio(sides: tuple[int, ...], size: int, stride: int, dilation: int) -> np.ndarray:
    """Taps in all over taps inside the image, for every output pixel: [H', W']."""
    weights = np.full(size, 1.0 / size)
    return 1.0 / np.outer(
        *(tap_shares(s, weights, stride=stride, dilation=dilation) for s in sides)
    )


def tap_shares(side: int, weights: np.ndarray, *, stride: int, dilation: int) -> np.ndarray:
    """Of the weight of all taps, what falls inside a dimension of `side` pixels.

    Args:
      side: pixels of the dimension.
      weights: [k], of the taps, k odd, summing to 1.
      stride: step between output pixels.
      dilation: step between taps.

    Returns:
      float64 [ceil(side / stride)], for every output pixel.
    """
    size = len(weights)
    starts = np.arange(0, side, stride)[:, None] - dilation * (size // 2)
    taps = starts + dilation * np.arange(size)[None, :]
    return ((taps >= 0) & (taps < side)) @ weights


def _convolve(x: jax.Array, kernel: jax.Array, stride: int, dilation: int) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        "VALID",
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _dot_is_faster(padded_shape, kernel_shape, stride: int, dilation: int) -> bool:
    """Where XLA's CPU convolution loses to gathering the taps and one matmul.

    Measured on two cores: XLA is up to 80 times slower than a matmul on small
    maps with many channels, 1.3 to 3 times slower (backward pass included) on
    1x1 and strided ones, and the faster of the two on large thin maps. Its
    backward pass slows with the dilation, the matmul's does not: on 30x23 maps
    of 128 channels 1.2, 1.5 and 1.9 times slower in all at dilation 6, 12 and 18
    (its forward pass alone stays twice as fast: see `_convolve_dilated`). Maps
    with a side above 33 were not measured, and their gathered taps take much memory.
    """
    size, _, channels, _ = kernel_shape
    out_side = (padded_shape[1] - dilation * (size - 1) - 1) // stride + 1
    if size == 1:
        return True
    if dilation > 1 and out_side <= 33 and channels * dilation >= 768:
        return True
    return channels >= 16 and (stride > 1 or (out_side <= 12 and channels >= 32))


def _convolve_by_dot(x: jax.Array, kernel: jax.Array, stride: int, dilation: int) -> jax.Array:
    size, _, channels, features = kernel.shape
    height, width = ((side - dilation * (size - 1) - 1) // stride + 1 for side in x.shape[1:3])
    taps = [
        lax.slice(
            x,
            (0, i * dilation, j * dilation, 0),
            (
                x.shape[0],
                i * dilation + (height - 1) * stride + 1,
                j * dilation + (width - 1) * stride + 1,
                channels,
            ),
            (1, stride, stride, 1),
        )
        for i in range(size)
        for j in range(size)
    ]
    patches = jnp.concatenate(taps, axis=-1)
    out = patches.reshape(-1, size * size * channels) @ kernel.reshape(-1, features)
    return out.reshape(x.shape[0], height, width, features)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve_dilated(x: jax.Array, kernel: jax.Array, stride: int, dilation: int) -> jax.Array:
    """XLA's forward pass, the matmul's backward pass: on CPU each is the faster one."""
    return _convolve(x, kernel, stride, dilation)


def _dilated_forward(x, kernel, stride, dilation):
    return _convolve(x, kernel, stride, dilation), (x, kernel)


def _dilated_backward(stride, dilation, saved, gradient):
    _, pull_back = jax.vjp(lambda a, b: _convolve_by_dot(a, b, stride, dilation), *saved)
    return pull_back(gradient)


_convolve_dilated.defvjp(_dilated_forward, _dilated_backward)
