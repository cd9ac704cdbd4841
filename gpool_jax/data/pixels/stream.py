"""Training crops of images and their labels: scaled, cut and filled up alike."""

import numpy as np

from gpool_jax.data.decode import Box
from gpool_jax.data.pixels.files import IGNORE, LabelCode, Pair, decode


def scaled_crop(
    pair: Pair,
    code: LabelCode,
    size: tuple[int, int],
    generator: np.random.Generator,
    *,
    crop: tuple[int, int],
    scales: tuple[float, float],
    fill: tuple[int, ...],
) -> dict[str, np.ndarray]:
    """Decode a window of an image and its labels at a random scale.

    The window lies inside the scaled image, or, in a dimension where that is
    smaller, holds all of it; what lies outside has the colour `fill` and the label
    `IGNORE`. The draw is that of `ops.random_scale_crop`.

    Args:
      pair: image and label file.
      code: what the labels mean.
      size: height and width of the image at scale 1.
      generator: source of the scale and the place.
      crop: height and width of the window.
      scales: least and greatest scale.
      fill: colour, 0 to 255 for each channel.

    Returns:
      `images` uint8 [h, w, 3] and `labels` uint8 [h, w].

    Raises:
      InputError: naming the file that is broken or holds a label out of range.
    """
    scale = generator.uniform(*scales)
    scaled = [max(1, round(side * scale)) for side in size]
    down, across = (_Window(side, out, generator) for side, out in zip(scaled, crop, strict=True))

    # Only what is kept is resized, from the file's own pixels.
    def box(height: int, width: int) -> Box:
        top, bottom = down.share(height)
        left, right = across.share(width)
        return left, top, right, bottom

    images = np.empty((*crop, 3), np.uint8)
    images[:] = fill
    labels = np.full(crop, IGNORE, np.uint8)
    part = (down.target, across.target)
    images[part], labels[part] = decode(pair, code, (down.count, across.count), box)
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
