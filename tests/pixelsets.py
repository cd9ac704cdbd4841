"""Small sets of images with pixel labels on disk, in every layout."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpool_jax.config import PixelDataConfig
from gpool_jax.data.pixels.files import IGNORE
from gpool_jax.data.pixels.load import PixelDataset
from gpool_jax.data.pixels.load import load as load_pixels

CLASSES = ("ash", "birch", "cedar")


COLOURS = np.array([[10, 200, 30], [240, 20, 90], [60, 70, 250]], np.uint8)


SIZE = (6, 8)


def scene(number: int, size: tuple[int, int] = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """An image and labels that no other number gives; the colour of a pixel is its class's."""
    labels = np.random.default_rng(number).integers(0, 3, size).astype(np.uint8)
    image = COLOURS[labels]
    labels[0, 0] = IGNORE
    return image, labels


def save(path: Path, array: np.ndarray, mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    if mode == "P":  # its colours are far from its indices
        image.putpalette([255 - i // 3 for i in range(768)])
    image.save(path)
    return path


def describe(root: Path, **content) -> None:
    base = {"name": "trees", "classes": list(CLASSES), "ignore_index": 255}
    (root / "dataset.json").write_text(json.dumps(base | content))


def write_folder(root: Path, *, train=20, val=4, test=5, size=SIZE) -> Path:
    """Numbers go on from split to split; a split of 0 is left out."""
    number = 0
    for split, count in (("train", train), ("val", val), ("test", test)):
        for _ in range(count):
            image, labels = scene(number, size)
            save(root / split / "images" / f"{number:03}.png", image)
            save(root / split / "labels" / f"{number:03}.png", labels)
            number += 1
    describe(root)
    return root


def config(root: Path, **options) -> PixelDataConfig:
    return PixelDataConfig(**({"path": str(root), "cache_dir": str(root / "cache")} | options))


def load(root: Path, seed: int = 0, warn=pytest.fail, **options) -> PixelDataset:
    return load_pixels(config(root, **options), seed=seed, warn=warn)


def load_stream(root: Path, **options) -> PixelDataset:
    return load(root, **({"stream": True, "crop": SIZE, "workers": 0} | options))


def write_cityscapes(root: Path, labels: np.ndarray, train: int = 10) -> Path:
    for split, count in (("train", train), ("val", 2), ("test", 1)):
        for n in range(count):
            city = ("aachen", "bochum")[n % 2]
            stem = f"{city}_{n:06}"
            image = np.full((*labels.shape, 3), n, np.uint8)
            save(root / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png", image)
            base = root / "gtFine" / split / city
            save(base / f"{stem}_gtFine_labelIds.png", labels)
            # Two of the other files that lie there.
            save(base / f"{stem}_gtFine_color.png", image)
            save(base / f"{stem}_gtFine_instanceIds.png", labels.astype(np.uint16))
    return root


def write_voc(base: Path, train: int = 10, val: int = 2) -> Path:
    """Sizes differ; all labels of an image are its number, and its first row is void."""
    lists = base / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for split, numbers in (("train", range(train)), ("val", range(train, train + val))):
        for n in numbers:
            size = (8 + 2 * (n % 3), 10)
            labels = np.full(size, n, np.uint8)
            labels[:2] = 255
            save(base / "JPEGImages" / f"2007_{n:06}.jpg", np.full((*size, 3), 10 * n, np.uint8))
            save(base / "SegmentationClass" / f"2007_{n:06}.png", labels, "P")
        (lists / f"{split}.txt").write_text("".join(f"2007_{n:06}\n" for n in numbers))
    # Neither listed image nor list is used.
    save(base / "JPEGImages" / "2008_000001.jpg", np.zeros((4, 4, 3), np.uint8))
    (lists / "trainaug.txt").write_text("2008_000001\n")
    return base
