"""How a convolution is computed: XLA's own everywhere, and what is faster on a CPU.

XLA's CPU convolution reaches a machine's matrix product only for some shapes, and
its gradient for the kernel for almost none. The choices below were measured on two
cores (`benchmarks/NOTES.md`); on a GPU or TPU none of them is taken.
"""

import jax
import jax.numpy as jnp
from jax import lax


def convolve_valid(
    x: jax.Array, kernel: jax.Array, *, stride: int = 1, dilation: int = 1
) -> jax.Array:
    """Convolve what is padded already.

    Args:
      x: [B, H, W, C].
      kernel: [k, k, C, F].
      stride: step between output pixels.
      dilation: step between taps.

    Returns:
      [B, H', W', F], H' = (H - dilation * (k - 1) - 1) // stride + 1.
    """

    def plain(a: jax.Array, b: jax.Array) -> jax.Array:
        return _convolve(a, b, stride, dilation)

    def by_dot(a: jax.Array, b: jax.Array) -> jax.Array:
        return _convolve_by_dot(a, b, stride, dilation)

    if _dot_is_faster(x.shape, kernel.shape, stride, dilation):
        on_cpu = by_dot
    elif stride == 1 and dilation == 1:
        on_cpu = _convolve_sharing_taps
    else:
        return plain(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=on_cpu, default=plain)


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
    """Where gathering all taps for one matrix product wins, backward pass included.

    On small maps with many channels (XLA is up to 80 times slower there), on 1x1
    and strided ones, and on dilated ones, where XLA slows with the dilation. On maps
    with a side above 33 the gathered taps would take much memory.
    """
    size, _, channels, _ = kernel_shape
    out_side = (padded_shape[1] - dilation * (size - 1) - 1) // stride + 1
    if size == 1:
        return True
    if dilation > 1:
        return out_side <= 33
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


@jax.custom_vjp
def _convolve_sharing_taps(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """XLA's convolution at stride 1, with a kernel gradient that is one matrix product."""
    return _convolve(x, kernel, 1, 1)


def _sharing_taps_forward(x: jax.Array, kernel: jax.Array):
    return _convolve(x, kernel, 1, 1), (x, kernel)


def _sharing_taps_backward(saved: tuple[jax.Array, jax.Array], gradient: jax.Array):
    x, kernel = saved
    _, pull_back = jax.vjp(lambda a: _convolve(a, kernel, 1, 1), x)
    return *pull_back(gradient), kernel_gradient(x, gradient)


_convolve_sharing_taps.defvjp(_sharing_taps_forward, _sharing_taps_backward)


def kernel_gradient(x: jax.Array, gradient: jax.Array) -> jax.Array:
    """The gradient for the kernel of a convolution at stride 1, as one matrix product.

    dK[i, j] = sum over p of x[p + (i, j)]^T g[p]. The horizontal taps are put beside
    each other in x, the vertical ones in g: each is then copied k times, not k * k
    times, and one product of [k C, M] and [M, k F] gives all taps at once.

    Args:
      x: [B, H, W, C], the padded input.
      gradient: [B, H - k + 1, W - k + 1, F], of the output.

    Returns:
      [k, k, C, F].
    """
    size = x.shape[1] - gradient.shape[1] + 1
    channels, features = x.shape[-1], gradient.shape[-1]
    columns = _side_by_side(x, axis=2, starts=range(size), length=gradient.shape[2])
    around = jnp.pad(gradient, ((0, 0), (size - 1, size - 1), (0, 0), (0, 0)))
    rows = _side_by_side(around, axis=1, starts=range(size - 1, -1, -1), length=x.shape[1])
    product = lax.dot_general(columns, rows, (((0,), (0,)), ((), ())))
    return product.reshape(size, channels, size, features).transpose(2, 0, 1, 3)


def _side_by_side(x: jax.Array, *, axis: int, starts: range, length: int) -> jax.Array:
    """Windows of one spatial dimension, beside each other in the channels: [pixels, k C]."""
    windows = jnp.stack([lax.slice_in_dim(x, s, s + length, axis=axis) for s in starts])
    # Stacked in front and turned: several times faster than to concatenate channels.
    return windows.transpose(1, 2, 3, 0, 4).reshape(-1, len(starts) * x.shape[-1])
