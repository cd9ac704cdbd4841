"""One split of images with a label for every pixel: in memory, or on disk."""

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np

from gpool_jax.data.images.splits import aligned
from gpool_jax.data.pixels import files
from gpool_jax.data.pixels.files import LabelCode, Pair
from gpool_jax.errors import InputError, RunError


@dataclasses.dataclass(frozen=True)
class PixelSplit:
    """A split in memory, not to be written to: see `splits.aligned`.

    Attributes:
      images: uint8 [N, H, W, 3].
      labels: uint8 [N, H, W], classes 0, 1, ..., or `IGNORE`.
      names: of the images, for messages and overlays.
    """

    images: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]

    def __post_init__(self):
        """Move images and labels, if need be."""
        object.__setattr__(self, "images", aligned(self.images))
        object.__setattr__(self, "labels", aligned(self.labels))

    def __len__(self) -> int:
        """N."""
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, 3)."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    @property
    def checksum(self) -> str:
        """Tells these images and labels from any others."""
        labels = zlib.crc32(np.ascontiguousarray(self.labels).data)
        return f"{zlib.crc32(np.ascontiguousarray(self.images).data, labels):08x}"

    def take(self, rows: np.ndarray) -> "PixelSplit":
        """The given rows, in order."""
        names = tuple(self.names[row] for row in rows)
        return PixelSplit(self.images[rows], self.labels[rows], names)

    def batch(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """`images` [B, H, W, 3] and `labels` [B, H, W] of the given rows."""
        return {"images": self.images[index], "labels": self.labels[index]}

    def load(self) -> "PixelSplit":
        """Itself: it is in memory. `PixelRecords` decode themselves here."""
        return self


@dataclasses.dataclass(frozen=True)
class PixelRecords:
    """A split on disk: the counterpart of `PixelSplit`, without `images` and `labels`.

    Attributes:
      pairs: the files.
      code: what their labels mean.
      size: height and width of the images of `batch`.
    """

    pairs: tuple[Pair, ...]
    code: LabelCode
    size: tuple[int, int]

    def __len__(self) -> int:
        """N."""
        return len(self.pairs)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the images."""
        return tuple(pair.name for pair in self.pairs)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, 3) of the images of `batch`."""
        return *self.size, 3

    @property
    def checksum(self) -> str:
        """Tells these images from others by names and sizes of their files, and what is read."""
        facts = [(p.name, files.stat(p.image)[0], files.stat(p.label)[0]) for p in self.pairs]
        return f"{zlib.crc32(repr((facts, self.code.classes, self.size)).encode()):08x}"

    def take(self, rows: np.ndarray) -> "PixelRecords":
        """The given rows, in order."""
        return dataclasses.replace(self, pairs=tuple(self.pairs[row] for row in rows))

    def batch(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """Decode whole images, as an evaluation sees them.

        Args:
          index: int [B], places in this split.

        Returns:
          `images` uint8 [B, H, W, 3] and `labels` uint8 [B, H, W].

        Raises:
          RunError: naming the file that is broken or holds a label out of range.
        """
        pairs = [self.pairs[place] for place in np.asarray(index).tolist()]
        try:
            images, labels = decode_all(pairs, self.code, self.size)
        except InputError as error:
            raise RunError(str(error)) from None
        return {"images": images, "labels": labels}

    def load(self) -> PixelSplit:
        """Decode the whole split into memory; `take` a few rows first."""
        content = self.batch(np.arange(len(self)))
        return PixelSplit(content["images"], content["labels"], self.names)


def decode_all(
    pairs: Sequence[Pair], code: LabelCode, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Decode images that are, or are made, of one size.

    Returns:
      uint8 [N, H, W, 3] and uint8 [N, H, W].

    Raises:
      InputError: naming the file that is broken or holds a label out of range.
    """
    # In place: a list of images, stacked later, would take twice the memory.
    images = np.empty((len(pairs), *size, 3), np.uint8)
    labels = np.empty((len(pairs), *size), np.uint8)

    def fill(row: int) -> None:
        images[row], labels[row] = files.decode(pairs[row], code, size)

    files.in_threads(fill, range(len(pairs)))
    return images, labels
