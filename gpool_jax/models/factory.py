"""`create`: from a name to a network that returns `(logits, features)`."""

import difflib
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from gpool_jax import ops
from gpool_jax.errors import InputError
from gpool_jax.models import vgg
from gpool_jax.models.features import stages_done
from gpool_jax.models.heads import HEADS, GapHead, LinearHead
from gpool_jax.models.resnet import STEMS, BasicBlock, Bottleneck, ResNet
from gpool_jax.ops.placed import Map

RESNETS = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
}
_CIFAR_RESNETS = {f"cifar_resnet{depth}": (depth - 2) // 6 for depth in (20, 32, 44, 56, 110)}
_VGGS = ("vgg5", *vgg.STAGE_SIZES)

MODELS = (*RESNETS, *_CIFAR_RESNETS, *_VGGS)
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class Classifier(nn.Module):
    """An encoder, its pooled latent, and a head.

    Attributes:
      backbone: the encoder.
      head: from its features to logits.
      permute_at: where `permutation` is applied: "gap" (the pooled latent) or the
        input of a stage, "stage1"...
    """

    backbone: nn.Module
    head: nn.Module
    permute_at: str = "gap"

    def __call__(
        self, x: Map, *, train: bool = False, permutation: jax.Array | None = None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Compute logits and the named intermediate features.

        Args:
          x: [B, H, W, C], normalised; or an `ops.Placed` that stands for it.
          train: use and update batch statistics.
          permutation: int [C] or [B, C] of the channels at `permute_at`; None
            leaves their order alone.

        Returns:
          float32 logits [B, K], and a dict of `stem`, `stage1`.., `pre_gap`
          (maps [B, H', W', C']) and `gap` (float32 [B, C]).
        """
        if not self.shares_background:
            x = ops.compose(x)
        at_head = permutation if self.permute_at == "gap" else None
        features = self.backbone(
            x, train=train, permute_at=self.permute_at, permutation=permutation
        )
        features["gap"] = ops.global_average_pool(features["pre_gap"])
        return self.classify(features, permutation=at_head), features

    def classify(
        self, features: dict[str, jax.Array], *, permutation: jax.Array | None = None
    ) -> jax.Array:
        """Run the head alone, on features that a pass has already computed."""
        return self.head(features, permutation=permutation)

    def resume(
        self, features: dict[str, jax.Array], *, start: str, size: tuple[int, int] | None = None
    ) -> jax.Array:
        """Compute logits from an intermediate feature, which may have been altered.

        Args:
          features: of a pass in evaluation mode; only `features[start]` is read.
          start: "stem", "stage1", ..., "pre_gap", or "gap" if the head reads it.
          size: unused; the size of an input has no part in these logits.

        Returns:
          float32 logits [B, K].

        Raises:
          ValueError: if there is no such feature, or the head does not read "gap".
        """
        del size
        if start == "gap":
            if isinstance(self.head, GapHead):
                raise ValueError(
                    "`start`: the head 'gapnet' pools last, it does not read 'gap'; start at "
                    "'pre_gap' or before."
                )
            return self.classify(features)
        return self.classify(self.complete(features, start=start))

    def complete(self, features: dict[str, jax.Array], *, start: str) -> dict[str, jax.Array]:
        """Compute the features from `start` on anew, `gap` included; see `resume`."""
        stages_done(start, len(self.backbone.stage_sizes))
        later = self.backbone(features[start], start=start)
        later["gap"] = ops.global_average_pool(later["pre_gap"])
        return later

    @property
    def shares_background(self) -> bool:
        """Whether maps of placed images are computed without repeating their background."""
        return isinstance(self.backbone, ResNet) and self.backbone.shares_background

    @property
    def num_permutable(self) -> int:
        """Channels at `permute_at`."""
        return self.backbone.channels[self.permute_at]


def check_choice(field: str, value: Any, allowed) -> None:
    """Raise if `value` is not among the allowed ones, naming the nearest."""
    if value in allowed:
        return
    near = difflib.get_close_matches(str(value), [str(a) for a in allowed], n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise InputError(
        f"`{field}` must be one of {', '.join(map(str, allowed))}; got {value!r}.{hint}"
    )


def create(
    name: str,
    *,
    num_outputs: int,
    head: str,
    padding: str = "zeros",
    stem: str | None = None,
    width: float = 1.0,
    antialias: int = 0,
    permute_at: str = "gap",
    dtype: str = "float32",
    axis_name: str | None = None,
) -> Classifier:
    """Build a network by name.

    Args:
      name: one of `MODELS`.
      num_outputs: K, classes of the head.
      head: "gapnet" (3x3 convolution, then pooling), "permutenet" or "linear"
        (pooling, then a linear layer; the two differ in how they are used).
      padding: one of `ops.PADDING_MODES`.
      stem: for ResNet-18..101, one of `STEMS` (default "conv7", the reference's).
      width: multiplies every channel count.
      antialias: 0, or 3 or 5 taps of BlurPool in every strided convolution and
        max-pool.
      permute_at: "gap", or the stage before which a permutation is applied.
      dtype: "float32" or "bfloat16", of the computation; parameters, batch
        statistics, pooling and logits are float32.
      axis_name: mapped axis over which batch statistics are synchronised; only
        for training inside `pmap` or `shard_map`.

    Returns:
      A Linen module: `init(key, x)`, `apply(variables, x, train=, permutation=)
      -> (logits, features)`.

    Raises:
      InputError: naming the field, the bad value and what is allowed.
    """
    check_choice("model.name", name, MODELS)
    check_choice("model.head", head, HEADS)
    check_common(num_outputs, padding, width, antialias, dtype)
    shared = {
        "padding": padding,
        "antialias": antialias,
        "dtype": DTYPES[dtype],
        "axis_name": axis_name,
    }
    backbone = _backbone(name, stem, width, shared)
    check_choice("model.permute_at", permute_at, tuple(backbone.channels))
    head_module: nn.Module
    if head == "gapnet":
        head_module = GapHead(num_outputs, padding=padding, dtype=DTYPES[dtype])
    else:
        head_module = LinearHead(num_outputs)
    return Classifier(backbone=backbone, head=head_module, permute_at=permute_at)


def check_common(num_outputs: int, padding: str, width: float, antialias: int, dtype: str) -> None:
    """Raise if an option that every network has is not one of the allowed."""
    check_choice("model.padding", padding, ops.PADDING_MODES)
    check_choice("model.dtype", dtype, DTYPES)
    check_choice("model.antialias", antialias, (0, *ops.BLUR_TAPS))
    if num_outputs < 2:
        raise InputError(f"`num_outputs` must be at least 2; got {num_outputs}.")
    if not 0 < width <= 64:
        raise InputError(f"`model.width` must be in (0, 64]; got {width}.")


def scaled(width: float, *features: int) -> tuple[int, ...]:
    """Channel counts times `width`, at least 1."""
    return tuple(max(1, round(f * width)) for f in features)


def create_resnet(name: str, stem: str, width: float, **options: Any) -> ResNet:
    """Build one of `RESNETS`; `options` are other attributes of `ResNet`."""
    check_choice("model.stem", stem, STEMS)
    block, sizes = RESNETS[name]
    return ResNet(sizes, scaled(width, 64, 128, 256, 512), block=block, stem=stem, **options)


def _backbone(name: str, stem: str | None, width: float, shared: dict[str, Any]) -> nn.Module:
    if name in RESNETS:
        return create_resnet(name, stem or "conv7", width, **shared)
    if stem is not None:
        raise InputError(f"`model.stem` is an option of resnet18..101 only; got {stem!r}, {name}.")
    if name in _CIFAR_RESNETS:
        count = _CIFAR_RESNETS[name]
        return ResNet(
            (count,) * 3, scaled(width, 16, 32, 64), stem="conv3", shortcut="subsample", **shared
        )
    if name == "vgg5":
        return vgg.VGG((1, 1, 1, 1), scaled(width, 32, 64, 128, 256), final_pool=False, **shared)
    return vgg.VGG(vgg.STAGE_SIZES[name], scaled(width, *vgg.STAGE_FEATURES), **shared)


MAX_SIDE = 2048


def check_input_side(model: Classifier, side: int, what: str) -> None:
    """Raise if an input of `side` pixels would shrink to nothing, or fill any memory.

    Args:
      model: the network.
      side: of its input, in pixels.
      what: the input, in the words of an error: "a canvas of n = 3 images a side".
    """
    if side > MAX_SIDE:
        raise InputError(f"{what} is {side} pixels wide; at most {MAX_SIDE} are allowed.")
    # Reflection needs at least two pixels to reflect at the last stage.
    factor = 2 if model.backbone.padding == "reflect" else 1
    needed = model.backbone.total_stride * factor
    if side < needed:
        raise InputError(
            f"{what} is {side} pixels wide; this network (total stride "
            f"{model.backbone.total_stride}, padding {model.backbone.padding!r}) needs at least "
            f"{needed}."
        )
