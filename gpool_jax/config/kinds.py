"""The kinds of configuration: one frozen dataclass per experiment, made of sections."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, get_args

from gpool_jax.config.measurements import (
    AttackConfig,
    ConsistencyConfig,
    EvalConfig,
    PixelEvalConfig,
    ProbeConfig,
    RankConfig,
)
from gpool_jax.config.sections import (
    DataConfig,
    ModelConfig,
    PixelDataConfig,
    PixelLossConfig,
    SegmenterConfig,
    ShiftConfig,
    TrainConfig,
)
from gpool_jax.errors import InputError

Task = Literal["location", "recognition"]


@dataclasses.dataclass(frozen=True)
class _Kind:
    """Refuses, where it is made, a section of another class: every function reads sections."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, kind = getattr(self, field.name), field.type
            if not isinstance(kind, type) or not dataclasses.is_dataclass(kind):
                continue
            if not isinstance(value, kind):
                raise InputError(
                    f"`{field.name}` must be a {kind.__name__}; got {type(value).__name__}."
                )


@dataclasses.dataclass(frozen=True)
class PositionConfig(_Kind):
    """Train and evaluate one network on one task: where is the image, or what is it?"""

    task: Task = "location"
    """Task of the network: location (n x n cells) or recognition (the classes of the data set)."""
    n: int = 3
    """Cells per side of the canvas."""
    cells: Literal["all", "bound"] = "all"
    """Cells that training shows an image in: all, or bound (recognition: half of the cells for each class, its own half; tested in both halves)."""
    seed: int = 0
    """Random seed."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()
    probe: ProbeConfig = ProbeConfig()
    consistency: ConsistencyConfig = ConsistencyConfig(enabled=False)
    rank: RankConfig = RankConfig()
    attack: AttackConfig = AttackConfig()


@dataclasses.dataclass(frozen=True)
class ComparisonConfig(_Kind):
    """Train every head on every task for several seeds, and put them in one table."""

    heads: tuple[str, ...] = ("gapnet", "linear", "permutenet")
    """Heads to compare; linear also gives the arm that is permuted at test time only."""
    tasks: tuple[Task, ...] = ("location", "recognition")
    """Tasks to compare the heads on."""
    networks: tuple[str, ...] = ()
    """Networks to compare the heads on, in place of model.name; none: that one alone."""
    paddings: tuple[str, ...] = ()
    """Padding modes to compare the heads on, in place of model.padding; none: that one alone."""
    ns: tuple[int, ...] = ()
    """Cells per side of the canvas to compare the heads on, in place of n; none: that alone."""
    only: tuple[str, ...] = ()
    """Train only the runs whose names fit one of these patterns, such as *gapnet*n3* (the names are those of the folders); the table shows all that are finished. None: all."""
    num_seeds: int = 1
    """Number of training seeds: seed, seed + 1, ..."""
    n: int = 3
    """Cells per side of the canvas."""
    cells: Literal["all", "bound"] = "all"
    """Cells that training shows an image in: all, or bound (recognition: half of the cells for each class, its own half; tested in both halves)."""
    seed: int = 0
    """First random seed."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()
    probe: ProbeConfig = ProbeConfig()


Arm = Literal["baseline", "shift", "augshift", "blurpool", "augshift_blurpool", "aps"]


