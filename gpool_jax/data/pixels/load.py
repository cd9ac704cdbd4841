"""Images with a label for every pixel: a set by its config, read, checked and split."""

import dataclasses
from collections.abc import Callable

import numpy as np

from gpool_jax.config import PixelDataConfig
from gpool_jax.data.cache import cached
from gpool_jax.data.images import load as sources
from gpool_jax.data.images.splits import draw_rows
from gpool_jax.data.pixels import files as segmentation_files
from gpool_jax.data.pixels.files import IGNORE
from gpool_jax.data.pixels.layouts import Layout, open_layout
from gpool_jax.data.pixels.splits import PixelRecords, PixelSplit, decode_all
from gpool_jax.data.pixels.stream import make_feed
from gpool_jax.errors import InputError

__all__ = ["IGNORE", "PixelDataset", "PixelRecords", "PixelSplit", "load", "make_feed"]

# Label files of each split of a stream whose numbers are looked at before training.
_LABELS_CHECKED = 16


@dataclasses.dataclass(frozen=True)
class PixelDataset:
    """Three disjoint splits of one set: in memory, or on disk if the set is streamed.

    Attributes:
      name: how to call it in a report.
      train: what the network is fitted on.
      val: what picks the checkpoint: the source's own, or a tenth of its
        training set.
      test: what is reported.
      class_names: of the classes 0, 1, ...; `IGNORE` is none of them.
      mean, std: per colour channel in units of 0..1, to normalise with.
    """

    name: str
    train: PixelSplit | PixelRecords
    val: PixelSplit | PixelRecords
    test: PixelSplit | PixelRecords
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def num_classes(self) -> int:
        """Labels are in [0, num_classes), or `IGNORE`."""
        return len(self.class_names)

    @property
    def fingerprint(self) -> dict[str, str]:
        """What tells this set, as it is split, from any other."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return {name: f"{len(split)} images, {split.checksum}" for name, split in splits.items()}


def load(
    config: PixelDataConfig, *, seed: int, warn: Callable[[str], None] = print
) -> PixelDataset:
    """Read a set, or open it if it is streamed.

    Args:
      config: which one.
      seed: of the validation split, where the source has none, and of `num_train`.
      warn: receives one line about a damaged cache.

    Raises:
      InputError: one line that says what is missing or wrong.
    """
    _check(config)
    layout = open_layout(config)
    splits = _open_stream(config, layout) if config.stream else _read(config, layout, warn)
    train, test, val = splits["train"], splits["test"], splits.get("val")
    if val is None:
        rows = draw_rows(train, round(len(train) * 0.1), seed=seed)
        train, val = train.take(sources.rest_of(len(train), rows)), train.take(rows)
    if config.num_train is not None and config.num_train < len(train):
        train = train.take(draw_rows(train, config.num_train, seed=seed))
    mean, std = _statistics(config)
    return PixelDataset(layout.name, train, val, test, layout.class_names, mean, std)


def _check(config: PixelDataConfig) -> None:
    for name in ("size", "crop"):
        given = getattr(config, name)
        if given is not None and (len(given) != 2 or min(given) < 1):
            raise InputError(
                f"`data.{name}` must be a height and a width, of at least 1 pixel each; got "
                f"{' '.join(map(str, given))}."
            )
    if config.size is None and config.source == "voc":
        raise InputError(
            "`data.size` must be given for data.source voc, whose images differ in size; got None."
        )
    if config.crop is None and config.stream:
        raise InputError("`data.crop` must be given with data.stream; got None.")


def _read(
    config: PixelDataConfig, layout: Layout, warn: Callable[[str], None]
) -> dict[str, PixelSplit]:
    """Decode a whole set, or read what was decoded before."""

    def decode() -> dict[str, np.ndarray]:
        pairs = [pair for split in layout.splits.values() for pair in split]
        size = segmentation_files.common_size(pairs, config.size)
        arrays = {}
        for split, own in layout.splits.items():
            decoded = decode_all(own, layout.code, size)
            arrays[f"images_{split}"], arrays[f"labels_{split}"] = decoded
        return arrays

    facts = [
        (split, path, segmentation_files.stat(path))
        for split, pairs in layout.splits.items()
        for pair in pairs
        for path in (pair.image, pair.label)
    ]
    # What the numbers mean is part of it: dataset.json may change under the same files.
    identity = f"pixels {layout.code.classes} size {config.size} {facts}"
    arrays = cached(identity, decode, config.cache_dir, warn)
    return {
        split: PixelSplit(
            arrays[f"images_{split}"], arrays[f"labels_{split}"], tuple(p.name for p in pairs)
        )
        for split, pairs in layout.splits.items()
    }


def _open_stream(config: PixelDataConfig, layout: Layout) -> dict[str, PixelRecords]:
    """Check all headers and some labels; the rest is checked as it is decoded."""
    pairs = [pair for split in layout.splits.values() for pair in split]
    size = segmentation_files.common_size(pairs, config.size)
    splits = {name: PixelRecords(own, layout.code, size) for name, own in layout.splits.items()}
    sample = [
        split.pairs[place]
        for split in splits.values()
        for place in np.unique(np.linspace(0, len(split) - 1, _LABELS_CHECKED, dtype=int))
    ]
    segmentation_files.in_threads(lambda pair: segmentation_files.decode(pair, layout.code), sample)
    return splits


def _statistics(config: PixelDataConfig) -> tuple[tuple[float, ...], tuple[float, ...]]:
    given = (config.mean, config.std)
    for name, values in zip(("mean", "std"), given, strict=True):
        sources.check_statistic(name, values, 3)
    mean, std = (
        own if own is not None else known
        for own, known in zip(given, sources.IMAGENET_STATISTICS, strict=True)
    )
    return tuple(mean), tuple(std)
