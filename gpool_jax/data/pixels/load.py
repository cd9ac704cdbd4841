"""Load a set of images with a label for every pixel: checked, read or opened, and split."""

import dataclasses
from collections.abc import Callable

import numpy as np

from gpool_jax.config import PixelDataConfig
from gpool_jax.data import statistics
from gpool_jax.data.cache import cached
from gpool_jax.data.decode import in_threads, stat
from gpool_jax.data.pixels.files import common_size, decode
from gpool_jax.data.pixels.layouts import Layout, open_layout
from gpool_jax.data.pixels.records import PixelRecords, decode_all
from gpool_jax.data.split import ArraySplit, Split, Splits, split_off_validation
from gpool_jax.errors import InputError

# Label files of each split of a stream whose numbers are looked at before training.
_LABELS_CHECKED = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class PixelDataset(Splits):
    """Images with a label for every pixel.

    Attributes:
      class_names: names of the classes 0, 1, ...; `IGNORE` is none of them.
    """

    class_names: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        """Labels are in [0, num_classes), or `IGNORE`."""
        return len(self.class_names)


def load(
    config: PixelDataConfig, *, seed: int, warn: Callable[[str], None] = print
) -> PixelDataset:
    """Read a set, or open it if it is streamed.

    Its validation split is the source's own, or a tenth of the training set.

    Args:
      config: which set.
      seed: seed of the validation split, where the source has none, and of `num_train`.
      warn: receives one line about a damaged cache.

    Raises:
      InputError: one line that says what is missing or wrong.
    """
    _check(config)
    layout = open_layout(config)
    splits = _open(config, layout) if config.stream else _read(config, layout, warn)
    if "val" not in splits:
        splits["train"], splits["val"] = split_off_validation(splits["train"], seed=seed)
    mean, std = statistics.resolve(
        config.mean, config.std, 3, lambda: statistics.IMAGENET_STATISTICS
    )
    return PixelDataset(
        name=layout.name,
        train=splits["train"].draw(config.num_train, seed=seed),
        val=splits["val"],
        test=splits["test"],
        class_names=layout.class_names,
        mean=mean,
        std=std,
    )


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


def _read(config: PixelDataConfig, layout: Layout, warn: Callable[[str], None]) -> dict[str, Split]:
    """Decode a whole set, or read what was decoded before."""

    def decode_splits() -> dict[str, np.ndarray]:
        pairs = [pair for split in layout.splits.values() for pair in split]
        size = common_size(pairs, config.size)
        return {
            f"{name}_{split}": array
            for split, own in layout.splits.items()
            for name, array in decode_all(own, layout.code, size).items()
        }

    facts = [
        (split, path, stat(path))
        for split, pairs in layout.splits.items()
        for pair in pairs
        for path in (pair.image, pair.label)
    ]
    # What the numbers mean is part of it: dataset.json may change under the same files.
    identity = f"pixels {layout.code.classes} size {config.size} {facts}"
    arrays = cached(identity, decode_splits, config.cache_dir, warn)
    return {
        split: ArraySplit(
            arrays[f"images_{split}"], arrays[f"labels_{split}"], tuple(p.name for p in pairs)
        )
        for split, pairs in layout.splits.items()
    }


def _open(config: PixelDataConfig, layout: Layout) -> dict[str, Split]:
    """Check all headers and some labels; the rest is checked as it is decoded."""
    pairs = [pair for split in layout.splits.values() for pair in split]
    size = common_size(pairs, config.size)
    sample = [
        own[place]
        for own in layout.splits.values()
        for place in np.unique(np.linspace(0, len(own) - 1, _LABELS_CHECKED, dtype=int))
    ]
    in_threads(lambda pair: decode(pair, layout.code), sample)
    return {name: PixelRecords(own, layout.code, size) for name, own in layout.splits.items()}
