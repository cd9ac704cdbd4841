"""The one convolution layer, and the layers that share its padding mode."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from gpool_jax.ops import placed
from gpool_jax.ops.placed import Map

# PyTorch's default for convolutions and linear layers: uniform in
# +-1/sqrt(fan_in), i.e. Kaiming with a = sqrt(5).
torch_default_init = nn.initializers.variance_scaling(1.0 / 3.0, "fan_in", "uniform")


def _bias_init(fan_in: int):
    bound = fan_in**-0.5

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class Conv(nn.Module):
    """Square convolution with "same" padding of the network's kind.

    Attributes:
      features: output channels.
      size: side of the kernel, odd.
      stride: step between output pixels.
      dilation: step between taps.
      use_bias: whether a bias is added.
      padding: one of `ops.PADDING_MODES`.
      dtype: of the computation; parameters stay float32.
    """

    features: int
    size: int = 3
    stride: int = 1
    dilation: int = 1
    use_bias: bool = False
    padding: str = "zeros"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Map) -> Map:
        """[B, H, W, C] -> [B, H / stride, W / stride, features]."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", torch_default_init, shape)
        out = placed.conv2d_placed(
            placed.elementwise(lambda m: m.astype(self.dtype), x),
            kernel.astype(self.dtype),
            stride=self.stride,
            dilation=self.dilation,
            padding=self.padding,
        )
        if self.use_bias:
            fan_in = self.size * self.size * x.shape[-1]
            bias = self.param("bias", _bias_init(fan_in), (self.features,))
            shift = bias.astype(self.dtype)[None, None, None, :]
            out = placed.elementwise(lambda m: m + shift, out)
        return out


class Dense(nn.Module):
    """Linear layer in float32: the last step before a loss or a decision."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., C] -> float32 [..., features]."""
        kernel = self.param("kernel", torch_default_init, (x.shape[-1], self.features))
        bias = self.param("bias", _bias_init(x.shape[-1]), (self.features,))
        bias = bias.reshape((1,) * (x.ndim - 1) + (-1,))
        return x.astype(jnp.float32) @ kernel + bias


class BatchNorm(nn.Module):
    """Flax's batch normalisation with PyTorch's constants.

    The running variance is Flax's (biased); PyTorch keeps the unbiased one,
    which differs by a factor N / (N - 1) over N = B * H * W values.
    """

    train: bool
    axis_name: str | None = None
    dtype: Any = jnp.float32
    momentum: float = 0.9

    @nn.compact
    def __call__(self, x: Map) -> Map:
        """[B, H, W, C] -> the same shape; statistics over the whole data axis."""
        norm = PlacedBatchNorm if isinstance(x, placed.Placed) else nn.BatchNorm
        return norm(
            use_running_average=not self.train,
            axis_name=self.axis_name,
            momentum=self.momentum,
            epsilon=1e-5,
            dtype=self.dtype,
            name="norm",
        )(x)


class PlacedBatchNorm(nn.Module):
    """`nn.BatchNorm` of maps that share their background: the same variables and values."""

    use_running_average: bool
    axis_name: str | None
    momentum: float
    epsilon: float
    dtype: Any

    @nn.compact
    def __call__(self, x: placed.Placed) -> placed.Placed:
        """[B, H, W, C] -> the same shape."""
        shape = x.shape[-1:]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_variance = self.variable("batch_stats", "var", jnp.ones, shape)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        if self.use_running_average:
            mean, variance = running_mean.value, running_variance.value
        else:
            mean, square = placed.moments(x)
            if self.axis_name is not None and not self.is_initializing():
                mean, square = lax.pmean((mean, square), self.axis_name)
            variance = jnp.maximum(0.0, square - mean**2)
            if not self.is_initializing():
                keep = self.momentum
                running_mean.value = keep * running_mean.value + (1 - keep) * mean
                running_variance.value = keep * running_variance.value + (1 - keep) * variance
        centre, factor, shift = (
            v[None, None, None, :] for v in (mean, lax.rsqrt(variance + self.epsilon) * scale, bias)
        )
        return placed.elementwise(lambda m: ((m - centre) * factor + shift).astype(self.dtype), x)
