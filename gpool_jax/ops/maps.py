"""Operations on maps besides convolution and pooling.

Like `conv2d` and `permute_channels`, these take an array [B, H, W, C], or a `SharedBackground`
that stands for one (see `shared_background`, which adds that case to each of them).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


@functools.singledispatch
def relu(x: jax.Array) -> jax.Array:
    """Replace negative values by zero."""
    return jax.nn.relu(x)


@functools.singledispatch
def subsample(x: jax.Array, *, stride: int) -> jax.Array:
    """Keep every `stride`-th pixel in both dimensions: [B, H, W, C] -> [B, H', W', C]."""
    return x[:, ::stride, ::stride]


@functools.singledispatch
def pad_channels(x: jax.Array, *, before: int, after: int) -> jax.Array:
    """Add channels of zeros: [B, H, W, C] -> [B, H, W, before + C + after]."""
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (before, after)))


@functools.singledispatch
def moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and mean square of each channel of [B, H, W, C]: [C] twice, at least float32."""
    x = x.astype(np.promote_types(x.dtype, np.float32))
    return x.mean((0, 1, 2)), lax.square(x).mean((0, 1, 2))
