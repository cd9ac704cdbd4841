"""GAPNet location with a thin VGG-11 on CIFAR-10, for two CPU cores.

    gpool train configs/cifar10_vgg11_gapnet_location_cpu.py --data.dir TFDS_DIR --workdir RUN
    (n = 5 or 7: add --n 5 or --n 7; another seed: --seed 1)

Shows: where on the canvas the image stands,
read from maps that are pooled last;
an eighth of the width and 200 steps of the reference's protocol.
Expected time: minutes; not measured.
"""

from gpool_jax.config import DataConfig, EvalConfig, ModelConfig, PositionConfig, TrainConfig

config = PositionConfig(
    task="location",
    data=DataConfig(source="tfds", name="cifar10"),
    model=ModelConfig(name="vgg11", width=0.125),
    train=TrainConfig(steps=200, eval_every=100, num_val=1000),
    eval=EvalConfig(),
)
