"""Small runs that several test files start from."""

import dataclasses

from gpool_jax.config import (
    ConsistencyConfig,
    DataConfig,
    EvalConfig,
    InvarianceComparisonConfig,
    InvarianceConfig,
    ModelConfig,
    PositionConfig,
    ProbeConfig,
    ShiftConfig,
    TrainConfig,
)

# Eight pixels a digit, four convolutions: seconds, and still the real thing.
TINY = PositionConfig(
    data=DataConfig(source="digits", side=8, num_train=160),
    model=ModelConfig(name="vgg5", width=1 / 8),
    train=TrainConfig(steps=6, batch_size=16, eval_every=3, num_val=40, log_every=2),
    eval=EvalConfig(num_images=24, permutations=2, bootstrap=50),
    probe=ProbeConfig(num_images=24, folds=3, kinds=("ridge",)),
)


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
    probe=ProbeConfig(num_images=24, folds=3, kinds=("ridge",)),
)


def tiny_invariance(**sections) -> InvarianceConfig:
    """`TINY_INVARIANCE` with fields of sections replaced."""
    return _replace(TINY_INVARIANCE, sections)


def tiny_arms(**sections) -> InvarianceComparisonConfig:
    """Two arms, two seeds, of `TINY_INVARIANCE`."""
    shared = {f.name: getattr(TINY_INVARIANCE, f.name) for f in dataclasses.fields(TINY_INVARIANCE)}
    config = InvarianceComparisonConfig(arms=("baseline", "augshift"), num_seeds=2, **shared)
    return _replace(config, sections)
