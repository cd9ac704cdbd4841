"""`create_segmenter` builds by name a network that computes the logits of every pixel."""

import jax
from flax import linen as nn

from gpool_jax import ops
from gpool_jax.errors import InputError
from gpool_jax.models.deeplab import DeepLabHead, resize_bilinear
from gpool_jax.models.factory import (
    DTYPES,
    RESNETS,
    check_choice,
    check_common,
    create_resnet,
    scaled,
)
from gpool_jax.models.features import stages_done

ARCHITECTURES = ("deeplabv3", "deeplabv3plus")
SEGMENTERS = tuple(f"{a}_{backbone}" for a in ARCHITECTURES for backbone in RESNETS)
# By output stride: the same distances in the image.
DEFAULT_RATES = {16: (6, 12, 18), 8: (12, 24, 36)}
# The finer map that DeepLabv3+ reads beside the last one.
_LOW_LEVEL = "stage1"


class Segmenter(nn.Module):
    """An encoder, a head from its features to a map of logits, and the way to the input's size."""

    backbone: nn.Module
    head: DeepLabHead

    def __call__(
        self, x: jax.Array, *, train: bool = False, dropout_keys: jax.Array | None = None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Compute the logits of every pixel and the named intermediate features.

        Args:
          x: [B, H, W, C], normalised.
          train: use and update batch statistics, and drop.
          dropout_keys: PRNG keys [B], one per example (`ops.example_keys`); needed in training
            if the head drops.

        Returns:
          float32 logits [B, H, W, K], and a dict of `stem`, `stage1`.., `pre_gap` (maps
          [B, H', W', C']) and `gap` (float32 [B, C]).

        Raises:
          ValueError: if training drops and has no keys.
        """
        features = self.backbone(x, train=train)
        features["gap"] = ops.global_average_pool(features["pre_gap"])
        logits = self.head(features, train=train, dropout_keys=dropout_keys)
        return resize_bilinear(logits, x.shape[1:3]), features

    def resume(
        self, features: dict[str, jax.Array], *, start: str, size: tuple[int, int]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Go on in evaluation mode from an intermediate feature, which may have been altered.

        Args:
          features: a pass's features. `features[start]` is read, and for DeepLabv3+ also
            `stage1` where `start` is later.
          start: "stem", "stage1", ..., "pre_gap".
          size: (H, W) of the logits: the input's.

        Returns:
          float32 logits [B, H, W, K], and the features they are computed from.

        Raises:
          ValueError: if there is no such feature.
        """
        stages_done(start, len(self.backbone.stage_sizes))
        later = self.backbone(features[start], start=start)
        later["gap"] = ops.global_average_pool(later["pre_gap"])
        if self.head.low_features is not None and _LOW_LEVEL not in later:
            later[_LOW_LEVEL] = features[_LOW_LEVEL]
        return resize_bilinear(self.head(later), size), later

    def resume_from_responses(
        self,
        features: dict[str, jax.Array],
        responses: dict[str, jax.Array],
        *,
        size: tuple[int, int],
    ) -> jax.Array:
        """Compute logits [B, H, W, K] from the outputs of the head's first convolutions.

        `responses` are those of `deeplab_linear.respond`; of the `features` only DeepLabv3+ reads
        any, `stage1`; `size`, (H, W), is the input's.
        """
        return resize_bilinear(self.head(features, responses=responses), size)


def create_segmenter(
    name: str,
    *,
    num_outputs: int,
    padding: str = "zeros",
    stem: str | None = None,
    width: float = 1.0,
    antialias: int = 0,
    output_stride: int = 16,
    rates: tuple[int, ...] | None = None,
    dropout: float = 0.1,
    dtype: str = "float32",
    axis_name: str | None = None,
) -> Segmenter:
    """Build a segmentation network by name; other options are those of `create`.

    Args:
      name: one of `SEGMENTERS`.
      num_outputs: K, classes.
      padding: one of `ops.PADDING_MODES`, obeyed by the head too.
      stem: one of `STEMS`; None: "conv7_pool", torchvision's.
      width: multiplies every channel count, the head's too.
      antialias: see `create`.
      output_stride: input pixels per pixel of the last map, 8 or 16.
      rates: dilations of the head's three 3x3 branches; None: 6, 12, 18 at output stride 16 and
        twice that at 8.
      dropout: share of values that training drops before the head's last layers.
      dtype: see `create`.
      axis_name: see `create`.

    Returns:
      A Linen module: `init(key, x)`, `apply(variables, x, train=, dropout_keys=) -> (logits,
      features)`.

    Raises:
      InputError: naming the field, the bad value and what is allowed.
    """
    check_choice("model.name", name, SEGMENTERS)
    check_choice("model.output_stride", output_stride, tuple(sorted(DEFAULT_RATES)))
    check_common(num_outputs, padding, width, antialias, dtype)
    rates = DEFAULT_RATES[output_stride] if rates is None else tuple(rates)
    if len(rates) != 3 or any(rate != int(rate) or rate < 1 for rate in rates):
        raise InputError(f"`model.rates` must be three whole numbers above 0; got {rates}.")
    if not 0 <= dropout < 1:
        raise InputError(f"`model.dropout` must be in [0, 1); got {dropout}.")
    shared = {"padding": padding, "dtype": DTYPES[dtype], "axis_name": axis_name}
    architecture, encoder = name.split("_")
    # The encoder's running statistics move ten times slower than the head's, as in the base code.
    backbone = create_resnet(
        encoder,
        stem or "conv7_pool",
        width,
        antialias=antialias,
        output_stride=output_stride,
        norm_momentum=0.99,
        **shared,
    )
    _ = backbone.total_stride  # raises if this stem and these stages cannot reach it
    features, low = scaled(width, 256, 48)
    head = DeepLabHead(
        num_outputs,
        features=features,
        low_features=low if architecture == "deeplabv3plus" else None,
        rates=rates,
        dropout=dropout,
        **shared,
    )
    return Segmenter(backbone=backbone, head=head)
