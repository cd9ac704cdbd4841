"""A split of images with a label for every pixel that stays on disk."""

import dataclasses
import functools
import zlib
from collections.abc import Sequence

import numpy as np

from gpool_jax.config import PixelDataConfig
from gpool_jax.data.decode import Box
from gpool_jax.data.disk import in_threads, run_errors, stat
from gpool_jax.data.pixels.files import IGNORE, LabelCode, Pair, decode
from gpool_jax.data.split import Split
from gpool_jax.data.statistics import IMAGENET_STATISTICS
from gpool_jax.data.stream import StreamFeed
from gpool_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class PixelRecords(Split):
    """A split on disk, of images with a label for every pixel.

    Attributes:
      pairs: image and label files.
      code: what their labels mean.
      size: height and width of the images of `batch`.
    """

    pairs: tuple[Pair, ...]
    code: LabelCode
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the images."""
        return tuple(pair.name for pair in self.pairs)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, 3)."""
        return *self.size, 3

    @property
    def checksum(self) -> str:
        """Checksum of the names and sizes of the files, and how they are read."""
        facts = [(p.name, stat(p.image)[0], stat(p.label)[0]) for p in self.pairs]
        return f"{zlib.crc32(repr((facts, self.code.classes, self.size)).encode()):08x}"

    def take(self, rows: np.ndarray) -> "PixelRecords":
        """The given rows, in order."""
        return dataclasses.replace(self, pairs=tuple(self.pairs[row] for row in rows))

    def batch(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """Whole images, with their labels uint8 [B, H, W]; see `Split`."""
        pairs = [self.pairs[place] for place in np.asarray(index).tolist()]
        with run_errors():
            return decode_all(pairs, self.code, self.size)

    def example(
        self,
        place: int,
        generator: np.random.Generator,
        *,
        crop: tuple[int, int],
        scales: tuple[float, float],
        fill: tuple[int, ...],
    ) -> dict[str, np.ndarray]:
        """One pair as training sees it, a window at a random scale: runs in the workers.

        The window lies inside the scaled image, or, in a dimension where that is
        smaller, holds all of it; what lies outside has the colour `fill` and the label
        `IGNORE`. The draw is that of `ops.random_scale_crop`.

        Args:
          place: the pair's place in this split.
          generator: source of the scale and the place of the window.
          crop: height and width of the window.
          scales: least and greatest scale.
          fill: colour, 0 to 255 for each channel.

        Returns:
          `images` uint8 [h, w, 3] and `labels` uint8 [h, w].

        Raises:
          InputError: naming the file that is broken or holds a label out of range.
        """
        scale = generator.uniform(*scales)
        scaled = [max(1, round(side * scale)) for side in self.size]
        rows, columns = (_Window(*sides, generator) for sides in zip(scaled, crop, strict=True))

        # Only what is kept is resized, from the file's own pixels.
        def box(height: int, width: int) -> Box:
            (top, bottom), (left, right) = rows.share(height), columns.share(width)
            return left, top, right, bottom

        images = np.empty((*crop, 3), np.uint8)
        images[:] = fill
        labels = np.full(crop, IGNORE, np.uint8)
        part, size = (rows.target, columns.target), (rows.count, columns.count)
        images[part], labels[part] = decode(self.pairs[int(place)], self.code, size, box)
        return {"images": images, "labels": labels}

    def feed(self, config: PixelDataConfig, **options: int) -> StreamFeed:
        """Crops of randomly scaled images; mirroring and colour are left to the device."""
        if config.crop is None:
            raise InputError("`data.crop` must be given with data.stream; got None.")
        mean = IMAGENET_STATISTICS[0] if config.mean is None else config.mean
        fill = tuple(min(max(round(255 * value), 0), 255) for value in mean)
        (height, width), scales = config.crop, (config.min_scale, config.max_scale)
        identity = {
            "records": f"{len(self)} images, {self.checksum}",
            "crop": f"{height}x{width}, scale {scales[0]:g} to {scales[1]:g}, fill {fill}",
        }
        crop = functools.partial(self.example, crop=config.crop, scales=scales, fill=fill)
        return StreamFeed(crop, len(self), identity=identity, workers=config.workers, **options)


def decode_all(
    pairs: Sequence[Pair], code: LabelCode, size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Decode images that are, or are made, of one size, like `decode`.

    Returns:
      `images` uint8 [N, H, W, 3] and `labels` uint8 [N, H, W].
    """
    # In place: a list of images, stacked later, would take twice the memory.
    images = np.empty((len(pairs), *size, 3), np.uint8)
    labels = np.empty((len(pairs), *size), np.uint8)

    def fill(row: int) -> None:
        images[row], labels[row] = decode(pairs[row], code, size)

    in_threads(fill, range(len(pairs)))
    return {"images": images, "labels": labels}


class _Window:
    """The pixels of a scaled side that a crop shows, and their place in it.

    Attributes:
      count: pixels shown.
      target: where they stand in the crop.
    """

    def __init__(self, side: int, out: int, generator: np.random.Generator):
        # From flush with the start to flush with the end, whichever of the two is longer.
        low, high = sorted((0, side - out))
        first = int(generator.integers(low, high, endpoint=True))
        self._start, stop = max(first, 0), min(first + out, side)
        self._side, self.count = side, stop - self._start
        self.target = slice(self._start - first, stop - first)

    def share(self, length: int) -> tuple[float, float]:
        """Start and end of what is shown, in pixels of a side of `length`."""
        stop = self._start + self.count
        return self._start * length / self._side, min(stop * length / self._side, length)
