"""Digits bound to cells: recognition by networks that saw each class in half of the cells.

    gpool train configs/bound_digits.py --workdir RUN

Shows: recognition by a GAPNet, a linear head and a PermuteNet that were trained with each class
in its own half of the cells, tested in those cells and in the others. A network that cannot use
position is as good in both.
Expected time: 15 minutes on two busy AMD EPYC cores (9 networks of 600 steps).
"""

from gpool_jax.config import (
    ComparisonConfig,
    DataConfig,
    EvalConfig,
    ModelConfig,
    ProbeConfig,
    TrainConfig,
)

config = ComparisonConfig(
    tasks=("recognition",),
    cells="bound",
    num_seeds=3,
    data=DataConfig(flip=False),  # a mirrored digit is another sign
    model=ModelConfig(name="resnet18", width=0.125),
    train=TrainConfig(steps=600, batch_size=48, eval_every=200, num_val=144),
    eval=EvalConfig(permutations=8),
    probe=ProbeConfig(num_images=300, kinds=("ridge",)),
)
