"""GAPNet recognition with a thin VGG-11 on CIFAR-10, for two CPU cores.

    gpool train configs/cifar10_vgg11_gapnet_recognition_cpu.py --data.dir TFDS_DIR --workdir RUN
    (n = 5 or 7: add --n 5 or --n 7; another seed: --seed 1)

Shows: what the image shows, wherever it stands,
read from maps that are pooled last;
an eighth of the width and 1600 steps of the reference's protocol.
Expected time: minutes; not measured.
"""

from gpool_jax.config import DataConfig, EvalConfig, ModelConfig, PositionConfig, TrainConfig

config = PositionConfig(
    task="recognition",
    data=DataConfig(source="tfds", name="cifar10"),
    model=ModelConfig(name="vgg11", width=0.125),
    train=TrainConfig(steps=1600, eval_every=400, num_val=1000, milestones=(400, 1600)),
    eval=EvalConfig(num_images=1000),
)
