"""Residual encoders: the reference's, torchvision's and the CIFAR family."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from gpool_jax import ops
from gpool_jax.models.layers import BatchNorm, Conv

STEMS = ("conv7", "conv7_pool", "conv3")


def _split_stride(stride: int, blur: Callable | None) -> tuple[int, Callable]:
    """The stride left to a layer, and what follows it: nothing, or a blur that subsamples.

    With BlurPool a strided layer becomes one at stride 1, its activation, and
    the blur; a shortcut is blurred first (Zhang, 2019, section 3.2).
    """
    if blur is None or stride == 1:
        return stride, lambda x: x
    return 1, functools.partial(blur, stride=stride)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al., 2016, figure 5 left)."""

    features: int
    conv: Any
    norm: Any
    stride: int = 1
    dilation: int = 1
    shortcut: str = "projection"
    blur: Any = None
    expansion = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, features]."""
        step, subsample = _split_stride(self.stride, self.blur)
        y = self.conv(self.features, stride=step, dilation=self.dilation, name="conv1")(x)
        y = subsample(nn.relu(self.norm(name="bn1")(y)))
        y = self.conv(self.features, dilation=self.dilation, name="conv2")(y)
        y = self.norm(name="bn2")(y)
        return nn.relu(y + _shortcut(self, x, self.features))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions; the 3x3 carries the stride, as in torchvision."""

    features: int
    conv: Any
    norm: Any
    stride: int = 1
    dilation: int = 1
    shortcut: str = "projection"
    blur: Any = None
    expansion = 4

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, 4 * features]."""
        step, subsample = _split_stride(self.stride, self.blur)
        y = nn.relu(self.norm(name="bn1")(self.conv(self.features, size=1, name="conv1")(x)))
        y = self.conv(self.features, stride=step, dilation=self.dilation, name="conv2")(y)
        y = subsample(nn.relu(self.norm(name="bn2")(y)))
        out = self.features * self.expansion
        y = self.norm(name="bn3")(self.conv(out, size=1, name="conv3")(y))
        return nn.relu(y + _shortcut(self, x, out))


def _shortcut(block: BasicBlock | Bottleneck, x: jax.Array, features: int) -> jax.Array:
    """Bring the block's input to its output's shape; call inside the block."""
    if block.stride == 1 and x.shape[-1] == features:
        return x
    step, subsample = _split_stride(block.stride, block.blur)
    x = subsample(x)
    if block.shortcut == "projection":
        x = block.conv(features, size=1, stride=step, name="shortcut_conv")(x)
        return block.norm(name="shortcut_bn")(x)
    # Parameter-free: subsample, and put zero channels half on each side.
    x = x[:, ::step, ::step]
    missing = features - x.shape[-1]
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (missing // 2, missing - missing // 2)))


class ResNet(nn.Module):
    """A residual encoder; see `models.create` for the named variants.

    Attributes:
      stage_sizes: blocks per stage.
      stage_features: base channels per stage, before the block's expansion.
      block: `BasicBlock` or `Bottleneck`.
      stem: "conv7" (7x7 stride 2), "conv7_pool" (and a 3x3 stride-2 max-pool) or
        "conv3" (3x3 stride 1).
      shortcut: "projection" (1x1 convolution) or "subsample" (no parameters).
      padding: one of `ops.PADDING_MODES`, obeyed by every padded layer.
      antialias: 0, or the taps of the BlurPool in every strided convolution and
        max-pool.
      dtype: of the computation.
      axis_name: mapped axis over which batch statistics are synchronised.
    """

    stage_sizes: tuple[int, ...]
    stage_features: tuple[int, ...]
    block: Any = BasicBlock
    stem: str = "conv7"
    shortcut: str = "projection"
    padding: str = "zeros"
    antialias: int = 0
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @property
    def total_stride(self) -> int:
        """Input pixels per pixel of the last map."""
        stem = {"conv7": 2, "conv7_pool": 4, "conv3": 1}[self.stem]
        return stem * 2 ** (len(self.stage_sizes) - 1)

    @property
    def channels(self) -> dict[str, int]:
        """Channels at every point where they can be permuted: before a stage, or pooled."""
        outputs = [features * self.block.expansion for features in self.stage_features]
        inputs = [self.stage_features[0], *outputs[:-1]]
        points = {f"stage{i + 1}": c for i, c in enumerate(inputs)}
        return points | {"gap": outputs[-1]}

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        *,
        train: bool = False,
        permute_at: str | None = None,
        permutation: jax.Array | None = None,
    ) -> dict[str, jax.Array]:
        """[B, H, W, C] -> `stem`, `stage1`.., `pre_gap`, each [B, H', W', C'].

        `permutation` is applied to the input of the stage named `permute_at`.
        """
        conv = functools.partial(Conv, padding=self.padding, dtype=self.dtype)
        norm = functools.partial(BatchNorm, train=train, axis_name=self.axis_name, dtype=self.dtype)
        blur: Callable | None = None
        if self.antialias:
            blur = functools.partial(ops.blur_pool2d, taps=self.antialias, padding=self.padding)
        size, stride = (3, 1) if self.stem == "conv3" else (7, 2)
        step, subsample = _split_stride(stride, blur)
        x = conv(self.stage_features[0], size=size, stride=step, name="conv1")(x)
        x = subsample(nn.relu(norm(name="bn1")(x)))
        if self.stem == "conv7_pool":
            step, subsample = _split_stride(2, blur)
            x = ops.max_pool2d(x, size=3, stride=step, amount=1, padding=self.padding)
            x = subsample(x)
        features = {"stem": x}
        for i, (count, width) in enumerate(zip(self.stage_sizes, self.stage_features, strict=True)):
            stage = f"stage{i + 1}"
            if permute_at == stage and permutation is not None:
                x = ops.permute_channels(x, permutation)
            for j in range(count):
                x = self.block(
                    width,
                    conv=conv,
                    norm=norm,
                    stride=2 if i > 0 and j == 0 else 1,
                    shortcut=self.shortcut,
                    blur=blur,
                    name=f"{stage}_block{j}",
                )(x)
            features[stage] = x
        features["pre_gap"] = x
        return features
