"""A data set by its config: read, checked, split, with the statistics to normalise it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from gpool_jax.config import DataConfig
from gpool_jax.data.images import readers
from gpool_jax.data.images.records import Records, open_records
from gpool_jax.data.images.splits import Split, draw_rows, stratified_rows
from gpool_jax.errors import InputError

# Of the reference, rounded as it rounds them.
CIFAR_STATISTICS = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
IMAGENET_STATISTICS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Of a stream: more would say no more, and take longer to decode.
_MOST_VALIDATION = 10_000
_STATISTICS_SAMPLE = 1_000


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Three disjoint splits of one set: in memory, or on disk if the set is streamed.

    Attributes:
      name: how to call it in a report.
      train: what the network is fitted on.
      val: a tenth of the source's training set, which picks the checkpoint; of
        a stream at most 10,000 images.
      test: what is reported.
      num_classes: labels are in [0, num_classes).
      mean, std: per colour channel in units of 0..1, to normalise with.
    """

    name: str
    train: Split | Records
    val: Split | Records
    test: Split | Records
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
      seed: of the validation split (stratified, unless streamed) and of `num_train`.
      warn: receives one line about a damaged cache.

    Raises:
      InputError: one line that says what is missing or wrong, before any
        network access.
    """
    if config.source not in readers.READERS:
        raise InputError(
            f"`data.source` must be one of {', '.join(readers.READERS)}; got {config.source!r}."
        )
    if config.stream:
        return _load_streamed(config, seed)
    for name in ("resize", "eval_side"):
        if getattr(config, name) is not None:
            raise InputError(
                f"`data.{name}` needs data.stream; got {getattr(config, name)} without it."
            )
    arrays = readers.READERS[config.source](config, warn)
    num_classes = _check_labels(arrays["labels_train"], arrays["labels_test"])
    full = Split(arrays["images_train"], arrays["labels_train"].astype(np.int32))
    test = Split(arrays["images_test"], arrays["labels_test"].astype(np.int32))
    val_rows = stratified_rows(full.labels, round(len(full) * 0.1), seed=seed)
    train_rows = rest_of(len(full), val_rows)
    if config.num_train is not None:
        chosen = stratified_rows(full.labels[train_rows], config.num_train, seed=seed)
        train_rows = train_rows[chosen]
    train = full.take(train_rows)
    mean, std = _statistics(config, arrays, train)
    name = config.name if config.source == "tfds" else config.source
    return Dataset(name, train, full.take(val_rows), test, num_classes, mean, std)


def _load_streamed(config: DataConfig, seed: int) -> Dataset:
    """Open a set on disk; nothing but the sample for its statistics is decoded."""
    full, test = open_records(config)
    val_rows = draw_rows(full, min(round(len(full) * 0.1), _MOST_VALIDATION), seed=seed)
    train = full.take(rest_of(len(full), val_rows))
    if config.num_train is not None:
        train = train.take(draw_rows(train, config.num_train, seed=seed))
    val = dataclasses.replace(full.take(val_rows), side=test.side)
    known: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET_STATISTICS
    given = (config.mean, config.std)
    if not (config.source == "tfds" and config.name.startswith("imagenet2012")):
        if None in given:
            sample = train.take(draw_rows(train, _STATISTICS_SAMPLE, seed=seed))
            known = _training_statistics(sample)
    for name, values in zip(("mean", "std"), given, strict=True):
        check_statistic(name, values, 3)
    mean, std = (own if own is not None else of for own, of in zip(given, known, strict=True))
    name = config.name if config.source == "tfds" else config.source
    return Dataset(name, train, val, test, full.num_classes, tuple(mean), tuple(std))


def rest_of(count: int, val_rows: np.ndarray) -> np.ndarray:
    """The training rows that are not for validation."""
    if len(val_rows) == 0 or len(val_rows) == count:
        raise InputError(
            f"`data`: {count} training images are too few to set a tenth aside for validation."
        )
    return np.setdiff1d(np.arange(count), val_rows)


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
    config: DataConfig, arrays: dict[str, np.ndarray], train: Split
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std: of the config, of the file, of the reference, or of the images."""
    own_mean, own_std = _training_statistics(train)
    known: dict[str, tuple] = {"mean": own_mean, "std": own_std}
    if config.source == "tfds" and config.name == "cifar10":
        known = dict(zip(("mean", "std"), CIFAR_STATISTICS, strict=True))
    for name in known:
        given = getattr(config, name)
        if given is None and config.source == "npz" and name in arrays:
            given = np.asarray(arrays[name], np.float64)
        if given is None:
            continue
        check_statistic(name, given, train.image_shape[-1])
        known[name] = tuple(float(value) for value in given)
    return known["mean"], known["std"]


def check_statistic(name: str, given: Any, channels: int) -> None:
    """Raise unless a given mean or std has a number for each colour channel; None passes."""
    if given is None:
        return
    if np.shape(given) != (channels,) or (name == "std" and np.min(given) <= 0):
        raise InputError(
            f"`data.{name}` must be {channels} numbers, one per colour channel"
            f"{', positive' if name == 'std' else ''}; got {np.asarray(given).tolist()}."
        )


def _training_statistics(train: Split | Records) -> tuple[tuple[float, ...], tuple[float, ...]]:
    # In blocks: a float64 copy of the whole set would be eight times its size.
    height, width, channels = train.image_shape
    sums = np.zeros((2, channels))
    rows = 1024 if isinstance(train, Split) else 128
    for start in range(0, len(train), rows):
        index = np.arange(start, min(start + rows, len(train)))
        block = train.batch(index)["images"].astype(np.float64) / 255.0
        sums += [block.sum(axis=(0, 1, 2)), (block**2).sum(axis=(0, 1, 2))]
    mean, square = sums / (len(train) * height * width)
    std = np.sqrt(np.maximum(square - mean**2, 0.0))
    # A constant colour channel is only centred.
    std = np.where(std > 1e-4, std, 1.0)
    return tuple(float(m) for m in mean), tuple(float(s) for s in std)
