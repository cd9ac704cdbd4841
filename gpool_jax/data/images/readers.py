"""Read a whole labelled image set into memory: each source gives uint8 arrays, checked here.

A reader takes the config, a function for warnings, and one for those that are noted beside
results too; it returns
`images_train`, `labels_train`, `images_test`, `labels_test` and perhaps, from a folder,
those of `val` and, from an .npz, `mean` and `std`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpool_jax.config import DataConfig
from gpool_jax.data.cache import cached
from gpool_jax.data.decode import decode_all, decode_image
from gpool_jax.data.disk import Warn, check_memory, find, stat
from gpool_jax.data.images import locate, npz
from gpool_jax.data.images.files import ShardFiles, open_shards
from gpool_jax.data.split import stratified_rows
from gpool_jax.errors import InputError

# Splits that a source does not bring are drawn once, the same for every run.
_TEST_SPLIT_SEED = 20210

Arrays = dict[str, np.ndarray]


def _read_tfds(config: DataConfig, warn: Warn, note: Warn) -> Arrays:
    if config.side is not None:
        raise _side_unused(config, "a prepared data set")
    builder = locate.tfds_builder(config.name, config.dir)
    files = {split: open_shards(builder, split) for split in ("train", "test")}
    channels = _channels(builder)

    def decode() -> Arrays:
        arrays = {}
        for split, own in files.items():
            arrays[f"images_{split}"], arrays[f"labels_{split}"] = _read_shards(own, channels)
        return arrays

    folder = Path(str(builder.info.data_dir))
    facts = [(path.name, *stat(path)) for path in sorted(folder.iterdir())]
    return cached(f"tfds {folder} {facts}", decode, config.cache_dir, warn)


def _channels(builder: Any) -> int:
    """Colour channels of a prepared set's images."""
    image = builder.info.features["image"]
    shape, dtype = image.shape, image.np_dtype
    if dtype != np.uint8 or len(shape) != 3 or shape[-1] not in (1, 3):
        raise InputError(
            f"`data.name`: the `image` of {builder.name!r} must be uint8 with 1 or 3 colour "
            f"channels last; got {dtype} {shape}."
        )
    return int(shape[-1])


def _read_shards(files: ShardFiles, channels: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.empty(len(files), np.int32)
    names = [files.name(row) for row in range(len(files))]

    def decode(row: int) -> np.ndarray:
        content, labels[row] = files.read(row)
        return decode_image(content, names[row], channels=channels)

    return decode_all(decode, names), labels


def _read_npz(config: DataConfig, warn: Warn, note: Warn) -> Arrays:
    path = find(config, "file", "an .npz file")
    arrays = npz.read(path)
    if not npz.is_encoded(arrays):
        if config.side is not None:
            raise _side_unused(config, "an .npz of pixels")
        return arrays

    def decode() -> Arrays:
        return {
            name: npz.unpack(
                arrays[name], arrays[f"{name}_offsets"], f"{path}: {name}", config.side
            )
            for name in ("images_train", "images_test")
        }

    identity = f"npz {path.absolute()} {stat(path)} side {config.side}"
    arrays |= cached(identity, decode, config.cache_dir, warn)
    for split in ("train", "test"):
        npz.check_images(path, arrays, split)
    return arrays


def _read_folder(config: DataConfig, warn: Warn, note: Warn) -> Arrays:
    splits = locate.folder_splits(config, note)
    bases = splits or {"all": find(config, "folder", "a folder")}
    classes = locate.folder_classes(bases)
    files = {split: locate.class_images(base, classes, note) for split, base in bases.items()}

    def decode() -> Arrays:
        arrays = {}
        for split, entries in files.items():
            arrays[f"images_{split}"] = _read_images([path for path, _ in entries], config.side)
            arrays[f"labels_{split}"] = np.array([label for _, label in entries], np.int32)
        return arrays

    # Where a link leads to is no part of it: one file may stand in several classes.
    facts = [
        (split, label, path.relative_to(bases[split]).as_posix(), *stat(path))
        for split, entries in files.items()
        for path, label in entries
    ]
    root = next(iter(bases.values())).absolute()
    arrays = cached(f"folder {root} {facts} side {config.side}", decode, config.cache_dir, warn)
    if not splits:
        return _split_off_test(arrays["images_all"], arrays["labels_all"], classes)
    for split in splits:
        if arrays[f"images_{split}"].shape[1:] != arrays["images_train"].shape[1:]:
            raise InputError(
                f"`data.path`: {config.path} has other sizes in {split}/ than in train/; set "
                "`data.side`."
            )
    return arrays


def _read_images(paths: Sequence[Path], side: int | None) -> np.ndarray:
    names = [str(path) for path in paths]
    return decode_all(lambda i: decode_image(paths[i], names[i], side), names)


def _read_digits(config: DataConfig, warn: Warn, note: Warn) -> Arrays:
    """1,797 handwritten digits of 8x8 pixels, enlarged to `side` (16) by repetition."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise InputError("`data.source` digits needs scikit-learn; install it.") from None
    side = config.side or 16
    if side % 8:
        raise InputError(f"`data.side` must be a multiple of 8 for digits; got {side}.")
    digits = load_digits()
    check_memory(digits.images.shape[0] * side**2, f"digits at `data.side` {side}")
    images = np.round(digits.images * (255.0 / 16.0)).astype(np.uint8)
    images = images.repeat(side // 8, axis=1).repeat(side // 8, axis=2)[..., None]
    return _split_off_test(images, digits.target.astype(np.int32), range(10))


READERS = {"tfds": _read_tfds, "npz": _read_npz, "folder": _read_folder, "digits": _read_digits}


def _side_unused(config: DataConfig, what: str) -> InputError:
    return InputError(
        f"`data.side` resizes encoded images (npz, folder) and digits; {what} keeps its size; got "
        f"{config.side}."
    )


def _split_off_test(images: np.ndarray, labels: np.ndarray, classes: Sequence[Any]) -> Arrays:
    """A fifth of each class, the same for every run, for sources without a test split."""
    test = stratified_rows(labels, round(len(labels) * 0.2), seed=_TEST_SPLIT_SEED)
    train = np.setdiff1d(np.arange(len(labels)), test)
    if len(test) == 0:
        raise InputError(f"`data`: {len(labels)} images are too few to set a fifth aside for test.")
    lost = np.setdiff1d(labels, labels[train])
    if len(lost):
        raise InputError(
            f"`data`: class {classes[lost[0]]} has one image, which is taken for test; without "
            "train/ and test/, each class needs at least two."
        )
    return {
        "images_train": images[train],
        "labels_train": labels[train],
        "images_test": images[test],
        "labels_test": labels[test],
    }
