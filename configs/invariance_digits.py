"""AugShift and its rivals on handwritten digits, three seeds.

    gpool invariance configs/invariance_digits.py --workdir RUN

Shows: accuracy, consistency under shift and how well position can still be decoded,
for a baseline, shift augmentation, AugShift, BlurPool, and the last two together.
Expected time: 6 minutes on two AMD EPYC cores (15 networks of 300 steps).
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
    data=DataConfig(source="digits", flip=False),  # a mirrored digit is another sign
    model=ModelConfig(name="cifar_resnet20", head="linear", width=0.5, antialias=3),
    train=TrainConfig(steps=300, batch_size=48, b1=0.9, schedule="cosine", eval_every=100),
    # A quarter of the side and more: digits of 16 pixels fill their image.
    shift=ShiftConfig(max_shift=3),
    consistency=ConsistencyConfig(max_shift=3),
    probe=ProbeConfig(num_images=300, kinds=("ridge",)),
)
