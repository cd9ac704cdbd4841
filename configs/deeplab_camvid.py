"""CamVid at full resolution on an accelerator: DeepLabv3 on ResNet-50, 2048 channels.

    gpool train configs/deeplab_camvid.py --data.path CAMVID_DIR --workdir RUN
    gpool rank RUN; gpool attack RUN

Shows: how much segmentation relies on the channels that carry position, overall and of one side.
Expected time: not run yet; meant for one accelerator.

From scratch, so that every rate is the same; the reference starts from ImageNet's weights.
"""

from gpool_jax.config import PixelDataConfig, SegmentationConfig, SegmenterConfig, TrainConfig

config = SegmentationConfig(
    data=PixelDataConfig(crop=(352, 480), cluster="_"),
    model=SegmenterConfig(name="deeplabv3_resnet50", output_stride=16, dtype="bfloat16"),
    train=TrainConfig(
        steps=12_000,
        batch_size=16,
        optimizer="sgd",
        learning_rate=0.1,
        schedule="poly",
        weight_decay=1e-4,
        eval_every=1000,
    ),
)
