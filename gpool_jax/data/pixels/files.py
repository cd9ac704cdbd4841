"""An image file and the label file beside it: checked and decoded together, both uint8."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gpool_jax.data.decode import (
    Box,
    check_labels,
    open_picture,
    read_labels,
    to_rgb,
    upright_size,
)
from gpool_jax.data.disk import Warn, in_threads
from gpool_jax.errors import InputError

# Label of pixels that neither teach nor count.
IGNORE = 255


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

    def labels_of(file: Any) -> Any:
        check_labels(file, pair.label)
        return read_labels(file)

    image = open_picture(pair.image, pair.image, lambda file: to_rgb(file, pair.image))
    label = open_picture(pair.label, pair.label, labels_of, "label file")
    _check_sizes(pair, image.size, label.size)
    code.check(label, pair.label)
    if size is not None:
        width, height = image.size
        part = None if box is None else box(height, width)
        image = image.resize(size[::-1], Image.Resampling.BILINEAR, box=part)
        label = label.resize(size[::-1], Image.Resampling.NEAREST, box=part)
    return np.asarray(image), code.table[np.asarray(label)]


class Header(NamedTuple):
    """What the headers of a pair tell: width and height, and the labels' palette, if any."""

    size: tuple[int, int]
    palette: bytes


def read_header(pair: Pair) -> Header:
    """Read the headers of a pair, not their pixels.

    Raises:
      InputError: naming the file that is no image, no label file, or the labels of another
        size than their image.
    """

    def header_of(file: Any) -> Header:
        check_labels(file, pair.label)
        return Header(upright_size(file), file.palette.palette if file.palette else b"")

    size = open_picture(pair.image, pair.image, upright_size)
    header = open_picture(pair.label, pair.label, header_of, "label file")
    _check_sizes(pair, size, header.size)
    return header


def check_headers(
    pairs: Sequence[Pair],
    size: tuple[int, int] | None,
    num_classes: int,
    warn: Warn,
) -> tuple[int, int]:
    """Height and width of decoded images, known from the headers of all files alone.

    Args:
      pairs: the pairs of all splits.
      size: size that all are resized to, if any.
      num_classes: numbers below it are classes.
      warn: receives one line if two label files give a class different colours.

    Raises:
      InputError: see `read_header`; or, without `size`, naming the first image that differs.
    """
    headers = in_threads(read_header, pairs)
    _compare_palettes(pairs, [header.palette for header in headers], num_classes, warn)
    if size is not None:
        return size
    for pair, header in zip(pairs, headers, strict=True):
        if header.size != headers[0].size:
            raise InputError(
                f"`data`: {pair.image} is {_by(header.size)} pixels, {pairs[0].image} is "
                f"{_by(headers[0].size)}; all must have one size (`data.size` resizes them)."
            )
    return headers[0].size[::-1]


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _check_sizes(pair: Pair, image: tuple[int, int], label: tuple[int, int]) -> None:
    if image != label:
        raise InputError(
            f"`data`: {pair.label} is {_by(label)} pixels, its image {pair.image} is "
            f"{_by(image)}; both must have one size."
        )


def _compare_palettes(
    pairs: Sequence[Pair],
    palettes: Sequence[bytes],
    num_classes: int,
    warn: Warn,
) -> None:
    """Warn once if a class has one colour in one file and another in another."""
    colours: dict[int, tuple[bytes, str]] = {}
    for pair, palette in zip(pairs, palettes, strict=True):
        for number in range(min(num_classes, len(palette) // 3)):
            colour = palette[3 * number : 3 * number + 3]
            known, first = colours.setdefault(number, (colour, pair.label))
            if known != colour:
                return warn(
                    f"`data`: {first} and {pair.label} show label {number} in different colours; "
                    "the numbers that files store are the classes, whatever their colours."
                )
