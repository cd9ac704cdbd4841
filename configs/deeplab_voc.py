"""PASCAL VOC 2012: DeepLabv3+ on ResNet-50, images resized to 512 by 512.

    gpool train configs/deeplab_voc.py --data.path VOCDEVKIT_DIR --workdir RUN
    gpool rank RUN; gpool attack RUN

Shows: how much segmentation relies on the channels that carry position, overall and of one side.
Expected time: not run yet; meant for one accelerator.

The official validation images are the test set, a tenth of the training images picks the checkpoint.
"""

from gpool_jax.config import (
    AttackConfig,
    PixelDataConfig,
    SegmentationConfig,
    SegmenterConfig,
    TrainConfig,
)

config = SegmentationConfig(
    data=PixelDataConfig(source="voc", size=(512, 512)),
    model=SegmenterConfig(name="deeplabv3plus_resnet50", output_stride=16, dtype="bfloat16"),
    train=TrainConfig(
        steps=20_000,
        batch_size=16,
        optimizer="sgd",
        learning_rate=0.05,
        schedule="poly",
        weight_decay=1e-4,
        eval_every=2000,
    ),
    attack=AttackConfig(batch_size=4, masks_per_pass=8),
)
