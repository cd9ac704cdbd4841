"""Pictures: decoded as they look, to 8-bit RGB, or as the numbers of a label file.

As they look: turned as their EXIF orientation says, 16-bit grey scaled to 8 bits, transparent
pixels on white, the first frame of an animation. What cannot be shown so is refused.
"""

import io
import math
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpool_jax.data.disk import check_memory, in_threads
from gpool_jax.errors import InputError

IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".webp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
# No others are opened, whatever a file is called: to read some, Pillow starts other programs.
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM")

Box = tuple[float, float, float, float]
# A file's bytes or path, or pixels uint8 [H, W], [H, W, 3] or [H, W, 4].
Source = bytes | str | Path | np.ndarray

# What Pillow raises for files that are broken in one way or another.
_BROKEN = (
    *(OSError, ValueError, SyntaxError, LookupError, EOFError, TypeError),
    *(struct.error, zlib.error),
)
_ORIENTATION = 0x0112  # a tag of EXIF; from 5 on, height and width change places
# Factors by which Pillow spreads the numbers of grey PNGs of fewer than 8 bits over 0 to 255.
_SPREAD = {"L;2": 85, "L;4": 17}
# Filters of warnings belong to the process, not to the thread.
_opening = threading.Lock()


def open_picture(source: Source, name: str, use: Callable[[Any], Any], what: str = "image") -> Any:
    """Open a picture, use it, and report whatever is wrong with it as one kind of error.

    Args:
      source: the file's bytes or path, or decoded pixels.
      name: how to call it in an error.
      use: Pillow image to result.
      what: what the picture is, for an error.

    Raises:
      InputError: naming the picture, if it is broken or has more pixels than Pillow allows
        (`PIL.Image.MAX_IMAGE_PIXELS`, 89 million).
    """
    from PIL import Image, UnidentifiedImageError

    if isinstance(source, np.ndarray):
        return use(Image.fromarray(source))
    try:
        with _opening, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            stream = io.BytesIO(source) if isinstance(source, bytes) else source
            file = Image.open(stream, formats=_FORMATS)
        with file:
            return use(file)
    except InputError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        most = Image.MAX_IMAGE_PIXELS or 0
        raise InputError(f"`data`: {name} has more than {most:,} pixels.") from None
    except _BROKEN as error:
        # Pillow's own message for an unknown format names a memory address.
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "its format is unknown" if unknown else " ".join(str(error).split())
        raise InputError(f"`data`: {name} is a broken {what}: {reason}.") from None


def decode_image(
    source: Source,
    name: str,
    size: int | tuple[int, int] | None = None,
    choose: Callable[[int, int], Box] | None = None,
    *,
    draft: bool = False,
    channels: int = 3,
    interpolation: str = "bilinear",
) -> np.ndarray:
    """Decode an image, or a part of it, to uint8 [H, W, channels].

    Args:
      source: the file's bytes or path, or decoded pixels.
      name: how to call it in an error.
      size: resize to this side, or (height, width), antialiased.
      choose: `(width, height) -> (left, top, right, bottom)`, the part that is resized, in
        pixels; None for the whole image.
      draft: decode a JPEG at a fraction of its size where the part stays at least `size` large.
      channels: 3 for RGB, 1 for grey.
      interpolation: name of Pillow's filter that resizes: nearest, bilinear, bicubic, lanczos.

    Raises:
      InputError: naming the image, if it is broken or cannot be shown in 8 bits.
    """
    from PIL import Image

    sides = (size, size) if isinstance(size, int) else size

    def use(file: Any) -> np.ndarray:
        box = None
        if choose is not None:
            width, height = upright_size(file)
            box = choose(width, height)
            if draft and sides is not None:
                box = _draft(file, box, *sides)
        image = to_rgb(file, name)
        if channels == 1:
            image = image.convert("L")
        if sides is not None:
            image = image.resize(sides[::-1], Image.Resampling[interpolation.upper()], box=box)
        return np.asarray(image).reshape(image.height, image.width, channels)

    return open_picture(source, name, use)


