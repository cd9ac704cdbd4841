"""Frozen dataclasses: everything a run depends on, one class per experiment.

The comments under the fields are the `--help` text. Imports nothing heavy, so
that `gpool --help` answers at once.
"""

import dataclasses
import types
import typing
from typing import Any, Literal

from gpool_jax.errors import InputError

Task = Literal["location", "recognition"]


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
    """Resize every image to this side in pixels (a folder's images may differ in size; digits take a multiple of 8); None: as they are, digits 16."""
    num_train: int | None = None
    """Use only this many training images, a stratified draw fixed by the seed; None: all."""
    flip: bool = True
    """Mirror training images left to right at random."""
    mean: tuple[float, ...] | None = None
    """Of each colour channel in 0..1, to normalise with; None: stored in the .npz, the reference's for cifar10, else of the training images."""
    std: tuple[float, ...] | None = None
    """Standard deviation, likewise."""
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
class PositionConfig:
    """Train and evaluate one network on one task: where is the image, or what is it?"""

    task: Task = "location"
    """location (n*n cells) or recognition (the data set's classes)."""
    n: int = 3
    """Cells per side of the canvas."""
    seed: int = 0
    """Of everything random."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()
    probe: ProbeConfig = ProbeConfig()


@dataclasses.dataclass(frozen=True)
class ComparisonConfig:
    """Train every head on every task for several seeds, and put them in one table."""

    heads: tuple[str, ...] = ("gapnet", "linear", "permutenet")
    """Heads compared; `linear` also gives the arm that is permuted at test only."""
    tasks: tuple[Task, ...] = ("location", "recognition")
    """Tasks compared."""
    num_seeds: int = 1
    """Training seeds: seed, seed + 1, ..."""
    n: int = 3
    """Cells per side of the canvas."""
    seed: int = 0
    """The first seed."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()
    probe: ProbeConfig = ProbeConfig()


# What `gpool demo` runs: the main question, small enough for minutes on two CPU cores.
DEMO = ComparisonConfig(
    heads=("gapnet", "permutenet"),
    data=DataConfig(flip=False),  # a mirrored digit is another sign
    model=ModelConfig(name="vgg5", width=0.25),  # little to compile
    train=TrainConfig(steps=300, batch_size=48, eval_every=100, num_val=144),
    eval=EvalConfig(permutations=4),
    probe=ProbeConfig(num_images=100, kinds=("ridge",)),
)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)


def check(config: PositionConfig | ComparisonConfig) -> None:
    """Check every number that needs no data and no network to be checked.

    Raises:
      InputError: naming the field, the bad value and what is allowed.
    """
    _check_types(config, "")
    _require(config.n >= 2, f"`n` must be at least 2; got {config.n}.")
    _require(0 <= config.seed < 2**31, f"`seed` must be in [0, 2**31); got {config.seed}.")
    for section in ("train", "eval", "probe", "data"):
        for name, value in vars(getattr(config, section)).items():
            # Counts: every int of these sections is at least 1, but for those that may be 0.
            least = 0 if name in ("steps_per_dispatch", "warmup_steps") else 1
            if type(value) is int:
                _require(
                    value >= least, f"`{section}.{name}` must be at least {least}; got {value}."
                )
    train, probe = config.train, config.probe
    _require(
        0 < train.learning_rate < float("inf"),
        f"`train.learning_rate` must be positive and finite; got {train.learning_rate}.",
    )
    for name in ("b1", "b2", "momentum", "label_smoothing", "ema_decay"):
        value = getattr(train, name)
        inside = value is None or 0 <= value < 1
        _require(inside, f"`train.{name}` must be in [0, 1); got {value}.")
    _require(
        train.weight_decay >= 0,
        f"`train.weight_decay` must be at least 0; got {train.weight_decay}.",
    )
    for value in config.data.std or ():
        _require(value > 0, f"`data.std` must be positive; got {value}.")
    for step in train.milestones:
        _require(
            0 < step <= train.steps,
            f"`train.milestones` must be in [1, train.steps = {train.steps}]; got {step}.",
        )
    _require(probe.folds >= 3, f"`probe.folds` must be at least 3; got {probe.folds}.")
    for kind in probe.kinds:
        _require(
            kind in ("ridge", "logistic", "mlp"),
            f"`probe.kinds` must be among ridge, logistic, mlp; got {kind!r}.",
        )
    if isinstance(config, ComparisonConfig):
        _require(config.num_seeds >= 1, f"`num_seeds` must be at least 1; got {config.num_seeds}.")
        _require(len(config.heads) > 0, "`heads` must name at least one head; got none.")
        _require(len(config.tasks) > 0, "`tasks` must name at least one task; got none.")


def _check_types(config: Any, prefix: str) -> None:
    """Check every field against its annotation: configs also come from files and Python."""
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, hint = getattr(config, field.name), hints[field.name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            _require(isinstance(value, hint), f"`{prefix}{field.name}` must be a {hint.__name__}.")
            _check_types(value, f"{prefix}{field.name}.")
            continue
        allowed = typing.get_args(hint) if typing.get_origin(hint) is Literal else None
        what = ", ".join(map(str, allowed)) if allowed else str(getattr(hint, "__name__", hint))
        _require(_fits(value, hint), f"`{prefix}{field.name}` must be {what}; got {value!r}.")


def _fits(value: Any, hint: Any) -> bool:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return value in args
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(v, args[0]) for v in value)
    if origin is types.UnionType:
        return any(_fits(value, option) for option in args)
    if hint is float:
        return type(value) in (int, float)
    # A bool is an int to Python, not to a person.
    return type(value) is hint


def to_dict(config: Any) -> dict[str, Any]:
    """A config as plain JSON types, with the name of its class under `kind`."""
    return {"kind": type(config).__name__, **_plain(config)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return list(value) if isinstance(value, tuple) else value


KINDS = {c.__name__: c for c in (PositionConfig, ComparisonConfig)}
_SECTIONS = {
    "data": DataConfig,
    "model": ModelConfig,
    "train": TrainConfig,
    "eval": EvalConfig,
    "probe": ProbeConfig,
}


def from_dict(values: dict[str, Any]) -> PositionConfig | ComparisonConfig:
    """The inverse of `to_dict`.

    Raises:
      InputError: if the kind or a field is unknown.
    """
    _require(isinstance(values, dict), f"a config must be a mapping; got {values!r}.")
    values = dict(values)
    kind = values.pop("kind", None)
    _require(kind in KINDS, f"`kind` must be one of {', '.join(KINDS)}; got {kind!r}.")
    return _build(KINDS[kind], values)


def _build(cls: type, values: dict[str, Any]) -> Any:
    known = {f.name for f in dataclasses.fields(cls)}
    unknown = sorted(set(values) - known)
    _require(not unknown, f"unknown config field {', '.join(unknown)} of {cls.__name__}.")
    built = {}
    for name, value in values.items():
        if isinstance(value, dict):
            value = _build(_SECTIONS[name], value)
        built[name] = tuple(value) if isinstance(value, list) else value
    return cls(**built)


def differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Fields in which two plain configs differ, as `name: old -> new`.

    >>> differences({"n": 3, "model": {"width": 1.0}}, {"n": 5, "model": {"width": 1.0}})
    ['n: 3 -> 5']
    """
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [f"{prefix}: {old!r} -> {new!r}"]
    found = []
    for name in sorted(set(old) | set(new)):
        dotted = f"{prefix}.{name}" if prefix else name
        found += differences(old.get(name), new.get(name), dotted)
    return found
