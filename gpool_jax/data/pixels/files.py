"""An image file and the label file beside it: checked and decoded together, both uint8."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gpool_jax.data.decode import Box, in_threads, open_picture
from gpool_jax.errors import InputError

# Label of pixels that neither teach nor count.
IGNORE = 255
# 8-bit grey, and palette: the number stored for a pixel is its label, not its colour.
_LABEL_MODES = ("L", "P")


class Pair(NamedTuple):
    """An image's name, its path, and the path of its pixels' labels."""

    name: str
    image: str
    label: str


@dataclasses.dataclass(frozen=True)
class LabelCode:
    """The meaning of the numbers in label files.

    Attributes:
      classes: number to class, or to `IGNORE`.
      allowed: the same in words.
    """

    classes: dict[int, int]
    allowed: str

    @functools.cached_property
    def table(self) -> np.ndarray:
        """Uint8 [256]: number to class."""
        table = np.full(256, IGNORE, np.uint8)
        table[list(self.classes)] = list(self.classes.values())
        return table

    def check(self, label: Any, path: str) -> None:
        """Raise if a decoded label file holds a number that means nothing."""
        for number, count in enumerate(label.histogram()[:256]):
            if count and number not in self.classes:
                raise InputError(
                    f"`data`: label {number} in {path} is out of range; allowed: {self.allowed}."
                )


def decode(
    pair: Pair,
    code: LabelCode,
    size: tuple[int, int] | None = None,
    box: Callable[[int, int], Box] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Decode an image and its labels, or one part of both.

    Args:
      pair: image and label file.
      code: what the labels mean.
      size: resize to this height and width: images bilinear and antialiased,
        labels nearest, so that no label is made up between two.
      box: `(height, width) -> (left, top, right, bottom)`, the part that is
        resized, in pixels of the file; None for all of it.

    Returns:
      uint8 [H, W, 3] and uint8 [H, W], a class or `IGNORE`.

    Raises:
      InputError: naming the file that is broken or holds a label out of range.
    """
    from PIL import Image

    image, label = _open(pair, pixels=True)
    code.check(label, pair.label)
    if size is not None:
        width, height = image.size
        part = None if box is None else box(height, width)
        image = image.resize(size[::-1], Image.Resampling.BILINEAR, box=part)
        label = label.resize(size[::-1], Image.Resampling.NEAREST, box=part)
    return np.asarray(image), code.table[np.asarray(label)]


def common_size(pairs: Sequence[Pair], size: tuple[int, int] | None) -> tuple[int, int]:
    """Height and width of decoded images, known from the headers of all files alone.

    Args:
      pairs: the pairs of all splits.
      size: size that all are resized to, if any.

    Raises:
      InputError: naming the file that is no image, the labels of another size
        than their image, or, without `size`, the first image that differs.
    """
    sizes = in_threads(lambda pair: _open(pair)[0].size, pairs)
    if size is not None:
        return size
    for pair, own in zip(pairs, sizes, strict=True):
        if own != sizes[0]:
            raise InputError(
                f"`data`: {pair.image} is {_by(own)} pixels, {pairs[0].image} is "
                f"{_by(sizes[0])}; all must have one size (`data.size` resizes them)."
            )
    return sizes[0][::-1]


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _open(pair: Pair, *, pixels: bool = False) -> tuple[Any, Any]:
    """Image and labels as Pillow images, without their pixels only their headers."""
    image = open_picture(
        pair.image, pair.image, lambda file: file.convert("RGB") if pixels else file
    )
    label = open_picture(
        pair.label, pair.label, lambda file: file.copy() if pixels else file, "label file"
    )
    if label.mode not in _LABEL_MODES:
        raise InputError(
            f"`data`: {pair.label} is of Pillow's mode {label.mode!r}; labels are one number per "
            "pixel, in an 8-bit grey (L) or palette (P) PNG."
        )
    if image.size != label.size:
        raise InputError(
            f"`data`: {pair.label} is {_by(label.size)} pixels, its image {pair.image} is "
            f"{_by(image.size)}; both must have one size."
        )
    return image, label
