"""Mean and standard deviation of a set's colour channels, in units of 0..1, to normalise with."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gpool_jax.config import checks
from gpool_jax.errors import InputError

Statistics = tuple[tuple[float, ...], tuple[float, ...]]

# The reference's values, rounded as it rounds them.
CIFAR_STATISTICS: Statistics = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
IMAGENET_STATISTICS: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def check(name: str, values: Any, channels: int, origin: str = "") -> None:
    """Raise unless `mean` or `std` is a number in units of 0..1 for each colour channel.

    Args:
      name: which of them it is.
      values: what is given.
      channels: number of colour channels.
      origin: begins the error, with a blank at its end: where the values are from.
    """
    fits, allowed = checks.RULES[f"data.{name}"]
    numbers = np.asarray(values)
    plain = numbers.shape == (channels,) and numbers.dtype.kind in "iuf"
    if not plain or not all(fits(value) for value in numbers.tolist()):
        raise InputError(
            f"{origin}`data.{name}` must be {channels} numbers, one per colour channel, {allowed}; "
            f"got {numbers.tolist()}."
        )


def resolve(mean: Any, std: Any, channels: int, otherwise: Callable[[], Statistics]) -> Statistics:
    """Use the mean and std that are given, and those of `otherwise` for what is None.

    Raises:
      InputError: see `check`.
    """
    for name, values in (("mean", mean), ("std", std)):
        if values is not None:
            check(name, values, channels)
    known = otherwise() if mean is None or std is None else (mean, std)
    mean, std = known[0] if mean is None else mean, known[1] if std is None else std
    return tuple(float(value) for value in mean), tuple(float(value) for value in std)


def measure(split: Any, *, block: int) -> Statistics:
    """Mean and std of the images of a `Split`, of which `block` are in memory as float64."""
    height, width, channels = split.image_shape
    sums = np.zeros((2, channels))
    for start in range(0, len(split), block):
        index = np.arange(start, min(start + block, len(split)))
        images = split.batch(index)["images"].astype(np.float64) / 255.0
        sums += [images.sum(axis=(0, 1, 2)), (images**2).sum(axis=(0, 1, 2))]
    mean, square = sums / (len(split) * height * width)
    std = np.sqrt(np.maximum(square - mean**2, 0.0))
    # A constant colour channel is only centred.
    std = np.where(std > 1e-4, std, 1.0)
    return tuple(float(m) for m in mean), tuple(float(s) for s in std)
