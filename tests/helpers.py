"""Small runs that several test files start from."""

import dataclasses

from gpool_jax.config import (
    DataConfig,
    EvalConfig,
    ModelConfig,
    PositionConfig,
    ProbeConfig,
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
    changes = {}
    for name, value in sections.items():
        if isinstance(value, dict):
            value = dataclasses.replace(getattr(TINY, name), **value)
        changes[name] = value
    return dataclasses.replace(TINY, **changes)
