"""PermuteNet location with a thin VGG-11 on CIFAR-10, for two CPU cores.

    gpool train configs/cifar10_vgg11_permutenet_location_cpu.py --data.dir TFDS_DIR --workdir RUN
    (n = 5 or 7: add --n 5 or --n 7; another seed: --seed 1)

Shows: where on the canvas the image stands,
read from a pooled vector whose channels are permuted anew in each pass;
an eighth of the width and 1600 steps of the reference's protocol.
Expected time: minutes; not measured.
"""

from gpool_jax.config import DataConfig, EvalConfig, ModelConfig, PositionConfig, TrainConfig

config = PositionConfig(
    task="location",
    data=DataConfig(source="tfds", name="cifar10"),
    model=ModelConfig(name="vgg11", head="permutenet", width=0.125),
    train=TrainConfig(steps=1600, eval_every=400, num_val=1000, milestones=(400, 1600)),
    eval=EvalConfig(num_images=1000),
)
