"""Load a labelled image set: read it or open its files, split it, and find its statistics."""

import dataclasses
from collections.abc import Callable

import numpy as np

from gpool_jax.config import DataConfig
from gpool_jax.data import statistics
from gpool_jax.data.images import files, readers
from gpool_jax.data.images.records import Records
from gpool_jax.data.split import ArraySplit, Splits, split_off_validation
from gpool_jax.errors import InputError

# Limits for a stream: more would say no more, and take longer to decode.
_MOST_VALIDATION = 10_000
_STATISTICS_SAMPLE = 1_000
# Images in memory as float64 at once, while statistics are measured.
_BLOCK, _BLOCK_OF_STREAM = 1024, 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset(Splits):
    """Images with one label each.

    Attributes:
      num_classes: labels are in [0, num_classes).
    """

    num_classes: int


def load(config: DataConfig, *, seed: int, warn: Callable[[str], None] = print) -> Dataset:
    """Read a data set, or open it if it is streamed.

    A tenth of the source's training set becomes the validation split; of a stream at
    most 10,000 images.

    Args:
      config: which set.
      seed: seed of the validation split (stratified, unless streamed) and of `num_train`.
      warn: receives one line about a damaged cache.

    Raises:
      InputError: one line that says what is missing or wrong, before any
        network access.
    """
    if config.source not in readers.READERS:
        raise InputError(
            f"`data.source` must be one of {', '.join(readers.READERS)}; got {config.source!r}."
        )
    name = config.name if config.source == "tfds" else config.source
    return _open(config, name, seed) if config.stream else _read(config, name, seed, warn)


def _read(config: DataConfig, name: str, seed: int, warn: Callable[[str], None]) -> Dataset:
    for option in ("resize", "eval_side"):
        given = getattr(config, option)
        if given is not None:
            raise InputError(f"`data.{option}` needs data.stream; got {given} without it.")
    arrays = readers.READERS[config.source](config, warn)
    classes = _check_labels(arrays["labels_train"], arrays["labels_test"])
    full, test = (
        ArraySplit(arrays[f"images_{s}"], arrays[f"labels_{s}"].astype(np.int32))
        for s in ("train", "test")
    )
    train, val = split_off_validation(full, seed=seed)
    train = train.draw(config.num_train, seed=seed)

    def otherwise() -> statistics.Statistics:
        if config.source == "tfds" and config.name == "cifar10":
            return statistics.CIFAR_STATISTICS
        return statistics.measure(train, block=_BLOCK)

    mean = arrays.get("mean") if config.mean is None else config.mean
    std = arrays.get("std") if config.std is None else config.std
    mean, std = statistics.resolve(mean, std, train.image_shape[-1], otherwise)
    return Dataset(
        name=name, train=train, val=val, test=test, num_classes=classes, mean=mean, std=std
    )


def _open(config: DataConfig, name: str, seed: int) -> Dataset:
    """Open a set on disk; nothing but the sample for its statistics is decoded."""
    train_files, test_files = files.open_set(config)
    side, eval_side, resize = _sides(config)
    full = Records(train_files, np.arange(len(train_files)), side, resize)
    test = Records(test_files, np.arange(len(test_files)), eval_side, resize)
    train, val = split_off_validation(full, seed=seed, most=_MOST_VALIDATION)
    train, val = train.draw(config.num_train, seed=seed), dataclasses.replace(val, side=eval_side)

    def otherwise() -> statistics.Statistics:
        if config.source == "tfds" and config.name.startswith("imagenet2012"):
            return statistics.IMAGENET_STATISTICS
        sample = train.draw(_STATISTICS_SAMPLE, seed=seed)
        return statistics.measure(sample, block=_BLOCK_OF_STREAM)

    mean, std = statistics.resolve(config.mean, config.std, 3, otherwise)
    classes = train_files.num_classes
    return Dataset(
        name=name, train=train, val=val, test=test, num_classes=classes, mean=mean, std=std
    )


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


def _sides(config: DataConfig) -> tuple[int, int, int]:
    """Sides of training and evaluation images, and that of the resized shorter side."""
    if config.side is None:
        raise InputError("`data.side` must be given with data.stream; got None.")
    eval_side = config.eval_side or config.side
    resize = config.resize or max(round(config.side * 8 / 7), eval_side)
    for name, value in (("side", config.side), ("eval_side", eval_side)):
        if value > resize:
            raise InputError(f"`data.{name}` must be at most data.resize = {resize}; got {value}.")
    return config.side, eval_side, resize
