"""Where images without labels come from: a folder, arrays, a labelled split, or the samples."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpool_jax.config import paths
from gpool_jax.data.decode import IMAGE_SUFFIXES, Source
from gpool_jax.data.disk import Warn, several
from gpool_jax.data.images import locate
from gpool_jax.data.split import Split
from gpool_jax.errors import InputError

# Side of the smallest squares that are cut from the sample photographs.
_LEAST_SIDE = 32
_CHANNELS = (1, 3, 4)


@dataclasses.dataclass(frozen=True)
class Candidates:
    """Images that may be taken, none of them decoded yet.

    Attributes:
      name: how to call them all.
      order: int [N], the numbers of the images, in which they are taken until there are enough.
      title: the name of the image of a number.
      read: from a number to what `decode.decode_image` decodes, and a label if it has one.
    """

    name: str
    order: np.ndarray
    title: Callable[[int], str]
    read: Callable[[int], tuple[Source, int | None]]


def find(
    source: Any, num_images: int | None, *, seed: int, labels: Any | None, note: Warn
) -> Candidates:
    """Find images without decoding them; see `collection.load`."""
    if labels is not None and (source is None or isinstance(source, str | Path | Split)):
        raise InputError(
            f"`labels` belong to arrays; got some for {_kind(source)}, which has its own or none."
        )
    if source is None:
        return _samples(num_images, seed, note)
    if isinstance(source, str | Path):
        return _folder(source, seed, note)
    if hasattr(source, "shape"):
        return _array(_to_array(source, "the array"), seed, labels)
    if isinstance(source, Split):
        return _split(source, num_images, seed)
    if isinstance(source, Iterable):
        return _items(source, num_images, seed, labels)
    raise InputError(
        "`images` must be a folder, an array uint8 [N, H, W, C], an iterable of such, a split of a "
        f"data set, or None; got {_kind(source)}."
    )


def _shuffled(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(count)


def _folder(path: str | Path, seed: int, note: Warn) -> Candidates:
    paths.check("images", str(path))
    root = paths.expand(path)
    if not root.is_dir():
        raise InputError(f"`images`: there is no folder {root}.")
    files, others = locate.image_files(root)
    formats = ", ".join(IMAGE_SUFFIXES)
    if not files:
        raise InputError(f"`images`: {root} holds no images at any depth ({formats}).")
    if others:
        note(
            f"`images`: files below {root} that are left out, since they are no images "
            f"({formats}): {several(others)}."
        )
    names = [path.relative_to(root).as_posix() for path in files]
    return Candidates(
        str(root), _shuffled(len(files), seed), names.__getitem__, lambda i: (files[i], None)
    )


def _split(split: Split, num_images: int | None, seed: int) -> Candidates:
    def read(row: int) -> tuple[Source, int | None]:
        batch = split.batch(np.array([row]))
        label = batch["labels"][0]
        return _plain(batch["images"][0]), int(label) if label.ndim == 0 else None

    names = split.names
    return Candidates(
        "the labelled split",
        split.draw_rows(num_images, seed=seed),
        names.__getitem__ if names else _number,
        read,
    )


def _array(images: np.ndarray, seed: int, labels: Any | None) -> Candidates:
    shape = images.shape
    # Three axes are grey images, unless the last one is of colours.
    colours = bool(shape) and shape[-1] in _CHANNELS
    if images.ndim != (4 if colours else 3):
        raise InputError(
            "`images` must be an array uint8 [N, H, W], or [N, H, W, C] with C 1, 3 or 4; got "
            f"{list(shape)}{_hint(shape)}."
        )
    return _in_memory("the array", images, _shuffled(len(images), seed), labels)


def _items(
    items: Iterable[Any], num_images: int | None, seed: int, labels: Any | None
) -> Candidates:
    """Images, or batches of them, one after the other; sizes may differ."""
    images: list[np.ndarray] = []
    # An iterator may never end, so that there is nothing to draw from.
    most = None if isinstance(items, Sequence) else num_images
    for number, item in enumerate(items):
        array = _to_array(item, f"item {number}")
        if array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in _CHANNELS):
            images.append(array)
        elif array.ndim == 4 and array.shape[-1] in _CHANNELS:
            images.extend(array)
        else:
            raise InputError(
                f"`images`: item {number} must be an image [H, W] or [H, W, C], or a batch "
                f"[B, H, W, C], with C 1, 3 or 4; got {list(array.shape)}{_hint(array.shape)}."
            )
        if most is not None and len(images) >= most:
            break
    images = images[:most]
    order = _shuffled(len(images), seed) if most is None else np.arange(len(images))
    return _in_memory("the list", images, order, labels)


def _in_memory(
    name: str, images: Sequence[np.ndarray] | np.ndarray, order: np.ndarray, labels: Any | None
) -> Candidates:
    if len(images) == 0:
        raise InputError(f"`images`: {name} of images is empty.")
    classes = None if labels is None else np.asarray(labels)
    if classes is not None and (classes.shape != (len(images),) or classes.dtype.kind not in "iu"):
        raise InputError(
            f"`labels` must be integers [{len(images)}], one for each image; got {classes.dtype} "
            f"{list(classes.shape)}."
        )

    def read(row: int) -> tuple[Source, int | None]:
        return _plain(images[row]), None if classes is None else int(classes[row])

    return Candidates(name, order, _number, read)


def _samples(num_images: int | None, seed: int, note: Warn) -> Candidates:
    """Squares of two photographs: as large as can be without an overlap."""
    try:
        from sklearn.datasets import load_sample_images
    except ImportError:
        raise InputError(
            "`images`: none were given, and the sample photographs need scikit-learn; install it, "
            "or give a folder."
        ) from None
    photos = load_sample_images()
    height, width = photos.images[0].shape[:2]

    def corners(side: int) -> list[tuple[int, int, int]]:
        rows, columns = range(height // side), range(width // side)
        grid = itertools.product(range(len(photos.images)), rows, columns)
        return [(photo, side * row, side * column) for photo, row, column in grid]

    side = _LEAST_SIDE
    while num_images is not None and len(corners(side + 1)) >= num_images:
        side += 1
    places = corners(side)
    names = [Path(path).name for path in photos.filenames]
    note(
        f"No images were given: these are squares of {side} pixels from scikit-learn's sample "
        f"photographs {' and '.join(names)}, which do not overlap. Conclusions need a folder of "
        "photographs like those that the network is for."
    )

    def title(row: int) -> str:
        photo, top, left = places[row]
        return f"{names[photo]} at {left}, {top}"

    def read(row: int) -> tuple[Source, int | None]:
        photo, top, left = places[row]
        return photos.images[photo][top : top + side, left : left + side], None

    return Candidates("scikit-learn's photographs", _shuffled(len(places), seed), title, read)


def _to_array(value: Any, what: str) -> np.ndarray:
    """An array of pixels; an `InputError` for what is none."""
    try:
        array = np.asarray(value)
    except Exception as error:  # ragged lists, tensors of other devices, anything
        reason = " ".join(str(error).split())[:160].rstrip(".")
        raise InputError(f"`images`: {what} is no array: {reason}.") from None
    if array.dtype != np.uint8:
        raise InputError(f"`images`: {what} must be uint8, in 0..255; got {array.dtype}.")
    if array.size == 0:
        raise InputError(f"`images`: {what} holds no pixel: its shape is {list(array.shape)}.")
    return array


def _plain(image: np.ndarray) -> np.ndarray:
    """An image without the axis of its only channel, as Pillow takes it."""
    return image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image


def _number(row: int) -> str:
    return f"image {row}"


def _hint(shape: tuple[int, ...]) -> str:
    if len(shape) >= 3 and shape[-3] in _CHANNELS and shape[-1] not in _CHANNELS:
        return " (channels come last)"
    return " (one image is a list of one)" if len(shape) == 3 else ""


def _kind(value: Any) -> str:
    return "no source" if value is None else type(value).__name__
