"""Sections of a configuration: one for each measurement.

The text under each field is its `--help`.
"""

import dataclasses
from typing import Literal, get_args

Protocol = Literal["zeros", "reflect", "replicate", "circular", "fourier", "crop"]


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """The exhaustive evaluation: every test image in every cell."""

    num_images: int | None = None
    """Test images to use, drawn per class; None: all."""
    permutations: int = 8
    """Permutations per image."""
    reference: bool = False
    """Test as the reference does, too: every image n x n times in random cells, each batch through one permutation."""
    batch_size: int = 288
    """Canvases per device and pass."""
    bootstrap: int = 2000
    """Bootstrap draws for the 95 % intervals."""


@dataclasses.dataclass(frozen=True)
class ProbeConfig:
    """Linear and small non-linear probes of the pooled features of the frozen network."""

    enabled: bool = True
    """Fit probes."""
    num_images: int = 400
    """Test images that probes are fitted and tested on, each in every cell."""
    folds: int = 5
    """Cross-validation folds, grouped by image."""
    kinds: tuple[str, ...] = ("ridge", "logistic", "mlp")
    """Probes to choose from: ridge, logistic, mlp."""
    stages: tuple[str, ...] = ("gap",)
    """Features to pool and probe: stem, stage1, ..., gap; or all."""
    untrained: int = 3
    """Untrained networks of the same architecture that are probed beside it; 0: none."""


@dataclasses.dataclass(frozen=True)
class ConsistencyConfig:
    """The comparison of predictions for shifted copies of a test image."""

    enabled: bool = True
    """Measure consistency under shift."""
    protocols: tuple[Protocol, ...] = ("zeros", "crop", "circular")
    """Kinds of shift: zeros, reflect, replicate, circular (what fills the space), fourier (circular, by half pixels too), crop (crops of the image)."""
    max_shift: int = 4
    """Largest shift in pixels, in every direction."""
    num_pairs: int = 8
    """Random pairs of shifts per image; 0: all pairs on the grid of shifts."""
    grid_step: int = 1
    """Pixels between neighbouring shifts on the grid (half pixels for fourier)."""
    crop: int | None = None
    """Side of the crops in protocol crop; None: that of the image minus 2 * max_shift."""
    split: Literal["val", "test"] = "test"
    """Images that are shifted: test, or val to choose settings by."""
    num_images: int | None = None
    """Images to use, drawn per class; None: all."""
    batch_size: int = 512
    """Views per device and pass."""
    bootstrap: int = 2000
    """Bootstrap draws for the 95 % intervals."""


DataSplit = Literal["train", "val", "test"]


Method = Literal[
    "flip", "translation", "gate", "integrated", "probe", "class", "mean", "variance", "random"
]


@dataclasses.dataclass(frozen=True)
class RankConfig:
    """The scores and rankings of a feature's channels."""

    methods: tuple[Method, ...] = get_args(Method)
    """Scores of a channel: flip (the paper's), translation (content held fixed), gate (gradient of the loss along a gate), integrated (that gradient, integrated), probe (gradient x activation of a location probe), class (share of the variance between classes, for the whole image), mean, variance, random."""
    regions: tuple[str, ...] = ("overall", "left", "right")
    """Regions to rank for: overall, left, right, top, bottom, centre, a box top,left,bottom,right in 0..1, or cell i/n (row-major) of an n x n grid."""
    contrast: Literal["inside_minus_outside", "inside"] = "inside_minus_outside"
    """Score of a channel for a region: its value inside minus that outside, so that two halves are ranked by one list read from both ends; or the value inside alone (for translation: how much the channel changes with the place inside). The flip difference compares a region with its mirror image in either case."""
    feature: str = "pre_gap"
    """Map whose channels are scored: stem, stage1, ..., pre_gap (the one that is pooled)."""
    splits: tuple[DataSplit, ...] = ("train", "val")
    """Splits whose images channels are ranked on."""
    num_images: int | None = None
    """Number of ranking images; None: all of those splits."""
    grid: int = 4
    """Cells per side of the canvases that the translation difference and the location probe put crops on (a network trained on canvases uses its own `n`)."""
    integration_steps: int = 8
    """Points between an open and a shut gate, for method integrated."""
    overlap: tuple[int, ...] = (10, 50, 100)
    """Numbers of best channels whose overlap compares two rankings."""
    batch_size: int = 16
    """Images per device and pass."""
    bootstrap: int = 200
    """Bootstrap draws of images for the stability of a ranking."""


@dataclasses.dataclass(frozen=True)
class AttackConfig:
    """The removal of channels, and the measurement of its effect."""

    methods: tuple[Method, ...] = ("flip", "translation", "gate", "class")
    """Methods whose rankings choose the channels, for each of rank.regions (unless --ranking is given); class is a control for the others."""
    counts: tuple[int, ...] = ()
    """Numbers of channels to remove; none given: eight, from few to all."""
    table_count: int | None = None
    """Number of removed channels that tables and overlays show; None: the one of `counts` nearest to an eighth of the channels."""
    fills: tuple[Literal["zero", "mean"], ...] = ("zero", "mean")
    """Value of a removed channel: zero, or its mean over the ranking images. Tables show every one, overlays the first."""
    keep_only: bool = True
    """Also keep only the best channels and remove the rest."""
    random_draws: int = 20
    """Number of random sets of channels."""
    matched_draws: int = 20
    """Number of sets matched to those of each ranking in mean and variance."""
    caliper: float | None = 1.0
    """Largest distance of a match, in standard deviations of the channels' log mean and log variance; a set with a channel that has none so near is refused. None: any distance."""
    splits: tuple[DataSplit, ...] = ("test",)
    """Splits that the effect is measured on; none of the ranking splits."""
    num_images: int | None = None
    """Number of images measured; None: all of those splits."""
    batch_size: int = 8
    """Images per device and pass of the encoder."""
    masks_per_pass: int = 16
    """Sets of channels per pass of the layers after it; memory grows with it."""
    overlays: int = 3
    """Images whose predictions are shown before and after removal."""
    bootstrap: int = 1000
    """Bootstrap draws of images for the 95 % intervals."""


@dataclasses.dataclass(frozen=True)
class PixelEvalConfig:
    """The evaluation of a segmentation network with all its channels."""

    batch_size: int = 8
    """Images per device and pass, also in validation."""
    overlays: int = 3
    """Images whose predictions are shown."""
    bootstrap: int = 1000
    """Bootstrap draws of images for the 95 % intervals."""
