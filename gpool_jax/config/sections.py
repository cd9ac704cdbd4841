"""Sections of a configuration: data, network and training.

The text under each field is its `--help`.
"""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The images."""

    source: Literal["tfds", "npz", "folder", "digits"] = "digits"
    """Source of the images: tfds (a TensorFlow Datasets folder, read without TensorFlow), npz (one file), folder (one sub-folder per class), digits (handwritten, bundled with scikit-learn, no download)."""
    name: str = "cifar10"
    """Name of the data set, for source tfds: cifar10, cifar100, or any other with `image` and `label`."""
    dir: str | None = None
    """Folder that holds prepared data sets, for source tfds; None: $TFDS_DATA_DIR or ~/tensorflow_datasets."""
    path: str | None = None
    """The .npz file, or the image folder (with train/, test/ and perhaps val/, or with the classes directly)."""
    side: int | None = None
    """Resize every image to this side in pixels (digits take a multiple of 8); None: leave them as they are, digits at 16. With `stream`: the side of the training crops, required."""
    num_train: int | None = None
    """Use only this many training images, drawn per class by the seed (from a stream: drawn regardless of class); None: all."""
    flip: bool = True
    """Mirror training images left to right at random."""
    mean: tuple[float, ...] | None = None
    """Mean of each colour channel in 0..1, to normalise with; None: the one in the .npz, the reference's for cifar10, the usual one for imagenet2012, else measured on the training images (1,000 of a stream)."""
    std: tuple[float, ...] | None = None
    """Standard deviation of each colour channel, chosen in the same way."""
    stream: bool = False
    """Read images from disk while training, for a set larger than memory (source tfds or folder): random crops for training, centre crops for validation and test."""
    workers: int = 2
    """Processes that read and decode a stream; 0: the main process does it. The images do not depend on it."""
    resize: int | None = None
    """Stream only: shorter side that validation and test images are resized to before their centre is cut out; None: 8/7 of `side` (256 for 224)."""
    eval_side: int | None = None
    """Stream only: side of validation and test images; None: `side`."""
    min_scale: float = 0.08
    """Stream only: smallest area of a training crop, as a share of its image."""
    cache_dir: str | None = None
    """Folder for decoded arrays; None: $GPOOL_CACHE_DIR or ~/.cache/gpool_jax."""


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network."""

    name: str = "resnet18"
    """Architecture: resnet18/34/50/101, cifar_resnet20/32/44/56/110, vgg5/11/13/16/19, or your own: python:MODULE:FUNCTION."""
    head: str = "gapnet"
    """Head: gapnet (3x3 convolution, then pooling), permutenet (pooling, channel permutation, linear layer), linear (permutenet without the permutation)."""
    padding: str = "zeros"
    """Padding of every convolution: zeros, circular, reflect, replicate, partial, resize (the reference's "no padding")."""
    stem: str | None = None
    """Stem of resnet18..101: conv7 (7x7 stride 2, the reference), conv7_pool (torchvision), conv3, conv3_pool; None: conv7."""
    width: float = 1.0
    """Factor on every channel count."""
    antialias: Literal[0, 2, 3, 4, 5] = 0
    """Taps of the BlurPool in every strided convolution and max-pool; 0: no BlurPool."""
    antialias_layout: Literal["everywhere", "timm", "zhang"] = "everywhere"
    """Place of the BlurPool in resnet18..101: everywhere, or as in published weights: timm (its resnetblur: not in the first convolution and the shortcuts), zhang (antialiased-cnns: not in the first convolution; a 2x2 max-pool)."""
    subsampling: Literal["strided", "aps"] = "strided"
    """Subsampling in strided convolutions and max-pools: strided, or aps (adaptive polyphase sampling: on the strongest of the possible grids, for each image)."""
    dtype: str = "float32"
    """Data type of the computation: float32 or bfloat16."""
    permute_at: str = "gap"
    """Point at which a permutenet permutes channels: gap (the pooled vector), or before stage1, stage2, ..."""
    permute_per: Literal["batch", "example"] = "batch"
    """Draw one permutation for the whole training batch (the reference), or one per example."""
    permutation: Literal["redrawn", "fixed"] = "redrawn"
    """Draw a new permutation in each pass (redrawn, the reference), or keep one for the whole run (fixed)."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The optimisation; the defaults are the reference's: Adam at a constant rate."""

    steps: int = 1000
    """Number of optimiser steps."""
    batch_size: int = 48
    """Images per step, over all devices together."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """Optimiser: adam (the reference), adamw, sgd."""
    learning_rate: float = 1e-3
    """Highest learning rate."""
    schedule: Literal["constant", "cosine", "poly"] = "constant"
    """Learning rate over time: constant (the reference), or cosine or poly (power 0.9) down to 0 at the last step."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises from 0 at the start."""
    momentum: float = 0.9
    """Momentum of SGD."""
    backbone_rate: float = 1.0
    """Learning rate of the encoder, as a factor on that of the head."""
    weight_decay: float = 0.0
    """Weight decay of kernels: added to the gradient for adam and sgd, decoupled for adamw."""
    label_smoothing: float = 0.0
    """Share of each label that is spread evenly over all classes."""
    ema_decay: float | None = None
    """Validate and evaluate a moving average of the parameters with this decay; None: the parameters themselves."""
    b1: float = 0.5
    """First decay rate of Adam."""
    b2: float = 0.999
    """Second decay rate of Adam."""
    eval_every: int = 200
    """Steps between validations; each saves a checkpoint."""
    num_val: int | None = None
    """Validation images that pick the best checkpoint; None: the whole split."""
    milestones: tuple[int, ...] = ()
    """Steps whose checkpoints are kept and evaluated beside the last; those that a shorter --train.steps never reaches are dropped."""
    keep: int = 2
    """Number of latest checkpoints to keep, beside the best one and the milestones."""
    log_every: int = 20
    """Steps between two lines of metrics.jsonl."""
    steps_per_dispatch: int = 0
    """Steps that the device runs per call; 0: 1 on a CPU, 50 elsewhere."""
    parallel: Literal["pmap", "shard_map"] = "pmap"
    """Mapping of a step over devices: pmap, or jit of shard_map (same results)."""
    tensorboard: bool = False
    """Write TensorBoard events too (needs tensorboardX)."""
    wandb: bool = False
    """Log to Weights & Biases too, project gpool_jax (needs wandb; WANDB_MODE=offline stores the run in its folder)."""
    mlflow: bool = False
    """Log to MLflow too, experiment gpool_jax (needs mlflow; MLFLOW_TRACKING_URI is the address)."""


@dataclasses.dataclass(frozen=True)
class ShiftConfig:
    """Shifted views of each training image, and the loss that brings their latents together."""

    augment: bool = True
    """Shift the views; without it, views differ by mirroring alone."""
    views: int = 2
    """Views of each image in one step."""
    max_shift: int = 4
    """Largest shift of a view in pixels, in every direction."""
    mode: Literal["zeros", "reflect", "replicate", "circular", "crop"] = "zeros"
    """Content of the space that a shift leaves; crop: views are crops, 2 * max_shift smaller than the image."""
    weight: float = 1.0
    """Weight of the invariance loss beside the cross-entropy; 0: augmentation alone."""
    norm: Literal["l1", "l2", "smooth_l1", "cosine"] = "l2"
    """Distance between the latents of two views."""
    normalise: Literal["none", "length", "batch"] = "batch"
    """Scaling of latents before their distance: none, length (each latent to unit root mean square), batch (each channel to unit variance over the batch)."""
    warmup_steps: int = 0
    """Steps over which the weight rises from 0 at the start."""
    stop_gradient: bool = False
    """Pass the gradient to the later view of a pair only, not to both."""
    classify: Literal["all", "first"] = "all"
    """Views in the cross-entropy: all, or the first one."""


@dataclasses.dataclass(frozen=True)
class PixelDataConfig:
    """The images and their labels of pixels."""

    source: Literal["folder", "cityscapes", "voc"] = "folder"
    """Layout of the data: folder (train/, val/, test/ with images/ and labels/, and a dataset.json), cityscapes (leftImg8bit/ and gtFine/), voc (JPEGImages/, SegmentationClass/, ImageSets/)."""
    path: str | None = None
    """Folder of the data set."""
    cluster: str | None = None
    """Character that ends the name of a video in the names of its frames (`_` for CamVid: up to the last one); intervals then draw videos, not frames, and no video is both trained and validated on. None: every image is by itself."""
    size: tuple[int, int] | None = None
    """Height and width in pixels that images and labels are resized to; None: leave them as they are, all of one size."""
    crop: tuple[int, int] | None = None
    """Height and width of training crops; None: the whole image."""
    min_scale: float = 0.5
    """Smallest factor by which training images are scaled at random."""
    max_scale: float = 2.0
    """Largest factor by which training images are scaled at random."""
    flip: bool = True
    """Mirror training images left to right at random."""
    jitter: float = 0.3
    """Largest random change of brightness, contrast and saturation of training images, as a share; 0: no change."""
    num_train: int | None = None
    """Use only this many training images; None: all."""
    mean: tuple[float, ...] | None = None
    """Mean of each colour channel in 0..1, to normalise with; None: that of ImageNet."""
    std: tuple[float, ...] | None = None
    """Standard deviation of each colour channel, chosen in the same way."""
    stream: bool = False
    """Read images from disk while training, for a set larger than memory."""
    workers: int = 2
    """Processes that read and decode a stream; 0: the main process does it. The images do not depend on it."""
    cache_dir: str | None = None
    """Folder for decoded arrays; None: $GPOOL_CACHE_DIR or ~/.cache/gpool_jax."""


def is_segmenter(name: str) -> bool:
    """Tell whether a network's name is that of a segmentation network."""
    return name.startswith("deeplab")


@dataclasses.dataclass(frozen=True)
class SegmenterConfig:
    """The segmentation network."""

    name: str = "deeplabv3_resnet50"
    """Architecture: deeplabv3_ or deeplabv3plus_ and resnet18, 34, 50 or 101."""
    padding: str = "zeros"
    """Padding of every convolution: zeros, circular, reflect, replicate, partial, resize."""
    stem: str | None = None
    """Stem of the encoder: conv7_pool (torchvision), conv7, conv3; None: conv7_pool."""
    width: float = 1.0
    """Factor on every channel count, that of the head too."""
    antialias: Literal[0, 3, 5] = 0
    """Taps of the BlurPool in every strided convolution and max-pool; 0: no BlurPool."""
    output_stride: Literal[8, 16] | None = None
    """Input pixels per pixel of the last map; None: 16, or with --weights the stride usual for the file's layout."""
    rates: tuple[int, ...] | None = None
    """Dilations of the three 3x3 branches of the head; None: 6 12 18 at output stride 16, twice that at 8."""
    dropout: float = 0.1
    """Share of values dropped before the last layers of the head in training."""
    dtype: str = "float32"
    """Data type of the computation: float32 or bfloat16."""


@dataclasses.dataclass(frozen=True)
class PixelLossConfig:
    """The loss at each labelled pixel."""

    focal_gamma: float = 0.0
    """Focal loss: down-weights pixels that are already classified well; larger values do so more; 0: cross-entropy."""
    class_weights: tuple[float, ...] | None = None
    """Weight of each class; None: 1 for all."""
