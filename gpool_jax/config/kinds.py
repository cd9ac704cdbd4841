"""Frozen dataclasses: everything a run depends on, one class per experiment.

Their sections are in `config_sections` and can be imported from here too. Imports
nothing heavy, so that `gpool --help` answers at once.
"""

import dataclasses
from typing import Literal

from gpool_jax.config.sections import (
    AttackConfig,
    ConsistencyConfig,
    DataConfig,
    EvalConfig,
    ModelConfig,
    PixelDataConfig,
    PixelEvalConfig,
    PixelLossConfig,
    ProbeConfig,
    RankConfig,
    SegmenterConfig,
    ShiftConfig,
    TrainConfig,
)

Task = Literal["location", "recognition"]


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
    consistency: ConsistencyConfig = ConsistencyConfig(enabled=False)
    rank: RankConfig = RankConfig()
    attack: AttackConfig = AttackConfig()


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


Arm = Literal["baseline", "shift", "augshift", "blurpool", "augshift_blurpool"]


@dataclasses.dataclass(frozen=True)
class InvarianceConfig:
    """Train one network on whole images, and measure how much it minds where they are."""

    n: int = 3
    """Cells per side of the canvases on which position is decoded afterwards."""
    seed: int = 0
    """Of everything random."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig(name="cifar_resnet20", head="linear")
    train: TrainConfig = TrainConfig(b1=0.9)
    shift: ShiftConfig = ShiftConfig()
    consistency: ConsistencyConfig = ConsistencyConfig()
    probe: ProbeConfig = ProbeConfig()


@dataclasses.dataclass(frozen=True)
class InvarianceComparisonConfig:
    """Train the arms for several seeds, and put accuracy, consistency and position in one table."""

    arms: tuple[Arm, ...] = ("baseline", "shift", "augshift", "blurpool", "augshift_blurpool")
    """baseline (mirrored views), shift (shifted views), augshift (and the loss), blurpool, augshift_blurpool."""
    weights: tuple[float, ...] = ()
    """More augshift arms, one for each of these weights of the loss."""
    num_seeds: int = 3
    """Training seeds: seed, seed + 1, ..."""
    n: int = 3
    """Cells per side of the canvases on which position is decoded afterwards."""
    seed: int = 0
    """The first seed."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig(name="cifar_resnet20", head="linear", antialias=3)
    """Its antialias is that of the blurpool arms."""
    train: TrainConfig = TrainConfig(b1=0.9)
    shift: ShiftConfig = ShiftConfig()
    """That of the augshift arms."""
    consistency: ConsistencyConfig = ConsistencyConfig()
    probe: ProbeConfig = ProbeConfig()


@dataclasses.dataclass(frozen=True)
class SegmentationConfig:
    """Train a segmentation network and measure its mean intersection over union."""

    seed: int = 0
    """Of everything random."""
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


KINDS = {
    kind.__name__: kind
    for kind in (
        PositionConfig,
        ComparisonConfig,
        InvarianceConfig,
        InvarianceComparisonConfig,
        SegmentationConfig,
    )
}
AnyConfig = (
    PositionConfig
    | ComparisonConfig
    | InvarianceConfig
    | InvarianceComparisonConfig
    | SegmentationConfig
)

# What `gpool demo` runs: the main question, small enough for minutes on two CPU cores.
DEMO = ComparisonConfig(
    heads=("gapnet", "permutenet"),
    data=DataConfig(flip=False),  # a mirrored digit is another sign
    model=ModelConfig(name="vgg5", width=0.25),  # little to compile
    train=TrainConfig(steps=300, batch_size=48, eval_every=100, num_val=144),
    eval=EvalConfig(permutations=4),
    probe=ProbeConfig(num_images=100, kinds=("ridge",)),
)
