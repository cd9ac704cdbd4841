"""Splits of a labelled image set, drawn so that every class has its share."""

import dataclasses
import zlib
from typing import Any

import numpy as np

from gpool_jax.errors import InputError

# Splits that a source does not bring are drawn once, the same for every run.
_TEST_SPLIT_SEED = 20210
# Bytes: XLA's for CPU buffers.
_ALIGNMENT = 64


def aligned(values: np.ndarray) -> np.ndarray:
    """The same values where a CPU device can use them as they lie: at a multiple of 64 bytes.

    Anywhere else, JAX would hold a copy for every device.
    """
    if values.ctypes.data % _ALIGNMENT == 0 and values.flags.c_contiguous:
        return values
    room = np.empty(values.nbytes + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    copy = room[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


@dataclasses.dataclass(frozen=True)
class Split:
    """Images uint8 [N, H, W, C] and labels int32 [N]; not to be written to: see `aligned`."""

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self):
        """Move the images, if need be."""
        object.__setattr__(self, "images", aligned(self.images))

    def __len__(self) -> int:
        """N."""
        return len(self.labels)

    @property
    def checksum(self) -> str:
        """Tells these images and labels from any others."""
        labels = zlib.crc32(np.ascontiguousarray(self.labels).data)
        return f"{zlib.crc32(np.ascontiguousarray(self.images).data, labels):08x}"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    def take(self, rows: np.ndarray) -> "Split":
        """The given rows, in order."""
        return Split(self.images[rows], self.labels[rows])

    def batch(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """`images` [B, H, W, C] and `labels` [B] of the given rows, as `Records` gives them."""
        return {"images": self.images[index], "labels": self.labels[index]}

    def load(self) -> "Split":
        """Itself: it is in memory. `Records` decode themselves here."""
        return self


def draw_rows(split: Any, count: int | None, *, seed: int) -> np.ndarray:
    """Draw `count` rows of a split, ascending; None: all.

    Every class has its share where labels are in memory (`Split`); of `Records`,
    whose labels lie on disk beside the images, the draw is plain.
    """
    if count is None or count >= len(split):
        return np.arange(len(split))
    if isinstance(split, Split):
        return stratified_rows(split.labels, count, seed=seed)
    return np.sort(np.random.default_rng(seed).permutation(len(split))[:count])


def stratified_rows(labels: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """Draw `count` rows, every class in its share (to within one), ascending."""
    if count >= len(labels):
        return np.arange(len(labels))
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(labels))
    # The rank of a row within its class over the class's size: taking the
    # smallest takes the same share of every class.
    rank = np.empty(len(labels))
    for label in np.unique(labels):
        rows = order[labels[order] == label]
        rank[rows] = (np.arange(len(rows)) + generator.random()) / len(rows)
    return np.sort(np.argsort(rank, kind="stable")[:count])


def split_off_test(images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """A fifth of each class, the same for every run, for sources without a test split."""
    test = stratified_rows(labels, round(len(labels) * 0.2), seed=_TEST_SPLIT_SEED)
    train = np.setdiff1d(np.arange(len(labels)), test)
    if len(test) == 0:
        raise InputError(f"`data`: {len(labels)} images are too few to set a fifth aside for test.")
    return {
        "images_train": images[train],
        "labels_train": labels[train],
        "images_test": images[test],
        "labels_test": labels[test],
    }
