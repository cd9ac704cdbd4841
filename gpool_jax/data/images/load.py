"""Load a labelled image set: read it or open its files, split it, and find its statistics."""

import dataclasses

import numpy as np

from gpool_jax.config import DataConfig
from gpool_jax.data import statistics
from gpool_jax.data.disk import Warn, several
from gpool_jax.data.images import files, readers
from gpool_jax.data.images.locate import base_name
from gpool_jax.data.images.records import Records
from gpool_jax.data.split import ArraySplit, Notes, Splits, split_off_validation
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


def load(config: DataConfig, *, seed: int, warn: Warn = print) -> Dataset:
    """Read a data set, or open it if it is streamed.

    The validation split is the val/ of a folder that has train/ and test/ too, otherwise a
    tenth of the source's training set; of a stream at most 10,000 images.

    Args:
      config: which set.
      seed: seed of the validation split (stratified, unless streamed) and of `num_train`.
      warn: receives one line about a damaged cache, files that are left out, or classes
        that no training image is left of.

    Raises:
      InputError: one line that says what is missing or wrong, before any
        network access.
    """
    if config.source not in readers.READERS:
        raise InputError(
            f"`data.source` must be one of {', '.join(readers.READERS)}; got {config.source!r}."
        )
    name = config.name if config.source == "tfds" else config.source
    note = Notes(warn)
    if config.stream:
        dataset = _open(config, name, seed, note)
    else:
        dataset = _read(config, name, seed, warn, note)
    return dataclasses.replace(dataset, notes=tuple(note.lines))


def _read(config: DataConfig, name: str, seed: int, warn: Warn, note: Warn) -> Dataset:
    for option in ("resize", "eval_side"):
        given = getattr(config, option)
        if given is not None:
            raise InputError(f"`data.{option}` needs data.stream; got {given} without it.")
    arrays = readers.READERS[config.source](config, warn, note)
    classes = _check_labels(
        config.path or name,
        *(arrays[f"labels_{s}"] for s in ("train", "test", "val") if f"labels_{s}" in arrays),
    )
    splits = {
        s: ArraySplit(arrays[f"images_{s}"], arrays[f"labels_{s}"].astype(np.int32))
        for s in ("train", "test", "val")
        if f"images_{s}" in arrays
    }
    train, val = splits["train"], splits.get("val")
    if val is None:
        train, val = split_off_validation(train, seed=seed)
    train = train.draw(config.num_train, seed=seed)
    lost = np.setdiff1d(np.arange(classes), train.labels).tolist()
    if lost:
        note(f"`data`: no training image is left of class {several(lost)} of {classes}.")

    def otherwise() -> statistics.Statistics:
        if config.source == "tfds" and base_name(config.name) == "cifar10":
            return statistics.CIFAR_STATISTICS
        return statistics.measure(train, block=_BLOCK)

    mean = arrays.get("mean") if config.mean is None else config.mean
    std = arrays.get("std") if config.std is None else config.std
    mean, std = statistics.resolve(mean, std, train.image_shape[-1], otherwise)
    return Dataset(
        name=name,
        train=train,
        val=val,
        test=splits["test"],
        num_classes=classes,
        mean=mean,
        std=std,
    )


def _open(config: DataConfig, name: str, seed: int, note: Warn) -> Dataset:
    """Open a set on disk; nothing but the sample for its statistics is decoded."""
    opened = files.open_set(config, note)
    side, eval_side, resize = _sides(config)
    splits = {
        name: Records(own, np.arange(len(own)), eval_side, resize) for name, own in opened.items()
    }
    train, val = splits["train"], splits.get("val")
    if val is None:
        train, val = split_off_validation(train, seed=seed, most=_MOST_VALIDATION)
    else:
        val = val.draw(_MOST_VALIDATION, seed=seed)
    train = dataclasses.replace(train, side=side).draw(config.num_train, seed=seed)

    def otherwise() -> statistics.Statistics:
        if config.source == "tfds" and config.name.startswith("imagenet2012"):
            return statistics.IMAGENET_STATISTICS
        sample = train.draw(_STATISTICS_SAMPLE, seed=seed)
        return statistics.measure(sample, block=_BLOCK_OF_STREAM)

    mean, std = statistics.resolve(config.mean, config.std, 3, otherwise)
    return Dataset(
        name=name,
        train=train,
        val=val,
        test=splits["test"],
        num_classes=opened["train"].num_classes,
        mean=mean,
        std=std,
    )


def _check_labels(where: str, train: np.ndarray, *others: np.ndarray) -> int:
    """Number of classes; labels are 0, 1, ... with none left out."""
    classes = np.unique(train)
    if len(classes) < 2:
        raise InputError(
            f"`data`: in {where}, all training images are of one class ({classes[0]}); at least "
            "two are needed."
        )
    if classes[0] != 0 or classes[-1] != len(classes) - 1:
        raise InputError(
            f"`data`: in {where}, labels are out of range: {len(classes)} classes must be labelled "
            f"0 to {len(classes) - 1}; found {classes[0]} to {classes[-1]}."
        )
    strange = np.setdiff1d(np.concatenate(others), classes)
    if len(strange):
        raise InputError(
            f"`data`: in {where}, test label {strange[0]} is out of range: the training labels are "
            f"0 to {classes[-1]}."
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
