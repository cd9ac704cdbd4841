"""The training step of GAPNet, PermuteNet and DeepLab."""

import dataclasses

import jax

from benchmarks import ours, random_data
from benchmarks.machine import has_torch
from benchmarks.timing import Case, Contender
from gpool_jax.config import (
    ModelConfig,
    PixelDataConfig,
    PositionConfig,
    SegmentationConfig,
    SegmenterConfig,
    TrainConfig,
)
from gpool_jax.experiments.position import training as position
from gpool_jax.experiments.segmentation import training as segmentation

# (network, width, side of the image, n, batch): a canvas is n images wide.
_CPU = (
    ("resnet18", 1.0, 32, 3, 16),
    ("resnet18", 0.25, 32, 3, 48),
    ("resnet18", 1.0, 16, 2, 48),
    ("resnet18", 0.125, 16, 3, 48),
    ("resnet18", 0.25, 32, 5, 48),
    ("resnet18", 0.25, 32, 7, 48),
)
_GPU = (
    ("resnet18", 1.0, 32, 3, 48),
    ("resnet18", 1.0, 32, 3, 256),
    ("resnet18", 1.0, 32, 7, 256),
    ("resnet50", 1.0, 32, 3, 256),
)
_NUM_IMAGES = 2_000


def cases(quick: bool) -> list[Case]:
    """The sizes of this machine; on a GPU also in bfloat16, more steps to a call."""
    if quick:
        return [_position("resnet18", 0.125, 16, 3, 16, "float32")]
    if jax.default_backend() != "cpu":
        found = [_position(*size, dtype) for size in _GPU for dtype in ("float32", "bfloat16")]
        return [*found, _deeplab(50, 1.0, (512, 512), 16, 16, (6, 12, 18), "bfloat16")]
    found = [_position(*size, "float32") for size in _CPU]
    permuted = _position("resnet18", 0.25, 32, 3, 48, "float32", head="permutenet")
    return [*found, permuted, _deeplab(18, 0.25, (180, 240), 8, 8, (2, 4, 6), "float32")]


def _position(
    name: str, width: float, side: int, n: int, batch: int, dtype: str, head: str = "gapnet"
) -> Case:
    steps = _steps()
    config = PositionConfig(
        n=n,
        model=ModelConfig(name=name, width=width, head=head, dtype=dtype),
        train=TrainConfig(batch_size=batch),
    )

    def dataset():
        return random_data.images(_NUM_IMAGES, side)

    def network():
        from benchmarks import torch_train

        depth = int(name.removeprefix("resnet"))
        return torch_train.make_resnet(width, n * n, head=head, depth=depth)

    def reference():
        from benchmarks import torch_train

        return torch_train.reference_position_step(network(), dataset(), n=n, batch_size=batch)

    def tuned():
        from benchmarks import torch_train

        return torch_train.tuned_position_step(
            network(), dataset(), n=n, batch_size=batch, steps=steps, dtype=dtype
        )

    shard_map = dataclasses.replace(config.train, parallel="shard_map")
    mapped = dataclasses.replace(config, train=shard_map)
    contenders = [
        Contender("ours", lambda: ours.training_step(config, dataset(), steps), steps),
        Contender(
            "ours, shard_map",
            lambda: ours.training_step(mapped, dataset(), steps),
            steps,
            alone=False,  # what it compiles, and keeps, is what pmap does
        ),
    ]
    if has_torch():
        # PermuteNet's passes cost what GAPNet's do; the reference has one more matmul.
        contenders.append(Contender("torch-tuned", tuned, steps))
        contenders.append(Contender("torch-reference", reference))
    return Case(
        suite="train",
        name=f"{head} {name} x {width:g}, {n * side}x{n * side} (n {n}), B {batch}, {dtype}",
        contenders=tuple(contenders),
        images=batch,
        flops=lambda: ours.training_flops(position.prepare(config, dataset=dataset()), batch),
        dtype=dtype,
    )


def _deeplab(
    depth: int,
    width: float,
    size: tuple[int, int],
    stride: int,
    batch: int,
    rates: tuple[int, ...],
    dtype: str,
) -> Case:
    steps = _steps()
    name = f"deeplabv3_resnet{depth}"
    config = SegmentationConfig(
        data=PixelDataConfig(),
        model=SegmenterConfig(
            name=name, width=width, output_stride=stride, rates=rates, dtype=dtype
        ),
        train=TrainConfig(batch_size=batch, optimizer="sgd", learning_rate=0.1, weight_decay=1e-4),
    )

    def dataset():
        return random_data.scenes(4 * batch, size, num_classes=11)

    def network():
        from benchmarks import torch_train

        return torch_train.make_deeplab(depth, 11, width=width, output_stride=stride, rates=rates)

    def reference():
        from benchmarks import torch_train

        return torch_train.reference_segmentation_step(network(), dataset(), batch_size=batch)

    def tuned():
        from benchmarks import torch_train

        return torch_train.tuned_segmentation_step(
            network(), dataset(), batch_size=batch, steps=steps, dtype=dtype
        )

    contenders = [Contender("ours", lambda: ours.training_step(config, dataset(), steps), steps)]
    if has_torch():
        contenders.append(Contender("torch-tuned", tuned, steps))
        contenders.append(Contender("torch-reference", reference))
    return Case(
        suite="train",
        name=f"{name} x {width:g}, {size[0]}x{size[1]}, stride {stride}, B {batch}, {dtype}",
        contenders=tuple(contenders),
        images=batch,
        flops=lambda: ours.training_flops(segmentation.prepare(config, dataset=dataset()), batch),
        dtype=dtype,
    )


def _steps() -> int:
    """Steps to a call: one on a CPU, where XLA's convolutions are slow in a loop."""
    return 1 if jax.default_backend() == "cpu" else 50
