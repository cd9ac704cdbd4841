"""GAPNet location with ResNet-18 on CIFAR-10: the reference protocol at full length.

    gpool train configs/cifar10_resnet18_gapnet_location.py --data.dir TFDS_DIR --workdir RUN
    (n = 5 or 7: add --n 5 or --n 7; another seed: --seed 1)

Shows: where on the canvas the image stands,
read from maps that are pooled last.
Protocol: 20 epochs of Adam at 1e-3 (betas 0.5, 0.999), batch 48, n = 3 (5 and 7
by the flag); the checkpoint is picked on a validation split, not on test.
Expected time: an accelerator's job, not measured yet; see the `_cpu` variant.
"""

from gpool_jax.config import DataConfig, ModelConfig, PositionConfig, TrainConfig

config = PositionConfig(
    task="location",
    data=DataConfig(source="tfds", name="cifar10"),
    model=ModelConfig(name="resnet18"),
    # 45,000 training images: 937 steps an epoch.
    train=TrainConfig(steps=20 * 937, eval_every=937),
)
