"""The heads of DeepLabv3 and DeepLabv3+, which turn the encoder's maps into a map of logits."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from gpool_jax.models.layers import BatchNorm, Conv


def resize_bilinear(x: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """Resample a map [B, H, W, C] bilinearly with half-pixel centres, without a low-pass filter."""
    shape = (x.shape[0], *size, x.shape[-1])
    return jax.image.resize(x, shape, method="bilinear", antialias=False)


def drop_values(x: jax.Array, keys: jax.Array, rate: float) -> jax.Array:
    """Set a share `rate` of the values to zero, and scale up the others to keep the mean.

    There is one PRNG key per example, `keys` [B], so that the result does not depend on how devices
    share the batch.
    """
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1.0 - rate, x.shape[1:]))(keys)
    return jnp.where(keep, x / (1.0 - rate), jnp.zeros_like(x))


class ConvNorm(nn.Module):
    """Convolution (a `Conv` with the network's padding and dtype), batch normalisation, ReLU."""

    features: int
    conv: Any
    norm: Any
    size: int = 1
    dilation: int = 1

    @nn.compact
    def __call__(self, x: jax.Array | None, response: jax.Array | None = None) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, features]; a known `response` replaces the convolution's."""
        if response is None:
            conv = self.conv(self.features, size=self.size, dilation=self.dilation, name="conv")
            response = conv(x)
        return nn.relu(self.norm(name="bn")(response))


def branch_dilations(rates: tuple[int, ...]) -> dict[str, int]:
    """Name the branches of a pyramid in order, with their dilations; the first is 1x1."""
    return {f"branch{i}": rate for i, rate in enumerate((1, *rates))}


class DeepLabHead(nn.Module):
    """Atrous spatial pyramid pooling, and the layers that read it; see `create_segmenter`.

    DeepLabv3 (Chen et al., 2017) reads the encoder's last map only; v3+ (2018) joins the pyramid's
    output with a finer map of the encoder.

    Attributes:
      features: channels of every layer but the last and the low-level one.
      low_features: channels that the finer map is projected to; None: DeepLabv3.
    """

    num_outputs: int
    features: int = 256
    low_features: int | None = None
    rates: tuple[int, ...] = (6, 12, 18)
    dropout: float = 0.1
    padding: str = "zeros"
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self,
        features: dict[str, jax.Array],
        *,
        train: bool = False,
        dropout_keys: jax.Array | None = None,
        responses: dict[str, jax.Array] | None = None,
    ) -> jax.Array:
        """Compute logits at the resolution of the finest map that is read.

        Args:
          features: `pre_gap` [B, H, W, C], `gap` [B, C], and for v3+ `stage1`.
          train: use and update batch statistics, and drop.
          dropout_keys: PRNG keys [B].
          responses: outputs of the convolutions that read `pre_gap` and `gap`, where known
            (`deeplab_linear`); these two features are then not read.

        Returns:
          float32 [B, H', W', K], at the size of `pre_gap`, or of `stage1` for v3+.

        Raises:
          ValueError: if training drops and has no keys.
        """
        if train and self.dropout and dropout_keys is None:
            raise ValueError(
                f"`dropout_keys` must be given in training with dropout {self.dropout}: one key "
                "per example."
            )
        conv = functools.partial(Conv, padding=self.padding, dtype=self.dtype)
        norm = functools.partial(BatchNorm, train=train, axis_name=self.axis_name, dtype=self.dtype)
        layer = functools.partial(ConvNorm, self.features, conv=conv, norm=norm)
        known = responses or {}
        x = features.get("pre_gap")
        branches = []
        for name, dilation in branch_dilations(self.rates).items():
            branch = layer(size=1 if name == "branch0" else 3, dilation=dilation, name=name)
            branches.append(branch(x, known.get(name)))
        # The image's mean is one vector: broadcast after its layers, not before.
        mean = None if responses else features["gap"][:, None, None, :]
        pooled = layer(name="pool")(mean, known.get("pool"))
        branches.append(jnp.broadcast_to(pooled, branches[0].shape))
        x = layer(name="project")(jnp.concatenate(branches, axis=-1))
        if train and dropout_keys is not None and self.dropout:
            x = drop_values(x, dropout_keys, self.dropout)
        if self.low_features is not None:
            low = ConvNorm(self.low_features, conv=conv, norm=norm, name="low")(features["stage1"])
            x = jnp.concatenate([low, resize_bilinear(x, low.shape[1:3])], axis=-1)
        x = layer(size=3, name="fuse")(x)
        x = conv(self.num_outputs, size=1, use_bias=True, name="classifier")(x)
        return x.astype(jnp.float32)
