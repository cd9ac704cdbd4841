"""Residual encoders: the reference's, torchvision's and the CIFAR family."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from gpool_jax import ops
from gpool_jax.errors import InputError
from gpool_jax.models.features import stages_done
from gpool_jax.models.layers import BatchNorm, Conv
from gpool_jax.models.subsampling import subsampler

STEMS = ("conv7", "conv7_pool", "conv3", "conv3_pool")
_STEM_STRIDE = {"conv7": 2, "conv7_pool": 4, "conv3": 1, "conv3_pool": 2}
# Where BlurPool stands: everywhere, or as in the networks published by timm or by Zhang.
ANTIALIAS_LAYOUTS = ("everywhere", "timm", "zhang")


def _split_stride(stride: int, blur: Callable | None) -> tuple[int, Callable]:
    """Split a stride into what a layer keeps of it and the blur, if any, that follows.

    With BlurPool a strided layer becomes one at stride 1, its activation, and the blur; a
    shortcut is blurred first (Zhang, 2019, section 3.2). What follows is given a map, and perhaps
    the phase that another path of the block has chosen; it returns the map and its phase.
    """
    if blur is None or stride == 1:
        return stride, lambda x, phase=None: (x, None)
    return 1, functools.partial(blur, stride=stride)


class _Block(nn.Module):
    """The attributes of both kinds of block."""

    features: int
    conv: Any
    norm: Any
    stride: int = 1
    dilation: int = 1
    shortcut: str = "projection"
    blur: Any = None
    blur_shortcut: bool = True


class BasicBlock(_Block):
    """Two 3x3 convolutions and a shortcut (He et al., 2016, figure 5 left)."""

    expansion = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, features]."""
        step, subsample = _split_stride(self.stride, self.blur)
        y = self.conv(self.features, stride=step, dilation=self.dilation, name="conv1")(x)
        y, phase = subsample(ops.relu(self.norm(name="bn1")(y)))
        y = self.conv(self.features, dilation=self.dilation, name="conv2")(y)
        y = self.norm(name="bn2")(y)
        return ops.relu(y + _shortcut(self, x, self.features, phase))


