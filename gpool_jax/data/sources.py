"""A data set by its config: read, checked, split, with the statistics to normalise it."""

import dataclasses
from collections.abc import Callable

import numpy as np

from gpool_jax.config import DataConfig
from gpool_jax.data import readers
from gpool_jax.data.splits import Split, stratified_rows
from gpool_jax.errors import InputError

# Of the reference, rounded as it rounds them.
CIFAR_STATISTICS = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))


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

    @property
    def fingerprint(self) -> dict[str, str]:
        """What tells this set, as it is split, from any other."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return {name: f"{len(split)} images, {split.checksum}" for name, split in splits.items()}


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
    num_classes = _check_labels(arrays["labels_train"], arrays["labels_test"])
    full = Split(arrays["images_train"], arrays["labels_train"].astype(np.int32))
    test = Split(arrays["images_test"], arrays["labels_test"].astype(np.int32))
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
    mean, std = _statistics(config, arrays, train.images)
    name = config.name if config.source == "tfds" else config.source
    return Dataset(name, train, full.take(val_rows), test, num_classes, mean, std)


def _check_labels(train: np.ndarray, test: np.ndarray) -> int:
    """Number of classes; labels are 0, 1, ... with none left out."""
    classes = np.unique(train)
    if len(classes) < 2:
        raise InputError(
            f"`data`: all training images are of one class ({classes[0]}); at least two are needed."
        )
    if classes[0] != 0 or classes[-1] != len(classes) - 1:
        raise InputError(
            f"`data`: labels are out of range: {len(classes)} classes must be labelled 0 to "
            f"{len(classes) - 1}; found {classes[0]} to {classes[-1]}."
        )
    strange = np.setdiff1d(test, classes)
    if len(strange):
        raise InputError(
            f"`data`: test label {strange[0]} is out of range: the training labels are 0 to "
            f"{classes[-1]}."
        )
    return len(classes)


def _statistics(
    config: DataConfig, arrays: dict[str, np.ndarray], images: np.ndarray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std: of the config, of the file, of the reference, or of the images."""
    own_mean, own_std = _training_statistics(images)
    known: dict[str, tuple] = {"mean": own_mean, "std": own_std}
    if config.source == "tfds" and config.name == "cifar10":
        known = dict(zip(("mean", "std"), CIFAR_STATISTICS, strict=True))
    for name in known:
        given = getattr(config, name)
        if given is None and config.source == "npz" and name in arrays:
            given = np.asarray(arrays[name], np.float64)
        if given is None:
            continue
        if np.shape(given) != (images.shape[-1],) or (name == "std" and np.min(given) <= 0):
            raise InputError(
                f"`data.{name}` must be {images.shape[-1]} numbers, one per colour channel"
                f"{', positive' if name == 'std' else ''}; got {np.asarray(given).tolist()}."
            )
        known[name] = tuple(float(value) for value in given)
    return known["mean"], known["std"]


def _training_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
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
