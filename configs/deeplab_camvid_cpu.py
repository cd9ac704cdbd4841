"""CamVid on two CPU cores: a small DeepLabv3 whose position channels are ranked and attacked.

    gpool train configs/deeplab_camvid_cpu.py --data.path CAMVID_DIR --workdir RUN
    gpool rank RUN; gpool attack RUN

Shows: how much segmentation relies on the channels that carry position, overall and of one side.
Expected time: 12 to 17 minutes of training, 6 of ranking, at most 27 of attacking, on two cores.
Measured on two AMD EPYC cores: mean IoU 33.4 % (seed 0) and 31.2 % (seed 1) on the attacked images.

Half resolution per side, a quarter of ResNet-18's width (128 channels are pooled), output stride 8,
rates scaled to the map of 23 x 30; 26 epochs. Every third test image is attacked: they are frames of
videos, a second apart.
"""

from gpool_jax.config import (
    AttackConfig,
    PixelDataConfig,
    SegmentationConfig,
    SegmenterConfig,
    TrainConfig,
)

config = SegmentationConfig(
    data=PixelDataConfig(size=(180, 240), cluster="_"),
    model=SegmenterConfig(name="deeplabv3_resnet18", width=0.25, output_stride=8, rates=(2, 4, 6)),
    train=TrainConfig(
        steps=1200,
        batch_size=8,
        optimizer="sgd",
        learning_rate=0.1,
        schedule="poly",
        weight_decay=1e-4,
        eval_every=200,
    ),
    attack=AttackConfig(counts=(4, 8, 16, 32, 64, 96), num_images=78),
)
