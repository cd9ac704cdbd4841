"""Recognition of whole CIFAR-10 images by a ResNet-20, as it is usually trained.

    gpool train configs/recognize_cifar10.py --data.dir TFDS_DIR --workdir RUN

Shows: accuracy and consistency of a small network whose accuracy is that of the literature, for
`gpool audit`: crops after padding by 4 and mirror images, no invariance loss.
Expected time: 80 minutes on two quiet AMD EPYC cores (165 images/s; not trained to its end yet).
"""

from gpool_jax.config import (
    ConsistencyConfig,
    DataConfig,
    InvarianceConfig,
    ModelConfig,
    ShiftConfig,
    TrainConfig,
)

EPOCH = 703  # steps of 64 in 45,000 training images

config = InvarianceConfig(
    data=DataConfig(source="tfds", name="cifar10"),
    model=ModelConfig(name="cifar_resnet20", head="linear"),
    train=TrainConfig(
        steps=18 * EPOCH,
        batch_size=64,
        optimizer="sgd",
        learning_rate=0.05,
        weight_decay=5e-4,
        schedule="cosine",
        warmup_steps=EPOCH,
        eval_every=2 * EPOCH,
    ),
    shift=ShiftConfig(views=1, max_shift=4, weight=0.0),
    consistency=ConsistencyConfig(max_shift=4, crop=28),
)