def decode_all(decode: Callable[[int], np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Decode images to one array, uint8 [N, H, W, C].

    Args:
      decode: decodes the image of a number.
      names: how to call each image in an error.

    Raises:
      InputError: if the images differ in size, or are too many for this machine's memory.
    """
    first = decode(0)
    check_memory(len(names) * first.nbytes, f"{len(names):,} images like {names[0]}")
    images = np.empty((len(names), *first.shape), np.uint8)
    images[0] = first

    def fill(row: int) -> None:
        image = decode(row)
        if image.shape != first.shape:
            raise InputError(
                f"`data`: {names[row]} is {image.shape[1]}x{image.shape[0]} pixels, {names[0]} is "
                f"{first.shape[1]}x{first.shape[0]}; all must have one size (`data.side` resizes "
                "folders and encoded npz)."
            )
        images[row] = image

    in_threads(fill, range(1, len(names)))
    return images


def upright_size(file: Any) -> tuple[int, int]:
    """Width and height of an opened picture once it is turned upright, from its header alone."""
    from PIL import Image

    # The method of every picture: that of a PNG would decode it.
    turned = Image.Image.getexif(file).get(_ORIENTATION, 1) >= 5
    # Pillow turns a TIFF by itself, and says so.
    return file.size[::-1] if turned and file.format != "TIFF" else file.size


def to_rgb(file: Any, name: str) -> Any:
    """An opened picture as it looks, in Pillow's mode RGB; `name` is for an error."""
    from PIL import Image, ImageOps

    ImageOps.exif_transpose(file, in_place=True)
    image = file
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise InputError(
                f"`data`: {name} is of Pillow's mode {image.mode!r}, with values from "
                f"{values.min():g} to {values.max():g}; grey of more than 8 bits must be whole "
                "numbers in 0 to 65535."
            )
        return Image.fromarray(np.rint(values / 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    try:
        return image.convert("RGB")
    except (ValueError, ImportError):
        raise InputError(
            f"`data`: {name} is of Pillow's mode {image.mode!r}, which cannot be read as RGB."
        ) from None


def check_labels(file: Any, name: str) -> None:
    """Raise unless an opened picture is a PNG that stores one number of 8 bits per pixel or fewer.

    Its header tells.
    """
    if file.format != "PNG" or file.mode not in ("1", "L", "P"):
        raise InputError(
            f"`data`: {name} is a {file.format} of Pillow's mode {file.mode!r}; labels are one "
            "number per pixel, in a grey (L) or palette (P) PNG of at most 8 bits."
        )


def read_labels(file: Any) -> Any:
    """The numbers that a PNG of labels stores for its pixels, upright, in Pillow's mode L.

    Pillow spreads grey of 2 or 4 bits, and shows 1 bit, over 0 to 255; here, 1 is 1. The numbers
    of a palette are its places, not its colours.
    """
    from PIL import Image, ImageOps

    spread = _SPREAD.get(file.tile[0].args, 1) if file.tile else 1
    numbers = np.asarray(ImageOps.exif_transpose(file)).astype(np.uint8)
    return Image.fromarray(numbers // spread)


def _draft(file: Any, box: Box, high: int, wide: int) -> Box:
    """Let a JPEG be decoded smaller, so that the part `box` of it stays `high` and `wide`.

    Returns:
      The part in pixels of the smaller image.
    """
    (width, height), (left, top, right, bottom) = upright_size(file), box
    wanted = math.ceil(width * wide / (right - left)), math.ceil(height * high / (bottom - top))
    turned = (width, height) != file.size
    file.draft(None, wanted[::-1] if turned else wanted)
    new_width, new_height = upright_size(file)
    x, y = new_width / width, new_height / height
    return left * x, top * y, right * x, bottom * y
