"""The part of a DeepLab head that is linear in the channels of the map it reads.

Every branch of the pyramid, and the image's mean, begins with a convolution without a bias. So
the response to some channels can be subtracted from that to all of them: a network with
channels removed costs only those channels and the layers after the branches.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gpool_jax import ops
from gpool_jax.models.deeplab import DeepLabHead, branch_dilations

Responses = dict[str, jax.Array]


def respond(
    head: DeepLabHead, params: Mapping[str, Any], x: jax.Array, channels: jax.Array
) -> Responses:
    """Compute the contribution of some channels to each branch, before its normalisation.

    Args:
      head: the head with these branches.
      params: the head's parameters.
      x: [B, H, W, n], the values of the channels.
      channels: int [n], their places among the head's input channels.

    Returns:
      float32 [B, H, W, F] by branch, and [B, 1, 1, F] for `pool`. For all channels together,
      this is what `DeepLabHead` computes itself if it is given no `responses`.
    """
    x = x.astype(head.dtype)

    def convolve(values: jax.Array, name: str, dilation: int) -> jax.Array:
        kernel = params[name]["conv"]["kernel"][:, :, channels].astype(head.dtype)
        return ops.conv2d(values, kernel, dilation=dilation, padding=head.padding)

    branches = branch_dilations(head.rates)
    found = {name: convolve(x, name, dilation) for name, dilation in branches.items()}
    mean = ops.global_average_pool(x)[:, None, None, :].astype(head.dtype)
    found["pool"] = convolve(mean, "pool", 1)
    # In float32, whatever type the network computes in: callers sum many of these.
    return {name: value.astype(jnp.float32) for name, value in found.items()}
