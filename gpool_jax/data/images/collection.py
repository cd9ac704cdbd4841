"""Images without labels, of any size: from a folder of any tree, or from arrays."""

import functools
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from gpool_jax.config import paths
from gpool_jax.data.decode import IMAGE_SUFFIXES, open_picture, to_rgb
from gpool_jax.data.disk import in_threads
from gpool_jax.errors import InputError

Warn = Callable[[str], None]

# Shorter side that images are kept at: larger ones are decoded once, and made smaller.
_KEPT_SIDE = 512
# Images that are kept decoded, about 1 GiB; of more, the others are decoded again when needed.
_KEPT_IMAGES = 1_000
_NAMED = 3
# Crops of the sample photographs, where no images are given.
_SAMPLES = 64


class Collection:
    """N images, made as large as they are asked for.

    Attributes:
      names: how to call each image.
      labels: int [N], or None.
      notes: what a reader must know of the images, in sentences.
    """

    def __init__(
        self,
        read: Callable[[int], Any],
        names: Sequence[str],
        *,
        labels: np.ndarray | None = None,
        notes: Sequence[str] = (),
    ):
        """`read` gives image i as a Pillow image of mode RGB."""
        self.names, self.labels, self.notes = tuple(names), labels, list(notes)
        self._read = functools.lru_cache(maxsize=_KEPT_IMAGES)(read)

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: np.ndarray) -> Self:
        """The given images, in order."""
        chosen = [int(row) for row in rows]
        labels = None if self.labels is None else self.labels[chosen]
        names = [self.names[row] for row in chosen]
        return type(self)(lambda i: self._read(chosen[i]), names, labels=labels, notes=self.notes)

    def batch(self, rows: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Some images, resized to cover (height, width) and cropped about their centres.

        Returns:
          uint8 [B, H, W, 3].
        """
        from PIL import Image, ImageOps

        height, width = size

        def make(row: int) -> np.ndarray:
            image = self._read(int(row))
            if image.size != (width, height):
                image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
            return np.asarray(image)

        return np.stack(in_threads(make, rows))

    @property
    def checksum(self) -> str:
        """Tells these images from any others, as far as small copies of them show."""
        small = self.batch(np.arange(len(self)), (16, 16))
        return f"{zlib.crc32(small.tobytes()):08x}"


def load(folder: str | None, count: int, *, seed: int, warn: Warn = print) -> Collection:
    """Draw images from a folder of any tree; None: from two sample photographs.

    Images that cannot be read are named, counted, and left out; others are drawn for them.

    Raises:
      InputError: if the folder is not there, or no image in it can be read.
    """
    if folder is None:
        return _samples(count, seed)
    root = paths.expand(folder)
    if not root.is_dir():
        raise InputError(f"`images`: there is no folder {root}.")
    found = sorted(path for path in _walk(root))
    if not found:
        raise InputError(
            f"`images`: there is no image ({', '.join(IMAGE_SUFFIXES)}) in {root} or below it."
        )
    order = np.random.default_rng(seed).permutation(len(found))
    chosen: list[Path] = []
    broken: list[str] = []
    for row in order:
        if len(chosen) == count:
            break
        problem = _problem(found[row])
        (broken.append(problem) if problem else chosen.append(found[row]))
    if broken:
        named = "; ".join(broken[:_NAMED])
        rest = f"; and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
        count_of = f"{len(broken)} of {len(found):,}"
        warn(f"`images`: {count_of} cannot be read and are left out: {named}{rest}.")
    if not chosen:
        raise InputError(f"`images`: none of the {len(found):,} images in {root} can be read.")
    if len(chosen) < count:
        warn(f"`images`: {count:,} are asked for, and {root} has {len(chosen):,}: all are used.")
    chosen.sort()
    names = [str(path.relative_to(root)) for path in chosen]
    images = Collection(lambda i: _open(chosen[i]), names)
    images.notes.append(f"{len(images):,} images of {root}, of {len(found):,}.")
    return _without_twins(images, warn)


def from_arrays(arrays: Iterable[Any], *, labels: Any = None, warn: Warn = print) -> Collection:
    """Make a collection of arrays uint8 [H, W, 3] or [H, W], or one array of all [N, H, W, 3].

    Raises:
      InputError: if one is of another kind.
    """
    from PIL import Image

    images = []
    for number, array in enumerate(arrays):
        value = np.asarray(array)
        if value.ndim == 3 and value.shape[-1] == 1:
            value = value[..., 0]
        if value.dtype != np.uint8 or value.ndim not in (2, 3) or value.shape[2:] not in ((), (3,)):
            hint = " (channels come last)" if value.ndim == 3 and value.shape[0] == 3 else ""
            raise InputError(
                f"`images`: image {number} must be uint8 [H, W, 3] or [H, W]; got "
                f"{value.dtype} {list(value.shape)}{hint}."
            )
        images.append(Image.fromarray(value).convert("RGB"))
    if not images:
        raise InputError("`images`: there are none.")
    known = None if labels is None else np.asarray(labels)
    if known is not None and known.shape != (len(images),):
        raise InputError(f"`labels` must be [{len(images)}], one a image; got {list(known.shape)}.")
    names = [f"image {number}" for number in range(len(images))]
    found = Collection(lambda i: images[i], names, labels=known)
    found.notes.append(f"{len(found):,} images of arrays.")
    return _without_twins(found, warn)


def _walk(root: Path) -> Iterable[Path]:
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in names:
            if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."):
                yield Path(folder) / name


def _open(path: Path) -> Any:
    """A picture as it looks, its shorter side at most `_KEPT_SIDE`."""

    def use(file: Any) -> Any:
        from PIL import Image

        if file.format == "JPEG":
            file.draft("RGB", (2 * _KEPT_SIDE, 2 * _KEPT_SIDE))
        image = to_rgb(file, str(path))
        scale = _KEPT_SIDE / min(image.size)
        if scale >= 1:
            return image.copy()
        size = tuple(max(1, round(side * scale)) for side in image.size)
        return image.resize(size, Image.Resampling.BICUBIC)

    return open_picture(path, str(path), use)


def _problem(path: Path) -> str:
    """Why a picture cannot be read; empty if it can."""
    try:
        _open(path)
    except InputError as error:
        return str(error).removeprefix("`data`: ").rstrip(".")
    return ""


def _without_twins(images: Collection, warn: Warn) -> Collection:
    """Leave out copies: which image a vector is of would have no answer."""
    small = images.batch(np.arange(len(images)), (16, 16)).reshape(len(images), -1)
    _, first = np.unique(small, axis=0, return_index=True)
    if len(first) == len(images):
        return images
    warn(f"`images`: {len(images) - len(first)} are copies of others and are left out.")
    return images.take(np.sort(first))


def _samples(count: int, seed: int) -> Collection:
    from PIL import Image
    from sklearn.datasets import load_sample_images

    photographs = [Image.fromarray(array) for array in load_sample_images().images]
    rng = np.random.default_rng(seed)
    boxes = []
    for number in range(min(count, _SAMPLES)):
        width, height = photographs[number % 2].size
        side = int(rng.integers(height // 4, height // 2))
        left, top = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
        boxes.append((left, top, left + side, top + side))
    names = [f"crop {number}" for number in range(len(boxes))]
    images = Collection(lambda i: photographs[i % 2].crop(boxes[i]), names)
    images.notes.append(
        f"No images were given: {len(images)} crops of scikit-learn's two sample photographs, "
        "which overlap. Give your own with --images."
    )
    return images
