"""`create` builds a classification network by name."""

import difflib
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from gpool_jax import ops
from gpool_jax.errors import InputError
from gpool_jax.imports import PREFIX
from gpool_jax.models import own, vgg
from gpool_jax.models.features import stages_done
from gpool_jax.models.heads import HEADS, GapHead, LinearHead
from gpool_jax.models.resnet import ANTIALIAS_LAYOUTS, STEMS, BasicBlock, Bottleneck, ResNet
from gpool_jax.models.subsampling import SUBSAMPLING
from gpool_jax.ops import Maps

RESNETS = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
}
_CIFAR_RESNETS = {f"cifar_resnet{depth}": (depth - 2) // 6 for depth in (20, 32, 44, 56, 110)}
_VGGS = ("vgg5", *vgg.STAGE_SIZES)

MODELS = (*RESNETS, *_CIFAR_RESNETS, *_VGGS)
# Options of `create` that an encoder of a user's may not have.
_ENCODER_DEFAULTS = {
    "padding": "zeros",
    "width": 1.0,
    "antialias": 0,
    "subsampling": "strided",
    "dtype": jnp.float32,
}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class Classifier(nn.Module):
    """An encoder, its pooled latent, and a head; `permutation` is applied at `permute_at`."""

    backbone: nn.Module
    head: nn.Module
    permute_at: str = "gap"

    def __call__(
        self, x: Maps, *, train: bool = False, permutation: jax.Array | None = None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Compute logits and the named intermediate features.

        Args:
          x: [B, H, W, C], normalised.
          train: use and update batch statistics.
          permutation: int [C] or [B, C] of the channels at `permute_at`; None leaves their
            order alone.

        Returns:
          float32 logits [B, K], and a dict of `stem`, `stage1`.., `pre_gap` (maps
          [B, H', W', C']) and `gap` (float32 [B, C]).
        """
        if not self.shares_background:
            x = ops.compose(x)
        at_head = permutation if self.permute_at == "gap" else None
        maps = self.backbone(x, train=train, permute_at=self.permute_at, permutation=permutation)
        features = {name: ops.compose(value) for name, value in maps.items()}
        return self._finish(features, at_head)

    def classify(
        self, features: dict[str, jax.Array], *, permutation: jax.Array | None = None
    ) -> jax.Array:
        """Run the head alone, on features that a pass has already computed."""
        return self.head(features, permutation=permutation)

    def resume(
        self, features: dict[str, jax.Array], *, start: str
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Go on in evaluation mode from an intermediate feature, which may have been altered.

        Args:
          features: a pass's features; only `features[start]` is read.
          start: "stem", "stage1", ..., "pre_gap", or "gap" if the head reads it.

        Returns:
          float32 logits [B, K], and the features from `start` on, always with `gap`.

        Raises:
          ValueError: if there is no such feature, or the head does not read "gap".
        """
        if start == "gap":
            if isinstance(self.head, GapHead):
                raise ValueError(
                    "`start`: the head 'gapnet' pools last, it does not read 'gap'; start at "
                    "'pre_gap' or before."
                )
            given = {"gap": features["gap"]}
            return self.classify(given), given
        stages_done(start, len(self.backbone.stage_sizes))
        return self._finish(self.backbone(features[start], start=start), None)

    def _finish(
        self, features: dict[str, jax.Array], permutation: jax.Array | None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        features["gap"] = ops.global_average_pool(features["pre_gap"])
        return self.classify(features, permutation=permutation), features

    @property
    def shares_background(self) -> bool:
        """Whether `x` may be an `ops.SharedBackground`, which is then computed with as such."""
        net = self.backbone
        plain = isinstance(net, ResNet) and net.padding == "zeros" and not net.antialias
        return plain and net.subsampling == "strided" and not net.stem.endswith("_pool")

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
    antialias_layout: str = "everywhere",
    subsampling: str = "strided",
    permute_at: str = "gap",
    dtype: str = "float32",
    axis_name: str | None = None,
) -> Classifier:
    """Build a network by name.

    Args:
      name: one of `MODELS`, or of a user's own encoder; see `models.register`.
      num_outputs: K, classes of the head.
      head: "gapnet" (3x3 convolution, then pooling), "permutenet" or "linear"
        (pooling, then a linear layer; the two differ in how they are used).
      padding: one of `ops.PADDING_MODES`.
      stem: for ResNet-18..101, one of `STEMS` (default "conv7", the reference's).
      width: multiplies every channel count.
      antialias: taps of the BlurPool in every strided convolution and max-pool, 2 to 5; 0: none.
      antialias_layout: for ResNet-18..101 with `antialias`, where BlurPool stands; see `ResNet`.
      subsampling: "strided", or "aps" (adaptive polyphase sampling) in every strided convolution,
        max-pool and shortcut.
      permute_at: "gap", or the stage before which a permutation is applied.
      dtype: the computation's type, "float32" or "bfloat16"; parameters, batch statistics,
        pooling and logits are float32.
      axis_name: mapped axis over which batch statistics are synchronised; only for training
        inside `pmap` or `shard_map`.

    Returns:
      A Linen module: `init(key, x)`, `apply(variables, x, train=, permutation=)
      -> (logits, features)`.

    Raises:
      InputError: naming the field, the bad value and what is allowed.
    """
    is_own = own.is_own(name)
    if not is_own:
        check_choice("model.name", name, (*MODELS, *own.REGISTERED))
    check_choice("model.head", head, HEADS)
    check_common(num_outputs, padding, width, antialias, dtype)
    check_choice("model.antialias_layout", antialias_layout, ANTIALIAS_LAYOUTS)
    if antialias and antialias_layout != "everywhere" and padding != "zeros":
        raise InputError(
            f"`model.padding` must be zeros with `model.antialias_layout` {antialias_layout}, "
            f"which is that of published networks; got {padding!r}."
        )
    shared = {"padding": padding, "dtype": DTYPES[dtype], "axis_name": axis_name}
    check_choice("model.subsampling", subsampling, SUBSAMPLING)
    if subsampling == "aps" and padding == "resize":
        raise InputError(
            "`model.subsampling` aps needs maps of even sides, which `model.padding` resize "
            "shrinks."
        )
    if subsampling == "aps" and antialias_layout != "everywhere":
        raise InputError(
            "`model.antialias_layout` must be everywhere with `model.subsampling` aps: all paths "
            f"of a block take one phase; got {antialias_layout!r}."
        )
    shared |= {"antialias": antialias, "subsampling": subsampling}
    if is_own:
        if stem is not None or antialias_layout != "everywhere":
            raise InputError(f"`model.stem` and `model.antialias_layout` are no options of {name}.")
        backbone: nn.Module = own.make_encoder(name, shared | {"width": width}, _ENCODER_DEFAULTS)
    else:
        backbone = _backbone(name, stem, antialias_layout, width, shared)
    check_choice("model.permute_at", permute_at, tuple(backbone.channels))
    gap = GapHead(num_outputs, padding=padding, dtype=DTYPES[dtype])
    last = gap if head == "gapnet" else LinearHead(num_outputs)
    return Classifier(backbone=backbone, head=last, permute_at=permute_at)


def register(name: str, builder: own.Builder) -> None:
    """Make a Linen encoder known under a name, for `models.create` and every configuration.

    Args:
      name: a name that no network has. What is compiled is known by it: it stays that builder's.
      builder: returns the module, which is called as `module(x [B, H, W, C], train=...)` and
        returns the map [B, h, w, C'] that is pooled, or a dict of maps with that one as
        "pre_gap". It may have arguments `width`, `padding`, `antialias`, `subsampling`, `dtype` and
        `axis_name`, which then are those of `models.create`; batch statistics on several devices
        need `axis_name`.

    Raises:
      InputError: if the name is taken, or the builder is no function.
    """
    if not callable(builder):
        raise InputError(f"`builder` must be a function; got a {type(builder).__name__}.")
    known = own.REGISTERED.get(name, builder)
    if name in MODELS or name.startswith(("deeplab", PREFIX)) or known is not builder:
        raise InputError(f"`name`: {name} is the name of another network.")
    own.REGISTERED[name] = builder


def check_common(num_outputs: int, padding: str, width: float, antialias: int, dtype: str) -> None:
    """Raise if an option that every network has is not allowed."""
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


def _backbone(
    name: str, stem: str | None, layout: str, width: float, shared: dict[str, Any]
) -> nn.Module:
    if name in RESNETS:
        return create_resnet(name, stem or "conv7", width, antialias_layout=layout, **shared)
    if stem is not None:
        raise InputError(f"`model.stem` is an option of resnet18..101 only; got {stem!r}, {name}.")
    if layout != "everywhere":
        raise InputError(
            f"`model.antialias_layout` is an option of resnet18..101 only; got {layout!r}, {name}."
        )
    if name in _CIFAR_RESNETS:
        sizes, features = (_CIFAR_RESNETS[name],) * 3, scaled(width, 16, 32, 64)
        return ResNet(sizes, features, stem="conv3", shortcut="subsample", **shared)
    if name == "vgg5":
        return vgg.VGG((1, 1, 1, 1), scaled(width, 32, 64, 128, 256), final_pool=False, **shared)
    return vgg.VGG(vgg.STAGE_SIZES[name], scaled(width, *vgg.STAGE_FEATURES), **shared)


MAX_SIDE = 2048


def check_input_side(model: Classifier, side: int, what: str) -> None:
    """Raise an InputError if an input of `side` pixels would shrink to nothing, or fill any memory.

    `what` names the input in the message: "a canvas of n = 3 images a side".
    """
    if side > MAX_SIDE:
        raise InputError(f"{what} is {side} pixels wide; at most {MAX_SIDE} are allowed.")
    # Reflection needs at least two pixels to reflect at the last stage.
    stride, padding = model.backbone.total_stride, model.backbone.padding
    needed = stride * (2 if padding == "reflect" else 1)
    if side < needed:
        raise InputError(
            f"{what} is {side} pixels wide; this network (total stride {stride}, padding "
            f"{padding!r}) needs at least {needed}."
        )
    if getattr(model.backbone, "subsampling", "strided") == "aps" and side % stride:
        raise InputError(
            f"{what} is {side} pixels wide; it must be a multiple of {stride} pixels for "
            "`model.subsampling` aps."
        )
