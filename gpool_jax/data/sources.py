"""A data set by its config: read, checked, split, with the statistics to normalise it."""

import dataclasses
from collections.abc import Callable

import numpy as np

from gpool_jax.config import DataConfig
from gpool_jax.data import readers
from gpool_jax.data.splits import Split, stratified_rows
from gpool_jax.errors import InputError

# Of the reference, rounded as it rounds them.
_CIFAR_STATISTICS = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Three disjoint splits of one set.

    Attributes:
      name: how to call it in a report.
      train: what the network is fitted on.
      val: a tenth of the source's training set, which picks the checkpoint.
      test: what is reported.
      num_classes: labels are in [0, num_classes).
      mean, std: per colour channel in units of 0..1, to normalise with.
    """

    name: str
    train: Split
    val: Split
    test: Split
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def load(config: DataConfig, *, seed: int, warn: Callable[[str], None] = print) -> Dataset:
    """Read a data set and cut off its validation split.

    Args:
      config: which one.
      seed: of the stratified validation split and of `num_train`.
      warn: receives one line about a damaged cache.

    Raises:
      InputError: one line that says what is missing or wrong, before any
        network access.
    """
    if config.source not in readers.READERS:
        raise InputError(
            f"`data.source` must be one of {', '.join(readers.READERS)}; got {config.source!r}."
        )
    arrays = readers.READERS[config.source](config, warn)
    full = Split(arrays["images_train"], arrays["labels_train"].astype(np.int32))
    test = Split(arrays["images_test"], arrays["labels_test"].astype(np.int32))
    num_classes = int(max(full.labels.max(), test.labels.max())) + 1
    if "num_classes" in arrays:
        num_classes = int(arrays["num_classes"])
    if num_classes < 2:
        raise InputError("`data`: all images are of one class; at least two are needed.")
    val_rows = stratified_rows(full.labels, round(len(full) * 0.1), seed=seed)
    train_rows = np.setdiff1d(np.arange(len(full)), val_rows)
    if len(val_rows) == 0 or len(train_rows) == 0:
        raise InputError(
            f"`data`: {len(full)} training images are too few to set a tenth aside for validation."
        )
    if config.num_train is not None:
        chosen = stratified_rows(full.labels[train_rows], config.num_train, seed=seed)
        train_rows = train_rows[chosen]
    train = full.take(train_rows)
    mean, std = _statistics(config, train.images)
    name = config.name if config.source == "tfds" else config.source
    return Dataset(name, train, full.take(val_rows), test, num_classes, mean, std)


def _statistics(config: DataConfig, images: np.ndarray) -> tuple[tuple, tuple]:
    if config.source == "tfds" and config.name == "cifar10":
        return _CIFAR_STATISTICS
    # In blocks: a float64 copy of the whole set would be eight times its size.
    sums = np.zeros((2, images.shape[-1]))
    for start in range(0, len(images), 1024):
        block = images[start : start + 1024].astype(np.float64) / 255.0
        sums += [block.sum(axis=(0, 1, 2)), (block**2).sum(axis=(0, 1, 2))]
    mean, square = sums / np.prod(images.shape[:3])
    std = np.sqrt(np.maximum(square - mean**2, 0.0))
    # A constant colour channel is only centred.
    std = np.where(std > 1e-4, std, 1.0)
    return tuple(float(m) for m in mean), tuple(float(s) for s in std)
