"""Labelled images larger than memory: opened by name, decoded when they are asked for."""

import dataclasses
import functools
import math
import zlib
from typing import Any

import numpy as np

from gpool_jax.config import DataConfig
from gpool_jax.data.decode import Box, decode_image
from gpool_jax.data.disk import in_threads, run_errors
from gpool_jax.data.images.files import RecordFiles
from gpool_jax.data.split import Split
from gpool_jax.data.stream import StreamFeed
from gpool_jax.errors import RunError

_RATIOS = (3 / 4, 4 / 3)


@dataclasses.dataclass(frozen=True)
class Records(Split):
    """A split on disk, of images with one label each.

    Attributes:
      files: where the encoded images are.
      rows: int [N], which of them belong to the split.
      side: side of its images in pixels.
      resize: length of the shorter side, before the centre of an image is cut out.
    """

    files: RecordFiles
    rows: np.ndarray
    side: int
    resize: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(side, side, 3)."""
        return self.side, self.side, 3

    @property
    def checksum(self) -> str:
        """Checksum of the names and sizes of the files, and the rows."""
        crc = zlib.crc32(repr(self.files.identity).encode())
        return f"{zlib.crc32(np.ascontiguousarray(self.rows).data, crc):08x}"

    def take(self, rows: np.ndarray) -> "Records":
        """The given rows, in order."""
        return dataclasses.replace(self, rows=self.rows[rows])

    def batch(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """Images resized and their centre cut out, with their labels int32 [B]; see `Split`."""
        with run_errors():
            decoded = in_threads(self._centre, np.asarray(index).tolist())
        return {
            "images": np.stack([image for image, _ in decoded]),
            "labels": np.array([label for _, label in decoded], np.int32),
        }

    def example(
        self, place: int, generator: np.random.Generator, *, min_scale: float
    ) -> dict[str, Any]:
        """One image as training sees it, a `random_box` resized: runs in the workers.

        Returns:
          `images` uint8 [side, side, 3] and `labels` int32 [].

        Raises:
          InputError, RunError: naming the image that is broken or whose label is out of range.
        """
        encoded, label, name = self._read(int(place))

        def choose(width: int, height: int) -> Box:
            left, top, w, h = random_box(generator, width, height, min_scale)
            return left, top, left + w, top + h

        # JPEGs decode faster at a half, a quarter or an eighth of their size.
        image = decode_image(encoded, name, self.side, choose, draft=True)
        return {"images": image, "labels": np.int32(label)}

    def feed(self, config: DataConfig, **options: int) -> StreamFeed:
        """Random crops, at least `config.min_scale` of the image's area, not mirrored."""
        identity = {
            "records": f"{len(self)} images, {self.checksum}",
            # Checkpoints hold these words: the device mirrors.
            "crop": f"side {self.side}, min_scale {config.min_scale:g}, flip False",
        }
        crop = functools.partial(self.example, min_scale=config.min_scale)
        return StreamFeed(crop, len(self), identity=identity, workers=config.workers, **options)

    def _read(self, place: int) -> tuple[bytes, int, str]:
        row = int(self.rows[place])
        encoded, label = self.files.read(row)
        if not 0 <= label < self.files.num_classes:
            raise RunError(
                f"`data`: the label of {self.files.name(row)} is out of range: {label}; there are "
                f"{self.files.num_classes} classes."
            )
        return encoded, label, self.files.name(row)

    def _centre(self, place: int) -> tuple[np.ndarray, int]:
        encoded, label, name = self._read(place)

        def choose(width: int, height: int) -> Box:
            # The part of the image that is `side` wide once its shorter side is `resize`.
            part = min(width, height) * self.side / self.resize
            left, top = (width - part) / 2, (height - part) / 2
            return left, top, left + part, top + part

        return decode_image(encoded, name, self.side, choose), label


def random_box(
    generator: np.random.Generator, width: int, height: int, min_scale: float
) -> tuple[int, int, int, int]:
    """Draw left, top, width, height of a part: `min_scale` to all of the area, 3:4 to 4:3.

    The usual draw of ImageNet training: ten tries, then the largest part of an
    allowed shape from the middle.
    """
    for _ in range(10):
        area = width * height * generator.uniform(min_scale, 1.0)
        ratio = math.exp(generator.uniform(math.log(_RATIOS[0]), math.log(_RATIOS[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = generator.integers(0, (width - w, height - h), endpoint=True)
            return int(left), int(top), w, h
    w = min(width, max(1, round(height * _RATIOS[1])))
    h = min(height, max(1, round(width / _RATIOS[0])))
    return (width - w) // 2, (height - h) // 2, w, h
