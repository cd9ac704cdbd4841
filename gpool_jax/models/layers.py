"""The convolution, linear and normalisation layers that every network here is made of.

Maps go through arithmetic and `ops` only, never through `jnp`: a residual encoder may then be
given an `ops.SharedBackground` in place of an array.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from gpool_jax import ops

# PyTorch's default for convolutions and linear layers: uniform in
# +-1/sqrt(fan_in), i.e. Kaiming with a = sqrt(5).
torch_default_init = nn.initializers.variance_scaling(1.0 / 3.0, "fan_in", "uniform")


def _bias_init(key: jax.Array, features: int, fan_in: int) -> jax.Array:
    bound = fan_in**-0.5
    return jax.random.uniform(key, (features,), jnp.float32, -bound, bound)


class Conv(nn.Module):
    """Square convolution with the network's kind of "same" padding.

    Attributes:
      features: output channels.
      size: side of the kernel, odd.
      stride: step between output pixels.
      dilation: step between taps.
      use_bias: whether a bias is added.
      padding: one of `ops.PADDING_MODES`.
      dtype: the computation's type; parameters stay float32.
    """

    features: int
    size: int = 3
    stride: int = 1
    dilation: int = 1
    use_bias: bool = False
    padding: str = "zeros"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, features]."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", torch_default_init, shape)
        out = ops.conv2d(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            stride=self.stride,
            dilation=self.dilation,
            padding=self.padding,
        )
        if self.use_bias:
            fan_in = self.size * self.size * x.shape[-1]
            bias = self.param("bias", _bias_init, self.features, fan_in)
            out = out + bias.astype(self.dtype)[None, None, None, :]
        return out


class Dense(nn.Module):
    """Linear layer in float32: the last step before a loss or a decision."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., C] -> float32 [..., features]."""
        kernel = self.param("kernel", torch_default_init, (x.shape[-1], self.features))
        bias = self.param("bias", _bias_init, self.features, x.shape[-1])
        bias = bias.reshape((1,) * (x.ndim - 1) + (-1,))
        return x.astype(jnp.float32) @ kernel + bias


class BatchNorm(nn.Module):
    """Batch normalisation with PyTorch's constants and Flax's variables.

    The running variance is the biased one, as in Flax; PyTorch's is N / (N - 1) times as large,
    over N = B * H * W values.

    Attributes:
      train: whether to use and update batch statistics.
      axis_name: mapped axis over which batch statistics are synchronised.
      dtype: the output's type; statistics are in float32 at least.
      momentum: share of the running statistics that an update keeps.
    """

    train: bool
    axis_name: str | None = None
    dtype: Any = jnp.float32
    momentum: float = 0.9

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> the same shape."""

        def filled(value: float) -> jax.Array:
            return jnp.full(x.shape[-1], value, jnp.float32)

        learned = self.param("norm", lambda _: {"scale": filled(1.0), "bias": filled(0.0)})
        running = self.variable(
            "batch_stats", "norm", lambda: {"mean": filled(0.0), "var": filled(1.0)}
        )
        mean, variance = running.value["mean"], running.value["var"]
        if self.train:
            mean, square = ops.moments(x)
            if self.axis_name is not None and not self.is_initializing():
                mean, square = lax.pmean(jnp.stack([mean, square]), self.axis_name)
            variance = jnp.maximum(0.0, square - lax.square(mean))
            if not self.is_initializing():
                new, keep = {"mean": mean, "var": variance}, self.momentum
                running.value = {k: keep * running.value[k] + (1 - keep) * new[k] for k in new}
        scale = lax.rsqrt(variance + 1e-5) * learned["scale"]
        x = x.astype(np.promote_types(x.dtype, np.float32))
        centre, scale, bias = (v.reshape(1, 1, 1, -1) for v in (mean, scale, learned["bias"]))
        return ((x - centre) * scale + bias).astype(self.dtype)
