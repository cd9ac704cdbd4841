"""Training crops of encoded images: a random part, resized."""

import math
from typing import Any

import numpy as np

from gpool_jax.data.decode import Box, decode_image

_RATIOS = (3 / 4, 4 / 3)


def random_crop(
    encoded: bytes, name: str, side: int, generator: np.random.Generator, *, min_scale: float
) -> np.ndarray:
    """Decode a random part of an image to uint8 [side, side, 3]; see `random_box`.

    Raises:
      InputError: naming the image, if it is broken.
    """

    def choose(file: Any) -> Box:
        width, height = file.size
        left, top, w, h = random_box(generator, width, height, min_scale)
        # JPEGs decode faster at a half, a quarter or an eighth of their size, which is
        # done where the crop stays at least `side` wide.
        file.draft(None, (math.ceil(width * side / w), math.ceil(height * side / h)))
        x, y = file.size[0] / width, file.size[1] / height
        return left * x, top * y, (left + w) * x, (top + h) * y

    return decode_image(encoded, name, side, choose)


def random_box(
    generator: np.random.Generator, width: int, height: int, min_scale: float
) -> tuple[int, int, int, int]:
    """Draw part of an image: `min_scale` to all of its area, 3:4 to 4:3.

    The usual draw of ImageNet training: ten tries, then the largest part of an
    allowed shape from the middle.

    Returns:
      left, top, width, height in pixels, inside the image.
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
