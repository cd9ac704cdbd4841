"""Small runs that several test files start from."""

import dataclasses

import numpy as np
import pytest

from gpool_jax.config import (
    ComparisonConfig,
    ConsistencyConfig,
    DataConfig,
    EvalConfig,
    InvarianceComparisonConfig,
    InvarianceConfig,
    ModelConfig,
    PixelDataConfig,
    PositionConfig,
    ProbeConfig,
    SegmentationConfig,
    SegmenterConfig,
    ShiftConfig,
    TrainConfig,
)
from gpool_jax.data import resident
from gpool_jax.data.pixels.files import IGNORE
from gpool_jax.data.pixels.load import PixelDataset
from gpool_jax.data.split import ArraySplit
from gpool_jax.experiments.audit.page import audit

# Eight pixels a digit, four convolutions: seconds, and still the real thing.
TINY = PositionConfig(
    data=DataConfig(source="digits", side=8, num_train=160),
    model=ModelConfig(name="vgg5", width=1 / 8),
    train=TrainConfig(steps=6, batch_size=16, eval_every=3, num_val=40, log_every=2),
    eval=EvalConfig(num_images=24, permutations=2, bootstrap=50),
    probe=ProbeConfig(num_images=24, folds=3, kinds=("ridge",), untrained=0),
)


TINY_COMPARISON = ComparisonConfig(
    heads=("linear", "permutenet"),
    tasks=("location",),
    data=TINY.data,
    model=TINY.model,
    train=dataclasses.replace(TINY.train, milestones=(3,)),
    eval=TINY.eval,
    probe=TINY.probe,
)


def verdicts_of(*networks) -> list[dict[str, str]]:
    """What an audit concludes of each, without untrained twins: those are of other draws."""
    images = np.random.default_rng(1).integers(0, 256, (15, 24, 24, 3), np.uint8)
    options = {"n": 2, "folds": 3, "draws": 2, "shifts_per_distance": 1, "bootstrap": 200}
    pages = [audit(net, images, twins=0, **options) for net in networks]
    return [page.result.networks[0].verdicts for page in pages]


def tiny(**sections) -> PositionConfig:
    """`TINY` with fields of sections replaced: `tiny(model={"head": "linear"}, n=2)`."""
    return _replace(TINY, sections)


def _replace(config, sections):
    changes = {}
    for name, value in sections.items():
        if isinstance(value, dict):
            value = dataclasses.replace(getattr(config, name), **value)
        changes[name] = value
    return dataclasses.replace(config, **changes)


TINY_INVARIANCE = InvarianceConfig(
    data=DataConfig(source="digits", side=16, num_train=160),
    model=ModelConfig(name="vgg5", head="linear", width=1 / 8),
    train=TrainConfig(steps=4, batch_size=16, eval_every=2, num_val=40, log_every=2),
    shift=ShiftConfig(max_shift=2),
    consistency=ConsistencyConfig(
        protocols=("zeros",), max_shift=2, num_pairs=2, num_images=21, bootstrap=50
    ),
    probe=ProbeConfig(num_images=24, folds=3, kinds=("ridge",), untrained=0),
)


def tiny_invariance(**sections) -> InvarianceConfig:
    """`TINY_INVARIANCE` with fields of sections replaced."""
    return _replace(TINY_INVARIANCE, sections)


def tiny_arms(**sections) -> InvarianceComparisonConfig:
    """Two arms, two seeds, of `TINY_INVARIANCE`."""
    shared = {f.name: getattr(TINY_INVARIANCE, f.name) for f in dataclasses.fields(TINY_INVARIANCE)}
    config = InvarianceComparisonConfig(arms=("baseline", "augshift"), num_seeds=2, **shared)
    return _replace(config, sections)


TINY_PIXELS = SegmentationConfig(
    data=PixelDataConfig(crop=(24, 24)),
    model=SegmenterConfig(
        name="deeplabv3_resnet18", width=1 / 16, output_stride=8, rates=(1, 2, 3), stem="conv7"
    ),
    train=TrainConfig(
        optimizer="sgd", learning_rate=0.1, steps=4, batch_size=8, eval_every=2, log_every=2
    ),
)


def tiny_pixels(**sections) -> SegmentationConfig:
    """`TINY_PIXELS` with fields of sections replaced."""
    return _replace(TINY_PIXELS, sections)


def slow_but_first(cases, quick=1):
    """Cases for `parametrize` of which only the first few are in the quick suite."""
    cases = [case if isinstance(case, tuple) else (case,) for case in cases]
    slow = [pytest.param(*case, marks=pytest.mark.slow) for case in cases[quick:]]
    return [pytest.param(*case) for case in cases[:quick]] + slow


def fetch_of(setup):
    """What a step fetches: its rows of a split, and the constants of the setup."""
    return lambda data, inputs: resident.fetch(data, inputs) | setup.constants


def pixel_dataset(side: int = 32, count: int = 12) -> PixelDataset:
    """Scenes of sky above, ground below and a box somewhere, with unlabelled pixels."""
    rng = np.random.default_rng(0)

    def split(name: str, number: int) -> ArraySplit:
        labels = np.zeros((number, side, side + 8), np.uint8)
        labels[:, side // 2 :] = 1
        for image in labels:
            top, left = rng.integers(0, side - 10, 2)
            image[top : top + 10, left : left + 10] = 2
            image[rng.integers(0, side), :] = IGNORE
        colours = np.array([[90, 140, 220], [110, 100, 90], [220, 60, 40]])
        images = colours[np.where(labels == IGNORE, 0, labels)]
        images = np.clip(images + rng.normal(0, 12, images.shape), 0, 255).astype(np.uint8)
        return ArraySplit(images, labels, tuple(f"{name}{i}" for i in range(number)))

    return PixelDataset(
        name="scenes",
        train=split("train", 2 * count),
        val=split("val", count),
        test=split("test", count),
        class_names=("sky", "ground", "box"),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )
