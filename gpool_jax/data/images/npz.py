"""Image sets in one .npz: known arrays alone are read, and their headers before their content."""

import math
import zipfile
from pathlib import Path

import numpy as np

from gpool_jax.data import statistics
from gpool_jax.data.decode import decode_all, decode_image
from gpool_jax.data.disk import check_memory
from gpool_jax.errors import InputError

Arrays = dict[str, np.ndarray]

_NEEDED = ("images_train", "labels_train", "images_test", "labels_test")
_OFFSETS = ("images_train_offsets", "images_test_offsets")
_STATISTICS = ("mean", "std")


def read(path: Path) -> Arrays:
    """Read the arrays of an image set that are in an .npz, and no others.

    Returns:
      Images as uint8 [N, H, W, C], or as vectors of encoded bytes with their offsets
      (see `unpack`); labels; and perhaps `mean` and `std` [C].

    Raises:
      InputError: naming the file and the array that is missing, of another shape or type, or
        too large for this machine's memory; before it is read.
    """
    try:
        with zipfile.ZipFile(path) as file:
            members = {name.removesuffix(".npy"): name for name in file.namelist()}
            known = [n for n in (*_NEEDED, *_OFFSETS, *_STATISTICS) if n in members]
            _check(path, {name: _header(file, members[name]) for name in known}, list(members))
            arrays = {}
            for name in known:
                with file.open(members[name]) as member:
                    arrays[name] = np.lib.format.read_array(member, allow_pickle=False)
    except InputError:
        raise
    except Exception:  # zipfile, zlib and numpy raise many kinds, some with bad advice
        raise InputError(
            f"`data.path`: {path} is not a readable .npz (a zip of plain arrays)."
        ) from None
    channels = 3 if is_encoded(arrays) else arrays["images_train"].shape[-1]
    for name in set(_STATISTICS) & set(arrays):
        statistics.check(name, arrays[name], channels, f"`data.path`: in {path}, ")
    return arrays


def check_images(path: Path, arrays: Arrays, split: str) -> None:
    """Raise unless the images of a split are decoded, and have a label each."""
    images, labels = arrays[f"images_{split}"], arrays[f"labels_{split}"]
    what = None
    if images.ndim != 4 or images.dtype != np.uint8:
        what = f"images_{split} must be uint8 [N, H, W, C]; got {images.dtype} {images.shape}"
    elif images.size == 0:
        what = f"images_{split} holds no image: its shape is {images.shape}"
    elif images.shape[-1] not in (1, 3):
        what = f"images_{split} must have 1 or 3 colour channels last; got {images.shape}"
    elif images.shape[1:] != arrays["images_train"].shape[1:]:
        what = f"images_{split} {images.shape} differ in size from images_train"
    elif labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        what = f"labels_{split} must be integers [{len(images)}]; got {labels.dtype} {labels.shape}"
    if what is not None:
        raise InputError(f"`data.path`: in {path}, {what}.")


def unpack(encoded: np.ndarray, offsets: np.ndarray, name: str, side: int | None) -> np.ndarray:
    """Decode images to uint8 [N, H, W, 3] from concatenated bytes; the inverse of `pack.pack`.

    Args:
      encoded: uint8 [total].
      offsets: int [N + 1]; image i is `encoded[offsets[i]:offsets[i + 1]]`.
      name: file and array, for errors.
      side: resize to this side.
    """
    edges = np.asarray(offsets)
    monotone = edges.ndim == 1 and edges.size >= 2 and np.issubdtype(edges.dtype, np.integer)
    if not monotone or edges[0] != 0 or edges[-1] != encoded.size or np.any(np.diff(edges) <= 0):
        raise InputError(
            f"`data.path`: {name}_offsets must rise from 0 to the {encoded.size} bytes of {name}, "
            "one more entry than images."
        )
    raw = encoded.tobytes()
    names = [f"{name}[{i}]" for i in range(edges.size - 1)]
    return decode_all(lambda i: decode_image(raw[edges[i] : edges[i + 1]], names[i], side), names)


def _check(path: Path, arrays: Arrays, present: list[str]) -> None:
    """Check types and shapes of the arrays of a file, of which nothing but these is known yet."""
    for name in _NEEDED:
        if name not in arrays:
            raise InputError(
                f"`data.path`: {path} has no array {name!r}; it has "
                f"{', '.join(present) or 'no arrays at all'}."
            )
    for name, array in arrays.items():
        if array.dtype.kind not in "iuf":
            raise InputError(
                f"`data.path`: in {path}, {name} must hold numbers; got {array.dtype}."
            )
        if name in _STATISTICS and array.size > 3:
            raise InputError(
                f"`data.path`: in {path}, {name} must be a number for each colour channel; got "
                f"{array.dtype} {array.shape}."
            )
    if is_encoded(arrays):
        for name in ("images_train", "images_test"):
            if arrays[name].ndim != 1 or arrays[name].dtype != np.uint8:
                raise InputError(
                    f"`data.path`: in {path}, {name} must be a vector of bytes like that of the "
                    f"other split; got {arrays[name].dtype} {arrays[name].shape}."
                )
            if f"{name}_offsets" not in arrays:
                raise InputError(
                    f"`data.path`: {name} in {path} is a vector of bytes without {name}_offsets."
                )
    else:
        for split in ("train", "test"):
            check_images(path, arrays, split)
    check_memory(sum(math.prod(a.shape) * a.itemsize for a in arrays.values()), str(path))


def is_encoded(arrays: Arrays) -> bool:
    """Whether the images of an .npz are vectors of bytes."""
    return any(arrays[name].ndim == 1 for name in ("images_train", "images_test"))


def _header(file: zipfile.ZipFile, member: str) -> np.ndarray:
    """An array of the type and shape of one in the file, whose zeros take no memory."""
    with file.open(member) as stream:
        # Later versions are for names of fields and headers of gigabytes.
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError("not a plain array")
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    return np.broadcast_to(np.zeros((), dtype), shape)
