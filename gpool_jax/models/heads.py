"""Heads that turn the encoder's last map into logits, with or without the channel order."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from gpool_jax import ops
from gpool_jax.models.layers import Conv, Dense

HEADS = ("gapnet", "permutenet", "linear")


class GapHead(nn.Module):
    """GAPNet: a 3x3 convolution to one map per class, then its average.

    The convolution follows the network's padding mode, as in the reference.
    """

    num_outputs: int
    padding: str = "zeros"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, features: dict[str, jax.Array], *, permutation: jax.Array | None = None
    ) -> jax.Array:
        """`pre_gap` [B, H, W, C] -> float32 logits [B, K]."""
        if permutation is not None:
            raise ValueError(
                "`permutation`: the head 'gapnet' pools last, it has no pooled vector to permute; "
                "use 'permutenet' or 'linear'."
            )
        layer = functools.partial(Conv, padding=self.padding, dtype=self.dtype)
        maps = layer(self.num_outputs, use_bias=True, name="pre_classifier")(features["pre_gap"])
        return ops.global_average_pool(maps)


class LinearHead(nn.Module):
    """PermuteNet and its matched control: a linear layer on the pooled latent.

    The two have the same parameters; PermuteNet is trained and tested with a permutation.
    """

    num_outputs: int

    @nn.compact
    def __call__(
        self, features: dict[str, jax.Array], *, permutation: jax.Array | None = None
    ) -> jax.Array:
        """`gap` [B, C], permutation [C] or [B, C] -> float32 logits [B, K]."""
        latent = features["gap"]
        if permutation is not None:
            latent = ops.permute_channels(latent, permutation)
        return Dense(self.num_outputs, name="classifier")(latent)
