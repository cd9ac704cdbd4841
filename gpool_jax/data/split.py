"""Splits of an image set: what all of them can do, and the one that is held in memory."""

import dataclasses
import zlib
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

import numpy as np

from gpool_jax.data.disk import Warn
from gpool_jax.data.resident import ResidentFeed
from gpool_jax.errors import InputError

# Byte alignment that XLA needs of CPU buffers.
_ALIGNMENT = 64


@runtime_checkable
class Split(Protocol):
    """Images and their labels, in memory (`ArraySplit`) or read from disk batch by batch.

    The methods that have a body are those of a split on disk.
    """

    def __len__(self) -> int:
        """Number of images, N."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the images of `batch`."""

    @property
    def checksum(self) -> str:
        """Tells these images and labels from any others."""

    def take(self, rows: np.ndarray) -> Self:
        """The given rows, in order."""

    def batch(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """Images of some rows, int [B], as an evaluation sees them, with their labels.

        Returns:
          `images` uint8 [B, H, W, C] and `labels` [B, ...].

        Raises:
          RunError: naming the image that is broken or whose label is out of range.
        """

    def feed(self, config: Any, **options: int) -> Any:
        """The `train.loop.Feed` that trains on this split.

        Args:
          config: the set's configuration, with the options of its training crops.
          options: `batch_size`, `seed`, `process_index`, `process_count`; see `StreamFeed`.

        Raises:
          InputError: if there are fewer images than one global batch.
        """

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the images, if they have any."""
        return ()

    def clusters(self, end: str) -> np.ndarray:
        """The cluster of each image: its name up to the last `end`.

        >>> images = np.zeros((3, 1, 1, 3), np.uint8)
        >>> ArraySplit(images, np.zeros(3, int), ("a_b_1", "a_b_2", "c")).clusters("_").tolist()
        ['a_b', 'a_b', 'c']
        """
        return np.array([name.rpartition(end)[0] or name for name in self.names])

    def load(self) -> "ArraySplit":
        """Decode the whole split into memory; `take` a few rows first."""
        return ArraySplit(**self.batch(np.arange(len(self))), names=self.names)

    def resident(self) -> dict[str, np.ndarray]:
        """Arrays to put on every device once: nothing, where batches are read from disk."""
        return {}

    def inputs(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """Inputs that, with `resident`, give `resident.fetch` the batch of these rows."""
        return self.batch(index) | {"index": index}

    def fingerprints(self) -> list[int] | None:
        """A checksum of each image; None where that would mean to decode them all."""
        return None

    def draw_rows(self, count: int | None, *, seed: int) -> np.ndarray:
        """Draw `count` rows, ascending; None for all."""
        if count is None or count >= len(self):
            return np.arange(len(self))
        return np.sort(np.random.default_rng(seed).permutation(len(self))[:count])

    def draw(self, count: int | None, *, seed: int) -> Self:
        """The split of the rows that `draw_rows` gives."""
        everything = count is None or count >= len(self)
        return self if everything else self.take(self.draw_rows(count, seed=seed))


S = TypeVar("S", bound=Split)


@dataclasses.dataclass(frozen=True)
class ArraySplit(Split):
    """A split in memory, not to be written to: see `aligned`.

    Attributes:
      images: uint8 [N, H, W, C].
      labels: int32 [N], or uint8 [N, H, W] with one label per pixel.
      names: names of the images, if they have any.
    """

    images: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "images", aligned(self.images))
        object.__setattr__(self, "labels", aligned(self.labels))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    @property
    def checksum(self) -> str:
        """Checksum of all pixels and labels."""
        return f"{zlib.crc32(self.images.data, zlib.crc32(self.labels.data)):08x}"

    def take(self, rows: np.ndarray) -> "ArraySplit":
        """A copy of the given rows, in order."""
        names = tuple(self.names[row] for row in rows) if self.names else ()
        return ArraySplit(self.images[rows], self.labels[rows], names)

    def batch(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """`images` [B, H, W, C] and `labels` [B, ...] of the given rows."""
        return {"images": self.images[index], "labels": self.labels[index]}

    def load(self) -> "ArraySplit":
        """This split itself."""
        return self

    def resident(self) -> dict[str, np.ndarray]:
        """`images` and `labels`."""
        return {"images": self.images, "labels": self.labels}

    def inputs(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """The rows alone: the images are resident."""
        return {"index": index}

    def fingerprints(self) -> list[int]:
        """A checksum of each image's pixels."""
        return [zlib.crc32(image.data) for image in self.images]

    def draw_rows(self, count: int | None, *, seed: int) -> np.ndarray:
        """Draw `count` rows, every class in its share where an image has one label."""
        if count is None or self.labels.ndim > 1:
            return super().draw_rows(count, seed=seed)
        return stratified_rows(self.labels, count, seed=seed)

    def feed(self, config: Any, **options: int) -> ResidentFeed:
        """Whole images, on the devices; crops are cut there."""
        return ResidentFeed(self.resident(), **options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Splits:
    """Three disjoint splits of one set: in memory, or on disk if the set is streamed.

    Attributes:
      name: how to call the set in a report.
      train: split that the network is fitted on.
      val: split that picks the checkpoint.
      test: split that is reported.
      mean: mean of each colour channel in units of 0..1, to normalise with.
      std: standard deviation, likewise.
      notes: what a reader of results on this set must know.
    """

    name: str
    train: Split
    val: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    notes: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> dict[str, str]:
        """Tells this set, as it is split, from any other."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return {name: f"{len(split)} images, {split.checksum}" for name, split in splits.items()}


@dataclasses.dataclass
class Notes:
    """Warnings that are to stand beside results too.

    Attributes:
      warn: receives each.
      lines: those that were given.
    """

    warn: Warn
    lines: list[str] = dataclasses.field(default_factory=list)

    def __call__(self, message: str) -> None:
        """Warn, and remember it."""
        self.warn(message)
        self.lines.append(message)


def aligned(values: np.ndarray) -> np.ndarray:
    """The same values, at a multiple of 64 bytes, where a CPU device can use them in place.

    Anywhere else, JAX would hold a copy for every device.
    """
    if values.ctypes.data % _ALIGNMENT == 0 and values.flags.c_contiguous:
        return values
    room = np.empty(values.nbytes + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    copy = room[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


def stratified_rows(labels: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """Draw `count` rows, every class in its share (to within one), ascending."""
    if count >= len(labels):
        return np.arange(len(labels))
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(labels))
    # The rank of a row within its class over the class's size: taking the
    # smallest takes the same share of every class.
    rank = np.empty(len(labels))
    for label in np.unique(labels):
        rows = order[labels[order] == label]
        rank[rows] = (np.arange(len(rows)) + generator.random()) / len(rows)
    return np.sort(np.argsort(rank, kind="stable")[:count])


def split_off_validation(
    train: S, *, seed: int, most: int | None = None, clusters: np.ndarray | None = None
) -> tuple[S, S]:
    """Draw a tenth of a training set for validation, `most` images at most.

    Clusters [N] of images, if there are any, are drawn whole, until a tenth is reached.

    Returns:
      What is left to train on, and the validation split.

    Raises:
      InputError: if there are too few images, or only one cluster.
    """
    count = round(len(train) * 0.1)
    if clusters is None:
        rows = train.draw_rows(count if most is None else min(count, most), seed=seed)
    else:
        rows = _cluster_rows(clusters, count, seed=seed)
    if len(rows) == 0:
        raise InputError(
            f"`data`: {len(train)} training images are too few to set a tenth aside for validation."
        )
    return train.take(np.setdiff1d(np.arange(len(train)), rows)), train.take(rows)


def _cluster_rows(clusters: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """Draw whole clusters until they hold `count` images, ascending; never the last one."""
    names, sizes = np.unique(clusters, return_counts=True)
    if len(names) == 1:
        raise InputError(
            f"`data.cluster`: all {len(clusters)} training images are of one cluster "
            f"({names[0]}); none can be set aside for validation."
        )
    order = np.random.default_rng(seed).permutation(len(names))[:-1]
    before = np.cumsum(sizes[order]) - sizes[order]
    return np.flatnonzero(np.isin(clusters, names[order[before < count]]))
