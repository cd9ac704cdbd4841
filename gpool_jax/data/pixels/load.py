"""Load a set of images with a label for every pixel: checked, read or opened, and split."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from gpool_jax.config import PixelDataConfig
from gpool_jax.data import statistics
from gpool_jax.data.cache import cached
from gpool_jax.data.disk import Warn, check_memory, in_threads, several, stat
from gpool_jax.data.pixels.files import IGNORE, check_headers, decode
from gpool_jax.data.pixels.layouts import Layout, open_layout
from gpool_jax.data.pixels.records import PixelRecords, decode_all
from gpool_jax.data.split import ArraySplit, Notes, Split, Splits, split_off_validation
from gpool_jax.errors import InputError

# Label files of each split of a stream whose numbers are looked at before training.
_LABELS_CHECKED = 16
_SPLITS = ("train", "val", "test")
# With fewer, Student's t widens intervals by a quarter and more.
_FEW_CLUSTERS = 10


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


def load(config: PixelDataConfig, *, seed: int, warn: Warn = print) -> PixelDataset:
    """Read a set, or open it if it is streamed.

    Its validation split is the source's own, or a tenth of the training set.

    Args:
      config: which set.
      seed: seed of the validation split, where the source has none, and of `num_train`.
      warn: receives one line about a damaged cache, files that are left out, palettes that
        differ, or classes and splits without a labelled pixel.

    Raises:
      InputError: one line that says what is missing or wrong.
    """
    _check(config)
    note = Notes(warn)
    layout = open_layout(config, note)
    if config.stream:
        splits = _open(config, layout, note)
    else:
        splits = _read(config, layout, warn, note)
    if "val" not in splits:
        train = splits["train"]
        clusters = None if config.cluster is None else train.clusters(config.cluster)
        splits["train"], splits["val"] = split_off_validation(train, seed=seed, clusters=clusters)
    if config.cluster is not None:
        _check_clusters(splits, config.cluster, note)
    mean, std = statistics.resolve(
        config.mean, config.std, 3, lambda: statistics.IMAGENET_STATISTICS
    )
    dataset = PixelDataset(
        name=layout.name,
        train=splits["train"].draw(config.num_train, seed=seed),
        val=splits["val"],
        test=splits["test"],
        class_names=layout.class_names,
        mean=mean,
        std=std,
    )
    if not config.stream:
        _check_labels(layout, {s: getattr(dataset, s).labels for s in _SPLITS}, note)
    return dataclasses.replace(dataset, notes=tuple(note.lines))


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


def _read(config: PixelDataConfig, layout: Layout, warn: Warn, note: Warn) -> dict[str, Split]:
    """Decode a whole set, or read what was decoded before."""

    def decode_splits() -> dict[str, np.ndarray]:
        pairs = [pair for split in layout.splits.values() for pair in split]
        size = check_headers(pairs, config.size, len(layout.class_names), note)
        height, width = size
        check_memory(len(pairs) * height * width * 4, f"{len(pairs):,} images of {width}x{height}")
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


def _open(config: PixelDataConfig, layout: Layout, note: Warn) -> dict[str, Split]:
    """Check all headers and some labels; the rest is checked as it is decoded."""
    pairs = [pair for split in layout.splits.values() for pair in split]
    size = check_headers(pairs, config.size, len(layout.class_names), note)
    sample = {}
    for split, own in layout.splits.items():
        places = np.unique(np.linspace(0, len(own) - 1, _LABELS_CHECKED, dtype=int))
        pairs = [own[place] for place in places]
        decoded = in_threads(lambda pair: decode(pair, layout.code), pairs)
        sample[split] = [labels for _, labels in decoded]
    _check_labels(layout, sample, note, sampled=True)
    return {name: PixelRecords(own, layout.code, size) for name, own in layout.splits.items()}


def _check_clusters(splits: dict[str, Split], end: str, warn: Warn) -> None:
    """Warn of clusters that are in two splits, and of too few to draw from."""
    clusters = {name: set(split.clusters(end).tolist()) for name, split in splits.items()}
    for first, second in itertools.combinations(_SPLITS, 2):
        if shared := sorted(clusters[first] & clusters[second]):
            warn(
                f"`data.cluster`: {several(shared)} is in {first} and in {second}, as the set was "
                "divided by its makers; numbers on one are not independent of the other."
            )
    number = len(clusters["test"])
    if number < _FEW_CLUSTERS:
        warn(
            f"`data.cluster`: the {len(splits['test'])} test images are of {number} clusters; "
            f"fewer than {_FEW_CLUSTERS} leave intervals wide and conclusions few."
        )


def _check_labels(
    layout: Layout,
    labels: Mapping[str, Sequence[np.ndarray]],
    warn: Warn,
    *,
    sampled: bool = False,
) -> None:
    """Warn of splits without a labelled pixel, masks, and classes without a training pixel.

    A sample may lack a class by chance.
    """
    for split, own in labels.items():
        pixels = np.zeros(IGNORE + 1, np.int64)
        for image in own:  # a count of all at once takes eight times their memory
            pixels += np.bincount(image.reshape(-1), minlength=IGNORE + 1)
        classes = np.flatnonzero(pixels[:IGNORE]).tolist()
        where = f"`data`: {len(own)} {split} images"
        if not classes:
            warn(f"{where} have no labelled pixel: all are ignored.")
        elif classes == [0] and pixels[IGNORE]:
            warn(
                f"{where} have pixels of class {layout.class_names[0]} and ignored ones alone; "
                f"labels must be numbers of classes ({layout.code.allowed}), not masks of 0 and "
                "255."
            )
        elif split == "train" and not sampled and len(classes) < len(layout.class_names):
            absent = [n for i, n in enumerate(layout.class_names) if i not in classes]
            warn(f"{where} have no pixel of class {several(absent)}.")
