"""Images that need no labels: drawn, checked, and cut to the size that a stimulus needs."""

import dataclasses
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpool_jax.data.decode import Box, Source, decode_image
from gpool_jax.data.disk import Warn, in_threads, run_errors
from gpool_jax.data.images import sources
from gpool_jax.data.split import Notes
from gpool_jax.errors import InputError, RunError

# Decoded images are kept up to here: an audit needs each of them several times.
_KEPT_BYTES = 256 * 2**20
_NAMED = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
    """Images to show to a network; decoded batch by batch, so that memory does not grow.

    Attributes:
      name: how to call them all in a report.
      names: names of the images.
      labels: int32 [N], or None.
      notes: what a reader of results on these images must know.
      digests: checksum of each image's decoded pixels.
      read: from a row to what `decode.decode_image` decodes.
    """

    name: str
    names: tuple[str, ...]
    labels: np.ndarray | None
    notes: tuple[str, ...]
    digests: tuple[int, ...]
    read: Callable[[int], Source]
    _kept: dict[Any, np.ndarray] = dataclasses.field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def checksum(self) -> str:
        """Tells these images and labels from any others."""
        content = np.array(self.digests, np.uint32).tobytes()
        labels = b"" if self.labels is None else self.labels.tobytes()
        return f"{zlib.crc32(labels, zlib.crc32(content)):08x}"

    def batch(
        self,
        rows: np.ndarray | Sequence[int],
        size: tuple[int, int],
        *,
        channels: int = 3,
        interpolation: str = "bilinear",
    ) -> np.ndarray:
        """Images of some rows, the largest central part of each that has the wanted shape.

        Args:
          rows: int [B], which images.
          size: (height, width) in pixels that the part is resized to, antialiased.
          channels: 3 for RGB, 1 for grey.
          interpolation: nearest, bilinear, bicubic or lanczos.

        Returns:
          uint8 [B, height, width, channels].

        Raises:
          RunError: naming an image that can no longer be read.
        """
        height, width = size
        look = height, width, channels, interpolation

        def fit(row: int) -> np.ndarray:
            return decode_image(
                self.read(row),
                self.names[row],
                (height, width),
                lambda wide, high: centre(wide, high, size),
                draft=True,
                channels=channels,
                interpolation=interpolation,
            )

        wanted = np.asarray(rows).tolist()
        found = {row: self._kept[row, *look] for row in wanted if (row, *look) in self._kept}
        missing = sorted(set(wanted) - set(found))
        with run_errors():
            found |= zip(missing, in_threads(fit, missing), strict=True)
        room = _KEPT_BYTES - sum(image.nbytes for image in self._kept.values())
        # The first ones stay: to make room for later ones would help no pass over all of them.
        fitting = room // (height * width * channels)
        self._kept.update({(row, *look): found[row] for row in missing[: max(0, fitting)]})
        return np.stack([found[row] for row in wanted])

    def others(self, rows: np.ndarray | Sequence[int]) -> np.ndarray:
        """Another image for each row, int [B], the same whatever the batch."""
        return (np.asarray(rows) + len(self) // 2) % len(self)


def load(
    source: Any,
    num_images: int | None,
    *,
    seed: int,
    labels: Any | None = None,
    warn: Warn = print,
) -> Images:
    """Draw images, and decode each once to know that it can be read.

    Args:
      source: a folder (any tree, every format of `decode.IMAGE_SUFFIXES`); an array uint8
        [N, H, W] or [N, H, W, C]; an iterable of images [H, W] or [H, W, C], or of batches
        [B, H, W, C], of any sizes; a split of a data set; or None for parts of scikit-learn's
        two sample photographs. C is 1 (grey), 3 (RGB) or 4 (RGBA, shown on white).
      num_images: number of images; None: all. An iterator gives its first ones.
      seed: seed of the draw; from a split of classes, each in its share.
      labels: int [N], for arrays only; a split brings its own, where it has one for each image.
      warn: receives one line about images that are left out, missing or alike, which is also in
        the notes.

    Raises:
      InputError: if there are not two different images that can be read, or the source is
        none of these.
    """
    if num_images is not None and num_images < 2:
        raise InputError(f"`num_images` must be at least 2; got {num_images}.")
    note = Notes(warn)
    found = sources.find(source, num_images, seed=seed, labels=labels, note=note)
    taken, broken = _take(found, num_images)
    if len({image.digest for image in taken}) < 2:
        kind = "is one image" if len(taken) == 1 else f"are {len(taken)} images, all alike"
        few = f"there {kind}" if taken else f"none can be read: {_first(broken)}"
        raise InputError(f"`images`: in {found.name}, {few}; at least two different are needed.")
    if broken:
        tried = len(taken) + len(broken)
        note(
            f"`images`: {len(broken)} of {tried} images of {found.name} are left out: "
            f"{_first(broken)}."
        )
    if num_images is not None and len(taken) < num_images:
        note(f"`images`: {num_images} were asked for; there are {len(taken)} in {found.name}.")
    taken.sort(key=lambda image: image.number)
    names = tuple(found.title(image.number) for image in taken)
    _note_copies(taken, names, note)
    labelled = all(image.label is not None for image in taken)
    return Images(
        name=found.name,
        names=names,
        labels=np.array([image.label for image in taken], np.int32) if labelled else None,
        notes=tuple(note.lines),
        digests=tuple(image.digest for image in taken),
        read=lambda row: found.read(taken[row].number)[0],
    )


def centre(wide: int, high: int, size: tuple[int, int]) -> Box:
    """The largest part in the middle of an image that has the shape of (height, width).

    >>> centre(8, 6, (2, 2))
    (1.0, 0.0, 7.0, 6.0)
    """
    height, width = size
    scale = min(wide / width, high / height)
    # Not beyond the image by a rounding error.
    part = min(wide, scale * width), min(high, scale * height)
    left, top = (wide - part[0]) / 2, (high - part[1]) / 2
    return left, top, left + part[0], top + part[1]


@dataclasses.dataclass(frozen=True)
class _Taken:
    number: int
    label: int | None
    digest: int


def _take(found: sources.Candidates, num_images: int | None) -> tuple[list[_Taken], list[str]]:
    """Take images in their order until there are enough; also what is wrong with the others."""

    def look(number: int) -> _Taken | str:
        try:
            source, label = found.read(number)
            pixels = decode_image(source, found.title(number))
        except (InputError, RunError) as error:
            return str(error).removeprefix("`data`: ").rstrip(".")
        shape = zlib.crc32(repr(pixels.shape).encode())
        return _Taken(number, label, zlib.crc32(pixels.data, shape))

    taken: list[_Taken] = []
    broken: list[str] = []
    order = found.order.tolist()
    wanted = len(order) if num_images is None else num_images
    while order and len(taken) < wanted:
        now, order = order[: wanted - len(taken)], order[wanted - len(taken) :]
        for image in in_threads(look, now):
            if isinstance(image, str):
                broken.append(image)
            else:
                taken.append(image)
    return taken, broken


def _note_copies(taken: list[_Taken], names: tuple[str, ...], note: Warn) -> None:
    """Say which images show the same as another one."""
    first: dict[int, str] = {}
    copies = []
    for image, name in zip(taken, names, strict=True):
        original = first.setdefault(image.digest, name)
        if original != name:
            copies.append(f"{name} is {original}")
    if copies:
        note(
            f"`images`: {len(copies)} of {len(taken)} are copies of others, which nothing can tell "
            f"apart: {_first(copies)}."
        )


def _first(words: list[str]) -> str:
    """The first few of several reasons, and the number of the others."""
    rest = f" (and {len(words) - _NAMED} more)" if len(words) > _NAMED else ""
    return "; ".join(words[:_NAMED]) + rest
