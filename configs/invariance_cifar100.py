"""AugShift and its rivals on CIFAR-100 at full length: ResNet-18, five arms, three seeds.

    gpool invariance configs/invariance_cifar100.py --data.dir TFDS_DIR --workdir RUN

Shows: what invariance_cifar10_cpu.py shows, at full width on 100 classes.
Expected time: about an hour on one data-centre GPU (15 networks of 60 epochs), not yet measured.
"""

from gpool_jax.config import (
    ConsistencyConfig,
    DataConfig,
    InvarianceComparisonConfig,
    ModelConfig,
    ShiftConfig,
    TrainConfig,
)

config = InvarianceComparisonConfig(
    data=DataConfig(source="tfds", name="cifar100"),
    # The 3x3 stem is what a ResNet-18 needs on 32 pixels (total stride 8).
    model=ModelConfig(name="resnet18", head="linear", stem="conv3", antialias=3),
    train=TrainConfig(
        steps=21000,
        batch_size=128,
        optimizer="sgd",
        learning_rate=0.1,
        weight_decay=5e-4,
        schedule="cosine",
        warmup_steps=500,
        eval_every=1000,
    ),
    shift=ShiftConfig(max_shift=4, weight=0.3),
    consistency=ConsistencyConfig(max_shift=4, crop=28),
)
