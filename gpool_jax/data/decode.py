"""Picture files: looked up and decoded, with one line that says what is wrong with one."""

import contextlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gpool_jax.errors import InputError, RunError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")

Box = tuple[float, float, float, float]


def stat(path: str | Path) -> tuple[int, int]:
    """Size in bytes and time of change in nanoseconds; an InputError if it cannot be read."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise InputError(f"`data`: {path} cannot be read: {error.strerror}.") from None
    return found.st_size, found.st_mtime_ns


def find(config: Any, what: Literal["file", "folder"], kind: str) -> Path:
    """The `path` of a config; an InputError says that `kind` is needed, or that it is not there."""
    if config.path is None:
        raise InputError(f"`data.path` must name {kind} for data.source {config.source}; got none.")
    path = Path(config.path).expanduser()
    if not (path.is_file() if what == "file" else path.is_dir()):
        raise InputError(f"`data.path`: there is no {what} {path}.")
    return path


def in_threads(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Map over items in threads: Pillow decodes and resizes outside the interpreter's lock."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(function, items))


@contextlib.contextmanager
def run_errors() -> Iterator[None]:
    """Turn the `InputError` of a bad file into a `RunError`: the run is already going."""
    try:
        yield
    except InputError as error:
        raise RunError(str(error)) from None


def open_picture(
    source: bytes | str | Path, name: str, use: Callable[[Any], Any], what: str = "image"
) -> Any:
    """Open a picture, use it, and report whatever is wrong with it as one kind of error.

    Args:
      source: the file's bytes, or its path.
      name: how to call it in an error.
      use: Pillow image to result.
      what: what the picture is, for an error.

    Raises:
      InputError: naming the picture, if it is broken.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as file:
            return use(file)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        # Pillow's own message for an unknown format names a memory address.
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "its format is unknown" if unknown else error
        raise InputError(f"`data`: {name} is a broken {what}: {reason}.") from None


def decode_image(
    source: bytes | str | Path,
    name: str,
    side: int | None = None,
    choose: Callable[[Any], Box] | None = None,
) -> np.ndarray:
    """Decode an image, or a part of it, to uint8 [H, W, 3].

    Args:
      source: the file's bytes, or its path.
      name: how to call it in an error.
      side: resize to this side (bilinear, antialiased).
      choose: Pillow image to (left, top, right, bottom), the part that is resized, in
        pixels; None for the whole image.

    Raises:
      InputError: naming the image, if it is broken.
    """
    from PIL import Image

    def use(file: Any) -> np.ndarray:
        box = None if choose is None else choose(file)
        image = file.convert("RGB")
        if side is not None:
            image = image.resize((side, side), Image.Resampling.BILINEAR, box=box)
        return np.asarray(image)

    return open_picture(source, name, use)
