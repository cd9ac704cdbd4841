"""Random data sets of any size: never zeros, which can run faster than real data."""

import numpy as np

from gpool_jax.data.images.load import Dataset
from gpool_jax.data.pixels.load import PixelDataset
from gpool_jax.data.split import ArraySplit
from gpool_jax.data.statistics import CIFAR_STATISTICS, IMAGENET_STATISTICS


def images(count: int, side: int, *, num_classes: int = 10, seed: int = 0) -> Dataset:
    """Images with one label each: `count` to train on, a few to validate and test on."""

    def split(number: int, own: int) -> ArraySplit:
        generator = np.random.default_rng([seed, own])
        pixels = generator.integers(0, 256, (number, side, side, 3), np.uint8)
        return ArraySplit(pixels, (np.arange(number) % num_classes).astype(np.int32))

    return Dataset(
        name="random",
        train=split(count, 0),
        val=split(min(count, 100), 1),
        test=split(min(count, 1000), 2),
        num_classes=num_classes,
        mean=CIFAR_STATISTICS[0],
        std=CIFAR_STATISTICS[1],
    )


def scenes(count: int, size: tuple[int, int], *, num_classes: int, seed: int = 0) -> PixelDataset:
    """Images with a label for every pixel; labels come in patches, as those of scenes do."""

    def split(number: int, own: int) -> ArraySplit:
        generator = np.random.default_rng([seed, own])
        pixels = generator.integers(0, 256, (number, *size, 3), np.uint8)
        coarse = generator.integers(0, num_classes, (number, 5, 5), np.uint8)
        rows, columns = (np.arange(side) * 5 // side for side in size)
        labels = np.ascontiguousarray(coarse[:, rows][:, :, columns])
        return ArraySplit(pixels, labels, tuple(f"{own}-{i}" for i in range(number)))

    return PixelDataset(
        name="random",
        train=split(count, 0),
        val=split(min(count, 4), 1),
        test=split(count, 2),
        class_names=tuple(f"class{i}" for i in range(num_classes)),
        mean=IMAGENET_STATISTICS[0],
        std=IMAGENET_STATISTICS[1],
    )