class Bottleneck(_Block):
    """1x1, 3x3, 1x1 convolutions; the 3x3 carries the stride, as in torchvision."""

    expansion = 4

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, 4 * features]."""
        step, subsample = _split_stride(self.stride, self.blur)
        y = ops.relu(self.norm(name="bn1")(self.conv(self.features, size=1, name="conv1")(x)))
        y = self.conv(self.features, stride=step, dilation=self.dilation, name="conv2")(y)
        y, phase = subsample(ops.relu(self.norm(name="bn2")(y)))
        out = self.features * self.expansion
        y = self.norm(name="bn3")(self.conv(out, size=1, name="conv3")(y))
        return ops.relu(y + _shortcut(self, x, out, phase))


def _shortcut(block: _Block, x: jax.Array, features: int, phase: jax.Array | None) -> jax.Array:
    """Bring the block's input to its output's shape; call inside the block.

    `phase` is that of the block's other path, if it has chosen one.
    """
    if block.stride == 1 and x.shape[-1] == features:
        return x
    step, subsample = _split_stride(block.stride, block.blur if block.blur_shortcut else None)
    x, _ = subsample(x, phase)
    if block.shortcut == "projection":
        x = block.conv(features, size=1, stride=step, name="shortcut_conv")(x)
        return block.norm(name="shortcut_bn")(x)
    # Parameter-free: subsample, and put zero channels half on each side.
    missing = features - x.shape[-1]
    x = ops.subsample(x, stride=step)
    return ops.pad_channels(x, before=missing // 2, after=missing - missing // 2)


class ResNet(nn.Module):
    """A residual encoder; see `models.create` for the named variants and for other attributes.

    Attributes:
      stage_sizes: blocks per stage.
      stage_features: base channels per stage, before the block's expansion.
      block: `BasicBlock` or `Bottleneck`.
      stem: "conv7" (7x7 stride 2) or "conv3" (3x3 stride 1); "conv7_pool" or "conv3_pool" (and a
        3x3 stride-2 max-pool).
      shortcut: "projection" (1x1 convolution) or "subsample" (no parameters).
      antialias_layout: where BlurPool stands. "everywhere": in every strided convolution, max-pool
        and shortcut, padded like the network. "timm" (its `resnetblur`): not in the stem's
        convolution and in no shortcut. "zhang" (`antialiased-cnns`): not in the stem's
        convolution, and the max-pool is 2x2 and not padded. Those two pad it by reflection.
      subsampling: "strided", or "aps": on the strongest phase of each map (`ops.strongest_phase`),
        after the blur, if there is one.
      output_stride: input pixels per pixel of the last map; None: what the stem and the stages
        give. For a smaller one, later stages keep stride 1 and dilate their 3x3 convolutions.
      norm_momentum: momentum of the running batch statistics, in Flax's sense.
    """

    stage_sizes: tuple[int, ...]
    stage_features: tuple[int, ...]
    block: Any = BasicBlock
    stem: str = "conv7"
    shortcut: str = "projection"
    padding: str = "zeros"
    antialias: int = 0
    antialias_layout: str = "everywhere"
    subsampling: str = "strided"
    output_stride: int | None = None
    norm_momentum: float = 0.9
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @property
    def total_stride(self) -> int:
        """Input pixels per pixel of the last map."""
        strides = [stride for stride, _, _ in self.stage_steps]
        return _STEM_STRIDE[self.stem] * math.prod(strides)

    @property
    def stage_steps(self) -> list[tuple[int, int, int]]:
        """Stride of each stage, dilation of its first block, and dilation of its other blocks.

        A stage that dilates instead of striding doubles the dilation; its first block keeps the
        one before, as its input still has the finer spacing (torchvision's
        `replace_stride_with_dilation`).

        Raises:
          InputError: if `output_stride` cannot be reached.
        """
        reached, dilation = _STEM_STRIDE[self.stem], 1
        full = reached * 2 ** (len(self.stage_sizes) - 1)
        wanted = full if self.output_stride is None else self.output_stride
        possible = [reached * 2**i for i in range(len(self.stage_sizes))]
        if wanted not in possible:
            raise InputError(
                f"`model.output_stride`: stem {self.stem!r} and {len(self.stage_sizes)} stages "
                f"can give {', '.join(map(str, possible))}; got {wanted}."
            )
        steps = [(1, 1, 1)]
        for _ in self.stage_sizes[1:]:
            if reached < wanted:
                reached *= 2
                steps.append((2, dilation, dilation))
            else:
                steps.append((1, dilation, 2 * dilation))
                dilation *= 2
        return steps

    @property
    def channels(self) -> dict[str, int]:
        """Channel count at every point where channels can be permuted."""
        outputs = [features * self.block.expansion for features in self.stage_features]
        points = [self.stage_features[0], *outputs]
        names = [f"stage{i + 1}" for i in range(len(outputs))]
        return dict(zip([*names, "gap"], points, strict=True))

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        *,
        start: str | None = None,
        train: bool = False,
        permute_at: str | None = None,
        permutation: jax.Array | None = None,
    ) -> dict[str, jax.Array]:
        """[B, H, W, C] -> `stem`, `stage1`.., `pre_gap`, each [B, H', W', C'].

        `start` names the feature that `x` is already: it and those after it are returned.
        `permutation` is applied to the input of the stage named `permute_at`, if that stage runs.
        """
        done = stages_done(start, len(self.stage_sizes))
        conv = functools.partial(Conv, padding=self.padding, dtype=self.dtype)
        norm = functools.partial(BatchNorm, train=train, axis_name=self.axis_name, dtype=self.dtype)
        norm = functools.partial(norm, momentum=self.norm_momentum)
        padding = self.padding if self.antialias_layout == "everywhere" else "reflect"
        blur = subsampler(self.antialias, padding, self.subsampling)
        if start is None:
            x = _stem(self, x, conv, norm, blur)
        features = {start or "stem": x}
        for i, (stride, first, dilation) in enumerate(self.stage_steps):
            if i < done:
                continue
            stage = f"stage{i + 1}"
            if permute_at == stage and permutation is not None:
                x = ops.permute_channels(x, permutation)
            for j in range(self.stage_sizes[i]):
                x = self.block(
                    self.stage_features[i],
                    conv=conv,
                    norm=norm,
                    stride=1 if j else stride,
                    dilation=dilation if j else first,
                    shortcut=self.shortcut,
                    blur=blur,
                    blur_shortcut=self.antialias_layout != "timm",
                    name=f"{stage}_block{j}",
                )(x)
            features[stage] = x
        features["pre_gap"] = x
        return features


def _stem(
    net: ResNet, x: jax.Array, conv: Callable, norm: Callable, blur: Callable | None
) -> jax.Array:
    """Convolve the image for the first time, and max-pool it; call inside the encoder."""
    size, stride = (3, 1) if net.stem.startswith("conv3") else (7, 2)
    step, subsample = _split_stride(stride, blur if net.antialias_layout == "everywhere" else None)
    x = conv(net.stage_features[0], size=size, stride=step, name="conv1")(x)
    x, _ = subsample(ops.relu(norm(name="bn1")(x)))
    if net.stem.endswith("_pool"):
        step, subsample = _split_stride(2, blur)
        size, amount = (2, 0) if blur and net.antialias_layout == "zhang" else (3, 1)
        x = ops.max_pool2d(x, size=size, stride=step, amount=amount, padding=net.padding)
        x, _ = subsample(x)
    return x
