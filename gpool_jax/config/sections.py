"""The sections of a configuration: data, network, training, and each measurement.

The comments under the fields are the `--help` text. Imports nothing heavy.
"""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where the images come from."""

    source: Literal["tfds", "npz", "folder", "digits"] = "digits"
    """tfds (a TensorFlow Datasets folder, read without TensorFlow), npz (one file), folder (one sub-folder per class), digits (bundled with scikit-learn, no download)."""
    name: str = "cifar10"
    """Data set name, for source tfds: cifar10, cifar100, or any other with `image` and `label`."""
    dir: str | None = None
    """Folder that holds prepared data sets, for source tfds; None: ~/tensorflow_datasets."""
    path: str | None = None
    """The .npz file, or the image folder (with train/ and test/, or classes directly)."""
    side: int | None = None
    """Resize every image to this side in pixels (a folder's images may differ in size; digits take a multiple of 8); None: as they are, digits 16. With `stream`, the side of the crops, and needed."""
    num_train: int | None = None
    """Use only this many training images, a stratified draw (of a stream: a plain one) fixed by the seed; None: all."""
    flip: bool = True
    """Mirror training images left to right at random."""
    mean: tuple[float, ...] | None = None
    """Of each colour channel in 0..1, to normalise with; None: stored in the .npz, the reference's for cifar10, the usual for imagenet2012, else of the training images (of a stream: of 1,000)."""
    std: tuple[float, ...] | None = None
    """Standard deviation, likewise."""
    stream: bool = False
    """Read the images from disk while training, for a set larger than memory (source tfds or folder): random crops to train on, centre crops to validate and test on."""
    workers: int = 2
    """Processes that read and decode a stream; 0: this one. The images do not depend on it."""
    resize: int | None = None
    """Of a stream: the shorter side, before validation and test images are cut from the centre; None: 8/7 of `side`, as 256 is of 224."""
    eval_side: int | None = None
    """Of a stream: the side of validation and test images; None: `side`."""
    min_scale: float = 0.08
    """Of a stream: a training crop is at least this share of its image's area."""
    cache_dir: str | None = None
    """Where decoded arrays are kept; None: $GPOOL_CACHE_DIR or ~/.cache/gpool_jax."""


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network."""

    name: str = "resnet18"
    """resnet18/34/50/101, cifar_resnet20/32/44/56/110, vgg5/11/13/16/19."""
    head: str = "gapnet"
    """gapnet (3x3 convolution, then pooling), permutenet (pooling, channel permutation, linear), linear (the same without permutation)."""
    padding: str = "zeros"
    """zeros, circular, reflect, replicate, partial, resize (the reference's "no padding")."""
    stem: str | None = None
    """For resnet18..101: conv7 (7x7 stride 2, the reference), conv7_pool (torchvision), conv3; None: conv7."""
    width: float = 1.0
    """Multiplies every channel count."""
    antialias: Literal[0, 3, 5] = 0
    """Taps of the BlurPool in every strided convolution and max-pool; 0: none."""
    dtype: str = "float32"
    """Of the computation: float32 or bfloat16."""
    permute_at: str = "gap"
    """Where a permutenet permutes: gap (the pooled vector), or before stage1, stage2, ..."""
    permute_per: Literal["batch", "example"] = "batch"
    """One permutation for the whole training batch (the reference), or one per example."""
    permutation: Literal["redrawn", "fixed"] = "redrawn"
    """A new permutation in each pass (the reference), or one for the whole run."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The optimisation; the defaults are the reference's: Adam at a constant rate."""

    steps: int = 1000
    """Optimiser steps."""
    batch_size: int = 48
    """Images per step, over all devices."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """adam (the reference), adamw, sgd."""
    learning_rate: float = 1e-3
    """The highest learning rate."""
    schedule: Literal["constant", "cosine", "poly"] = "constant"
    """constant (the reference), cosine or poly (power 0.9) down to 0 at the last step."""
    warmup_steps: int = 0
    """Steps over which the learning rate first rises from 0."""
    momentum: float = 0.9
    """Of sgd."""
    backbone_rate: float = 1.0
    """Learning rate of the encoder, as a share of the head's."""
    weight_decay: float = 0.0
    """On kernels: in the gradient for adam and sgd, decoupled for adamw."""
    label_smoothing: float = 0.0
    """Share of each label spread evenly over all classes."""
    ema_decay: float | None = None
    """Validate and evaluate a moving average of the parameters with this decay; None: the parameters."""
    b1: float = 0.5
    """Adam's first decay rate."""
    b2: float = 0.999
    """Adam's second decay rate."""
    eval_every: int = 200
    """Steps between validations; each one saves a checkpoint."""
    num_val: int | None = None
    """Validation images used to pick the best checkpoint; None: the whole split."""
    milestones: tuple[int, ...] = ()
    """Steps whose checkpoints are kept for good and evaluated beside the last."""
    keep: int = 2
    """Latest checkpoints kept, beside the best one and the milestones."""
    log_every: int = 20
    """Steps between lines of metrics.jsonl."""
    steps_per_dispatch: int = 0
    """Steps run on the device per call (0: 1 on CPU, 50 elsewhere)."""
    parallel: Literal["pmap", "shard_map"] = "pmap"
    """How a step is mapped over devices: pmap, or jit of shard_map; the results are the same."""
    tensorboard: bool = False
    """Write TensorBoard events too (needs tensorboardX)."""


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """The exhaustive evaluation: every test image in every cell."""

    num_images: int | None = None
    """Test images used, a stratified draw; None: all."""
    permutations: int = 8
    """Permutations drawn per image."""
    batch_size: int = 288
    """Canvases per device and pass."""
    bootstrap: int = 2000
    """Bootstrap draws for the 95 % intervals."""


@dataclasses.dataclass(frozen=True)
class ProbeConfig:
    """Linear and small non-linear read-outs of the pooled features of the frozen network."""

    enabled: bool = True
    """Fit probes at all."""
    num_images: int = 400
    """Test images the probes are fitted and tested on (each in every cell)."""
    folds: int = 5
    """Cross-validation folds, grouped by image."""
    kinds: tuple[str, ...] = ("ridge", "logistic", "mlp")
    """ridge, logistic, mlp."""
    stages: tuple[str, ...] = ("gap",)
    """Features that are pooled and probed: stem, stage1, ..., gap; or all."""


@dataclasses.dataclass(frozen=True)
class ShiftConfig:
    """Shifted views of each training image, and the loss that brings their latents together."""

    augment: bool = True
    """Shift the views; else they differ by their mirror image alone."""
    views: int = 2
    """Views of each image in a step."""
    max_shift: int = 4
    """Largest shift of a view in pixels, in each direction, itself included."""
    mode: Literal["zeros", "reflect", "replicate", "circular", "crop"] = "zeros"
    """What enters where content left; crop: views are crops, 2 * max_shift smaller than the image."""
    weight: float = 1.0
    """Of the invariance loss beside the cross-entropy; 0: augmentation alone."""
    norm: Literal["l1", "l2", "smooth_l1", "cosine"] = "l2"
    """Distance between the latents of two views."""
    normalise: Literal["none", "length", "batch"] = "batch"
    """none, length (each latent to unit root mean square), batch (each channel to unit variance over the batch)."""
    warmup_steps: int = 0
    """Steps over which the weight first rises from 0."""
    stop_gradient: bool = False
    """Move the later view of a pair only; else both."""
    classify: Literal["all", "first"] = "all"
    """Views that the cross-entropy sees."""


Protocol = Literal["zeros", "reflect", "replicate", "circular", "fourier", "crop"]


@dataclasses.dataclass(frozen=True)
class ConsistencyConfig:
    """How the answers of a network to shifted copies of a test image are compared."""

    enabled: bool = True
    """Measure it at all."""
    protocols: tuple[Protocol, ...] = ("zeros", "crop", "circular")
    """zeros, reflect, replicate, circular: what enters; fourier: circular by half pixels too; crop: crops of the image."""
    max_shift: int = 4
    """Largest shift in pixels, in each direction, itself included."""
    num_pairs: int = 8
    """Random pairs of shifts per image; 0: all pairs of the grid."""
    grid_step: int = 1
    """Pixels between neighbouring shifts of the grid (half pixels for fourier)."""
    crop: int | None = None
    """Side of the crops of protocol crop; None: the image's less 2 * max_shift."""
    num_images: int | None = None
    """Test images used, a stratified draw; None: all."""
    batch_size: int = 512
    """Views per device and pass."""
    bootstrap: int = 2000
    """Bootstrap draws for the 95 % intervals."""


DataSplit = Literal["train", "val", "test"]


Method = Literal["flip", "translation", "gate", "integrated", "probe", "mean", "variance", "random"]


@dataclasses.dataclass(frozen=True)
class RankConfig:
    """How the channels of a feature are scored, best first."""

    methods: tuple[Method, ...] = (
        "flip",
        "translation",
        "gate",
        "integrated",
        "probe",
        "mean",
        "variance",
        "random",
    )
    """flip (the paper's), translation (content held fixed), gate (gradient of the loss along a gate), integrated (that gradient, integrated), probe (gradient x activation of a location probe), mean, variance, random."""
    regions: tuple[str, ...] = ("overall", "left", "right")
    """overall, left, right, top, bottom, centre, a box top,left,bottom,right in 0..1, or cell i/n (row-major) of an n x n grid."""
    feature: str = "pre_gap"
    """The map whose channels are scored: stem, stage1, ..., pre_gap (the one that is pooled)."""
    splits: tuple[DataSplit, ...] = ("train", "val")
    """Splits whose images the channels are ranked on."""
    num_images: int | None = None
    """Images used of them; None: all."""
    grid: int = 4
    """Of the translation difference and the location probe: crops stand in the cells of a grid x grid canvas (canvases of `n`: theirs)."""
    integration_steps: int = 8
    """Of `integrated`: points between the gate open and shut."""
    overlap: tuple[int, ...] = (10, 50, 100)
    """Numbers of best channels that two rankings are compared by."""
    batch_size: int = 16
    """Images per device and pass."""
    bootstrap: int = 200
    """Draws of images for the stability of a ranking."""


@dataclasses.dataclass(frozen=True)
class AttackConfig:
    """Which channels are removed, and where the harm is measured."""

    methods: tuple[Method, ...] = ("flip", "translation", "gate")
    """Methods whose rankings are attacked with, for each of rank.regions (without --ranking)."""
    counts: tuple[int, ...] = ()
    """Numbers of channels removed; none: eight, from few to all."""
    table_count: int | None = None
    """The number that tables and overlays are made for; None: the one of `counts` nearest to an eighth of the channels."""
    fills: tuple[Literal["zero", "mean"], ...] = ("zero", "mean")
    """What a removed channel is put to: zero, or its mean over the ranking images. Tables and matched controls are of the first."""
    keep_only: bool = True
    """Also keep the best channels alone, and remove the rest."""
    random_draws: int = 20
    """Random sets of channels."""
    matched_draws: int = 20
    """Sets of channels matched to those of each ranking, in mean and variance."""
    splits: tuple[DataSplit, ...] = ("test",)
    """Splits that the harm is measured on; none of the ranking's."""
    num_images: int | None = None
    """Images used of them; None: all."""
    batch_size: int = 8
    """Images per device and pass of the encoder."""
    masks_per_pass: int = 16
    """Sets of channels per pass of what follows it: the memory needed grows with it."""
    overlays: int = 3
    """Images whose predictions are shown before and after."""
    bootstrap: int = 1000
    """Draws of images for the 95 % intervals."""


@dataclasses.dataclass(frozen=True)
class PixelDataConfig:
    """Where images with a label for every pixel come from."""

    source: Literal["folder", "cityscapes", "voc"] = "folder"
    """folder (train/, val/, test/ with images/ and labels/, and a dataset.json), cityscapes (leftImg8bit/ and gtFine/), voc (JPEGImages/, SegmentationClass/, ImageSets/)."""
    path: str | None = None
    """The folder."""
    size: tuple[int, int] | None = None
    """Resize every image and its labels to this height and width in pixels; None: as they are, all alike."""
    crop: tuple[int, int] | None = None
    """Height and width of training crops; None: of the whole image."""
    min_scale: float = 0.5
    """Training images are scaled at random: least factor."""
    max_scale: float = 2.0
    """Greatest factor."""
    flip: bool = True
    """Mirror training images left to right at random."""
    jitter: float = 0.3
    """Greatest random change of a training image's brightness, contrast and saturation, as a factor; 0: none."""
    num_train: int | None = None
    """Use only this many training images; None: all."""
    mean: tuple[float, ...] | None = None
    """Of each colour channel in 0..1, to normalise with; None: ImageNet's."""
    std: tuple[float, ...] | None = None
    """Standard deviation, likewise."""
    stream: bool = False
    """Read the images from disk while training, for a set larger than memory."""
    workers: int = 2
    """Processes that read and decode a stream; 0: this one. The images do not depend on it."""
    cache_dir: str | None = None
    """Where decoded arrays are kept; None: $GPOOL_CACHE_DIR or ~/.cache/gpool_jax."""


@dataclasses.dataclass(frozen=True)
class SegmenterConfig:
    """The segmentation network."""

    name: str = "deeplabv3_resnet50"
    """deeplabv3_ or deeplabv3plus_ and resnet18, 34, 50 or 101."""
    padding: str = "zeros"
    """zeros, circular, reflect, replicate, partial, resize."""
    stem: str | None = None
    """conv7_pool (torchvision), conv7, conv3; None: conv7_pool."""
    width: float = 1.0
    """Multiplies every channel count, of the head too."""
    antialias: Literal[0, 3, 5] = 0
    """Taps of the BlurPool in every strided convolution and max-pool; 0: none."""
    output_stride: Literal[8, 16] | None = None
    """Input pixels per pixel of the last map; None: 16, or (--weights) what the file's layout is used with."""
    rates: tuple[int, ...] | None = None
    """Dilations of the head's three 3x3 branches; None: 6 12 18 at output stride 16, twice that at 8."""
    dropout: float = 0.1
    """Share of values dropped before the head's last layers, in training."""
    dtype: str = "float32"
    """Of the computation: float32 or bfloat16."""


@dataclasses.dataclass(frozen=True)
class PixelEvalConfig:
    """The evaluation of a segmentation network, with nothing removed."""

    batch_size: int = 8
    """Images per device and pass, of the validation too."""
    overlays: int = 3
    """Images whose predictions are shown."""
    bootstrap: int = 1000
    """Draws of images for the 95 % intervals."""


@dataclasses.dataclass(frozen=True)
class PixelLossConfig:
    """The loss of every labelled pixel."""

    focal_gamma: float = 0.0
    """Of the focal loss: pixels that are right count less, the more the larger; 0: cross-entropy."""
    class_weights: tuple[float, ...] | None = None
    """Weight of each class; None: all 1."""
