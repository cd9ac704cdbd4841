"""AugShift and its rivals on CIFAR-10, small enough for two CPU cores, three seeds.

    gpool invariance configs/invariance_cifar10_cpu.py --data.dir TFDS_DIR --workdir RUN

Shows: accuracy, consistency under shift and how well position can still be decoded,
for a baseline, shift augmentation, AugShift, BlurPool, and the last two together;
a thin ResNet-18 on 5,000 training images, two views of each.
Expected time: 52 minutes on two busy AMD EPYC cores (15 networks of 600 steps).
Measured: invariance_cifar10_cpu in benchmarks/results/, and docs/findings/.
"""

from gpool_jax.config import (
    ConsistencyConfig,
    DataConfig,
    InvarianceComparisonConfig,
    ModelConfig,
    ProbeConfig,
    ShiftConfig,
    TrainConfig,
)

config = InvarianceComparisonConfig(
    data=DataConfig(source="tfds", name="cifar10", num_train=5000),
    model=ModelConfig(name="resnet18", head="linear", width=0.25, antialias=3),
    train=TrainConfig(
        steps=600,
        batch_size=64,
        learning_rate=2e-3,
        b1=0.9,
        schedule="cosine",
        warmup_steps=50,
        eval_every=300,
        num_val=1000,
    ),
    shift=ShiftConfig(max_shift=4, weight=0.3),
    consistency=ConsistencyConfig(max_shift=4, crop=28, num_pairs=4, num_images=3000),
    probe=ProbeConfig(num_images=300, kinds=("ridge",)),
)
