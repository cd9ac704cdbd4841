"""AugShift and its rivals on ImageNet: ResNet-50, five arms, read from disk while training.

    gpool invariance configs/invariance_imagenet.py --data.dir TFDS_DIR --workdir RUN

Shows: what invariance_cifar10.py shows, on images of 224 pixels; consistency by the crop
protocol of the literature (224-pixel crops, corners 0 to 31).
Expected time: not measured. An image costs 2 views x 3 passes x 8.2 GFLOP = 49 GFLOP, the 90
epochs of one arm 1.28 million x 90 x 49 GFLOP = 5.7e18 FLOP: 4 hours where 400 TFLOP/s are
sustained (eight chips at 50). The same command goes on after a stop.
Memory: 512 views a step; some 90 MB of bfloat16 activations a view, 46 GB over all devices, and
0.3 GB of parameters, gradients and momentum on each. On disk 147 GB; in memory one batch a worker.
Input: 4 hours an arm are 8,000 images/s; see docs/guides/data.md for what one core decodes.
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
    num_seeds=1,
    data=DataConfig(
        source="tfds",
        name="imagenet2012",
        stream=True,
        workers=16,
        # Views are crops of 224 pixels of what the stream cuts out.
        side=256,
        resize=256,
        eval_side=255,
    ),
    model=ModelConfig(
        name="resnet50", head="linear", stem="conv7_pool", antialias=3, dtype="bfloat16"
    ),
    train=TrainConfig(
        steps=450_000,
        batch_size=256,
        optimizer="sgd",
        learning_rate=0.1,
        weight_decay=1e-4,
        schedule="cosine",
        warmup_steps=25_000,
        eval_every=5_000,
    ),
    shift=ShiftConfig(max_shift=16, mode="crop", weight=0.3),
    consistency=ConsistencyConfig(protocols=("crop", "zeros"), max_shift=16, crop=224, num_pairs=5),
    probe=ProbeConfig(num_images=400, kinds=("ridge",)),
)
