"""Four arms on CIFAR-10 with a thin ResNet-18, two training lengths, for two CPU cores.

    gpool train configs/compare_cifar10_cpu.py --data.dir TFDS_DIR --workdir RUN

Shows: GAPNet; a linear head; that head permuted at test only; PermuteNet; for
location and recognition, after 400 and 1,600 steps, with probes of each
frozen network from its latent, permuted latent and sorted latent.
Expected time: 52 minutes on two busy AMD EPYC cores (6 networks of 1,600 steps).
Measured: compare_cifar10_cpu in benchmarks/results/, and docs/findings/.
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
    data=DataConfig(source="tfds", name="cifar10"),
    model=ModelConfig(name="resnet18", width=0.125),
    train=TrainConfig(steps=1600, eval_every=400, num_val=1000, milestones=(400, 1600)),
    eval=EvalConfig(num_images=1000),
    probe=ProbeConfig(num_images=500, kinds=("ridge", "mlp")),
)
