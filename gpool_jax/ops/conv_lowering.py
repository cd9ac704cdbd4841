"""Convolutions: computed by XLA's own, except for shapes that are slow on a CPU.

Measured on two cores (`benchmarks/NOTES.md`); a GPU or TPU always gets XLA's own.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata


def convolve(
    x: jax.Array, kernel: jax.Array, *, stride: int = 1, dilation: int = 1, padding: int = 0
) -> jax.Array:
    """Convolve [B, H, W, C] by [k, k, C, F], with `padding` pixels of zeros on each side.

    Returns:
      [B, H', W', F], H' = (H + 2 * padding - dilation * (k - 1) - 1) // stride + 1.
    """
    plain = functools.partial(_convolve, stride=stride, dilation=dilation, padding=padding)
    if _dot_is_faster(x.shape, kernel.shape[0], stride, dilation, padding):
        dot = functools.partial(_convolve_by_dot, stride=stride, dilation=dilation, padding=padding)
        return lax.platform_dependent(x, kernel, cpu=dot, default=plain)
    # Only the map is inside the branch: a program exported for several platforms keeps its
    # branches, and a convolution inside one is slow on a CPU.
    return plain(lax.platform_dependent(x, cpu=_computed_first, default=lambda a: a), kernel)


def _computed_first(x: jax.Array) -> jax.Array:
    """Have the map computed before the convolution that reads it.

    A kernel's gradient needs the map transposed. XLA would compute the map again inside that
    transpose, in an order that misses every cache; it does not look into a call. The call
    copies, because JAX leaves out one that returns its argument.
    """
    with set_xla_metadata(inlineable="false"):
        return jax.jit(jnp.copy)(x)


def _convolve(
    x: jax.Array, kernel: jax.Array, stride: int, dilation: int, padding: int
) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _output_sides(shape, size: int, stride: int, dilation: int, padding: int) -> list[int]:
    reach = dilation * (size - 1) + 1
    return [(side + 2 * padding - reach) // stride + 1 for side in shape[1:3]]


def _dot_is_faster(shape, size: int, stride: int, dilation: int, padding: int) -> bool:
    """Tell whether gathering all taps for one matrix product is faster, backward pass included.

    XLA's fast path needs maps at least as large as the kernel, also in the backward pass,
    where the output's gradient is the map: below that it is up to 100 times slower. A 1x1
    kernel gathers nothing: the product is as fast, and its gradient at a stride faster.
    """
    sides = [*shape[1:3], *_output_sides(shape, size, stride, dilation, padding)]
    return size == 1 or min(sides) < size


def _convolve_by_dot(
    x: jax.Array, kernel: jax.Array, stride: int, dilation: int, padding: int
) -> jax.Array:
    size, _, channels, features = kernel.shape
    height, width = _output_sides(x.shape, size, stride, dilation, padding)
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    # From the first output pixel's tap to the last one's.
    tall, wide = (height - 1) * stride + 1, (width - 1) * stride + 1
    offsets = range(0, size * dilation, dilation)
    taps = [
        x[:, row : row + tall : stride, column : column + wide : stride]
        for row in offsets
        for column in offsets
    ]
    patches = jnp.concatenate(taps, axis=-1)
    out = patches.reshape(-1, size * size * channels) @ kernel.reshape(-1, features)
    return out.reshape(x.shape[0], height, width, features)
