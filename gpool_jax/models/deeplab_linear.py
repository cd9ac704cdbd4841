"""The part of a DeepLab head that is linear in the channels of the map it reads.

Every branch of the pyramid, and the image's mean, begins with a convolution without
a bias. So the sum over some channels can be added to, or taken from, what all of
them give: a network with channels removed costs those channels only, and what
follows the branches.
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
    """What some channels add to each branch, before its normalisation.

    Args:
      head: whose branches.
      params: of the head.
      x: [B, H, W, n], the values of these channels.
      channels: int [n], which channels of the head's input they are.

    Returns:
      By branch: float32 [B, H, W, F], and [B, 1, 1, F] of `pool`. For all channels together,
      what `DeepLabHead` computes itself if it is given no `responses`.
    """
    x = x.astype(head.dtype)

    def convolve(values: jax.Array, name: str, dilation: int) -> jax.Array:
        kernel = params[name]["conv"]["kernel"][:, :, channels].astype(head.dtype)
        return ops.conv2d(values, kernel, dilation=dilation, padding=head.padding)

    branches = branch_dilations(head.rates)
    found = {name: convolve(x, name, dilation) for name, dilation in branches.items()}
    mean = ops.global_average_pool(x)[:, None, None, :].astype(head.dtype)
    found["pool"] = convolve(mean, "pool", 1)
    # Sums of many are kept in float32, whatever the network computes in.
    return {name: value.astype(jnp.float32) for name, value in found.items()}
