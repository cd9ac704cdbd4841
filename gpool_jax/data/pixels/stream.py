"""Training crops of images and their labels from disk: scaled, cut and filled up alike."""

from typing import Any

import numpy as np

from gpool_jax.config import PixelDataConfig
from gpool_jax.data.images.load import IMAGENET_STATISTICS
from gpool_jax.data.images.stream import ExampleFeed
from gpool_jax.data.pixels import files as segmentation_files
from gpool_jax.data.pixels.files import IGNORE
from gpool_jax.data.pixels.splits import PixelRecords
from gpool_jax.errors import InputError, RunError


class ScaledCrop:
    """Decodes the pair at a place, and cuts a window out of it at a random scale.

    Runs in the workers. The window lies inside the scaled image, or, in a
    dimension where that is smaller, holds all of it; what lies outside has the
    mean colour and the label `IGNORE`. The draw is that of `ops.random_scale_crop`.
    """

    def __init__(
        self,
        records: PixelRecords,
        *,
        crop: tuple[int, int],
        min_scale: float,
        max_scale: float,
        fill: tuple[int, ...],
    ):
        self._records, self._crop, self._fill = records, crop, fill
        self._scales = (min_scale, max_scale)

    def __call__(self, place: int, generator: np.random.Generator) -> dict[str, Any]:
        """`images` uint8 [h, w, 3] and `labels` uint8 [h, w] of one training image.

        Raises:
          RunError: naming the file that is broken or holds a label out of range.
        """
        scale = generator.uniform(*self._scales)
        scaled = [max(1, round(side * scale)) for side in self._records.size]
        windows = [
            _Window(side, out, generator) for side, out in zip(scaled, self._crop, strict=True)
        ]
        down, across = windows

        # Only what is kept is resized, from the file's own pixels.
        def box(height: int, width: int) -> segmentation_files.Box:
            top, bottom = down.share(height)
            left, right = across.share(width)
            return left, top, right, bottom

        pair, code = self._records.pairs[int(place)], self._records.code
        try:
            image, label = segmentation_files.decode(pair, code, (down.count, across.count), box)
        except InputError as error:
            raise RunError(str(error)) from None
        images = np.empty((*self._crop, 3), np.uint8)
        images[:] = self._fill
        labels = np.full(self._crop, IGNORE, np.uint8)
        part = (down.target, across.target)
        images[part], labels[part] = image, label
        return {"images": images, "labels": labels}


class _Window:
    """Which pixels of a scaled side a crop shows, and where.

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


def make_feed(
    dataset_train: PixelRecords,
    config: PixelDataConfig,
    *,
    batch_size: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
) -> ExampleFeed:
    """What `train.loop.fit` trains on when images and labels stay on disk.

    Its batches hold `images` uint8 [B, h, w, 3], `labels` uint8 [B, h, w] and
    `position` int32 [B]; mirroring and colour are left to the device.

    Args:
      dataset_train: the training split.
      config: of the set; its `crop` must be given.
      batch_size: of the global batch, over all processes.
      seed: of order, scales and crops.
      process_index: of this host's process among those that train together.
      process_count: of them.

    Raises:
      InputError: if `data.crop` is missing, or there are fewer images than one
        global batch.
    """
    if config.crop is None:
        raise InputError("`data.crop` must be given with data.stream; got None.")
    mean = IMAGENET_STATISTICS[0] if config.mean is None else config.mean
    fill = tuple(min(max(round(255 * value), 0), 255) for value in mean)
    height, width = config.crop
    return ExampleFeed(
        ScaledCrop(
            dataset_train,
            crop=config.crop,
            min_scale=config.min_scale,
            max_scale=config.max_scale,
            fill=fill,
        ),
        len(dataset_train),
        identity={
            "records": f"{len(dataset_train)} images, {dataset_train.checksum}",
            "crop": f"{height}x{width}, scale {config.min_scale:g} to {config.max_scale:g}, "
            f"fill {fill}",
        },
        batch_size=batch_size,
        seed=seed,
        workers=config.workers,
        process_index=process_index,
        process_count=process_count,
    )