@dataclasses.dataclass(frozen=True)
class InvarianceConfig(_Kind):
    """Train one network on whole images, and measure how sensitive it is to where they are."""

    n: int = 3
    """Cells per side of the canvases that position is decoded on afterwards."""
    seed: int = 0
    """Random seed."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig(name="cifar_resnet20", head="linear")
    train: TrainConfig = TrainConfig(b1=0.9)
    shift: ShiftConfig = ShiftConfig()
    consistency: ConsistencyConfig = ConsistencyConfig()
    probe: ProbeConfig = ProbeConfig()


@dataclasses.dataclass(frozen=True)
class InvarianceComparisonConfig(_Kind):
    """Train every arm for several seeds, and put accuracy, consistency and position in one table."""

    arms: tuple[Arm, ...] = ("baseline", "shift", "augshift", "blurpool", "augshift_blurpool")
    """Arms to compare: baseline (mirrored views), shift (shifted views), augshift (shifted views and the invariance loss), blurpool, augshift_blurpool, aps (adaptive polyphase sampling)."""
    weights: tuple[float, ...] = ()
    """Further augshift arms, one for each of these weights of the invariance loss."""
    only: tuple[str, ...] = ()
    """Train only the runs whose names fit one of these patterns, such as *blurpool* (the names are those of the folders); the table shows all that are finished. None: all."""
    num_seeds: int = 3
    """Number of training seeds: seed, seed + 1, ..."""
    n: int = 3
    """Cells per side of the canvases that position is decoded on afterwards."""
    seed: int = 0
    """First random seed."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig(name="cifar_resnet20", head="linear", antialias=3)
    """The network; its antialias is used in the blurpool arms only."""
    train: TrainConfig = TrainConfig(b1=0.9)
    shift: ShiftConfig = ShiftConfig()
    """The views of the shift arms, and the loss of the augshift arms."""
    consistency: ConsistencyConfig = ConsistencyConfig()
    probe: ProbeConfig = ProbeConfig()


@dataclasses.dataclass(frozen=True)
class SegmentationConfig(_Kind):
    """Train a segmentation network and measure its mean intersection over union."""

    seed: int = 0
    """Random seed."""
    data: PixelDataConfig = PixelDataConfig()
    model: SegmenterConfig = SegmenterConfig()
    loss: PixelLossConfig = PixelLossConfig()
    train: TrainConfig = TrainConfig(
        optimizer="sgd",
        learning_rate=0.1,
        schedule="poly",
        backbone_rate=0.1,
        weight_decay=1e-4,
        batch_size=16,
    )
    eval: PixelEvalConfig = PixelEvalConfig()
    rank: RankConfig = RankConfig()
    attack: AttackConfig = AttackConfig()


def _check_shift(config: InvarianceConfig | InvarianceComparisonConfig) -> None:
    steps, warmup = config.train.steps, config.shift.warmup_steps
    if warmup > steps:
        raise InputError(
            f"`shift.warmup_steps` must be at most train.steps = {steps}; got {warmup}."
        )


def _check_arms(config: InvarianceComparisonConfig) -> None:
    _check_shift(config)
    if config.shift.weight == 0 and any("augshift" in arm for arm in config.arms):
        raise InputError("`shift.weight` must be positive for the augshift arms; got 0.")
    if config.model.antialias == 0 and any("blurpool" in arm for arm in config.arms):
        raise InputError("`model.antialias` must be 3 or 5 for the blurpool arms; got 0.")
    if "augshift" in config.arms and config.shift.weight in config.weights:
        raise InputError(
            f"`weights` must not repeat the weight of the augshift arm; got "
            f"{config.shift.weight:g}."
        )
    if not config.consistency.enabled and not config.probe.enabled:
        raise InputError(
            "`consistency.enabled` and `probe.enabled` are both off: nothing would be measured."
        )


def _check_cells(config: PositionConfig | ComparisonConfig) -> None:
    tasks = (config.task,) if isinstance(config, PositionConfig) else config.tasks
    if config.cells == "bound" and "location" in tasks:
        raise InputError(
            "`cells` bound is of recognition alone (a location would tell the class): leave "
            "location out of the tasks."
        )


# Checks of fields of a kind against each other; those within one section are in `checks`.
CROSS_CHECKS: dict[type, Callable[[Any], None]] = {
    PositionConfig: _check_cells,
    ComparisonConfig: _check_cells,
    InvarianceConfig: _check_shift,
    InvarianceComparisonConfig: _check_arms,
}

AnyConfig = (
    PositionConfig
    | ComparisonConfig
    | InvarianceConfig
    | InvarianceComparisonConfig
    | SegmentationConfig
)
KINDS: dict[str, type] = {kind.__name__: kind for kind in get_args(AnyConfig)}

# What `gpool demo` runs: the main question, small enough for minutes on two CPU cores.
DEMO = ComparisonConfig(
    data=DataConfig(flip=False),  # a mirrored digit is another sign
    model=ModelConfig(name="vgg5", width=0.25),  # little to compile
    train=TrainConfig(steps=200, batch_size=48, eval_every=100, num_val=144),
    eval=EvalConfig(permutations=4),
    probe=ProbeConfig(num_images=100, kinds=("ridge",)),
)
