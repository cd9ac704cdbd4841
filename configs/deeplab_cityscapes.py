"""Cityscapes, the reference's network and schedule: DeepLabv3 on ResNet-50, output stride 16.

    gpool train configs/deeplab_cityscapes.py --data.path CITYSCAPES_DIR --workdir RUN
    gpool rank RUN; gpool attack RUN
    or, for weights trained elsewhere (with `--ranking FILE` for rankings made elsewhere):
    gpool attack --weights FILE.pth --model deeplabv3_resnet50 --workdir OUT --data.source cityscapes
        --data.path CITYSCAPES_DIR --data.stream --data.crop 768 768 --rank.splits val
        --rank.batch-size 1 --attack.batch-size 1

Shows: how much segmentation relies on the channels that carry position, overall and of one side.
Expected time: not run yet; meant for several accelerators.

Read from disk while training. The official validation images are the test set, a tenth of the
training images picks the checkpoint.
"""

from gpool_jax.config import (
    AttackConfig,
    PixelDataConfig,
    RankConfig,
    SegmentationConfig,
    SegmenterConfig,
    TrainConfig,
)

config = SegmentationConfig(
    data=PixelDataConfig(source="cityscapes", stream=True, workers=16, crop=(768, 768)),
    model=SegmenterConfig(name="deeplabv3_resnet50", output_stride=16, dtype="bfloat16"),
    train=TrainConfig(
        steps=30_000,
        batch_size=16,
        optimizer="sgd",
        learning_rate=0.1,
        schedule="poly",
        weight_decay=1e-4,
        eval_every=2000,
        num_val=100,
    ),
    rank=RankConfig(regions=("overall", "left", "right", "centre"), splits=("val",), batch_size=1),
    attack=AttackConfig(batch_size=1, masks_per_pass=8),
)
