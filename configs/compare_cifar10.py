"""Four arms on CIFAR-10: the reference protocol at full length, three seeds.

    gpool train configs/compare_cifar10.py --data.dir TFDS_DIR --workdir RUN
    gpool train configs/compare_cifar10.py --data.source npz --data.path cifar10.npz --workdir RUN

Shows: what `compare_cifar10_cpu.py` shows, with the reference's full ResNet-18
and 20 epochs, evaluated along the way.
Expected time: an accelerator's job, not measured yet.
"""

from gpool_jax.config import ComparisonConfig, DataConfig, ProbeConfig, TrainConfig

config = ComparisonConfig(
    num_seeds=3,
    data=DataConfig(source="tfds", name="cifar10"),
    train=TrainConfig(steps=20 * 937, eval_every=937, milestones=(2 * 937, 20 * 937)),
    probe=ProbeConfig(num_images=500, kinds=("ridge", "mlp")),
)
