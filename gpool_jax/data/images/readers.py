"""Read a whole labelled image set into memory: each source gives uint8 arrays, checked here.

A reader takes the config and a function for warnings, and returns
`images_train`, `labels_train`, `images_test`, `labels_test` and, from an .npz,
perhaps `mean` and `std`.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from gpool_jax.config import DataConfig
from gpool_jax.data.cache import cached
from gpool_jax.data.decode import decode_image, find, stat
from gpool_jax.data.images import locate
from gpool_jax.data.split import stratified_rows
from gpool_jax.errors import InputError

# Splits that a source does not bring are drawn once, the same for every run.
_TEST_SPLIT_SEED = 20210

Arrays = dict[str, np.ndarray]
Warn = Callable[[str], None]


def _read_tfds(config: DataConfig, warn: Warn) -> Arrays:
    if config.side is not None:
        raise _side_unused(config, "a prepared data set")
    builder = locate.tfds_builder(config.name, config.dir)
    for split in ("train", "test"):
        locate.check_split(builder, split)

    def decode() -> Arrays:
        arrays = {}
        for split in ("train", "test"):
            source = builder.as_data_source(split=split)
            rows: list[dict] = []
            for start in range(0, len(source), 1000):
                rows += source.__getitems__(range(start, min(start + 1000, len(source))))
            names = [f"{config.name} {split}[{i}]" for i in range(len(rows))]
            arrays[f"images_{split}"] = _stack([row["image"] for row in rows], names)
            arrays[f"labels_{split}"] = np.array([row["label"] for row in rows], np.int32)
        return arrays

    folder = Path(str(builder.info.data_dir))
    return cached(f"tfds {_facts(folder.iterdir())}", decode, config.cache_dir, warn)


def _read_npz(config: DataConfig, warn: Warn) -> Arrays:
    path = find(config, "file", "an .npz file")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception:  # zipfile, zlib and numpy raise many kinds, some with bad advice
        raise InputError(
            f"`data.path`: {path} is not a readable .npz (a zip of plain arrays)."
        ) from None
    for name in ("images_train", "labels_train", "images_test", "labels_test"):
        if name not in arrays:
            raise InputError(
                f"`data.path`: {path} has no array {name!r}; it has "
                f"{', '.join(arrays) or 'no arrays at all'}."
            )

    def decode() -> Arrays:
        return {
            name: unpack(arrays[name], arrays[f"{name}_offsets"], name, config.side)
            for name in ("images_train", "images_test")
        }

    vectors = [arrays[f"images_{s}"].ndim == 1 for s in ("train", "test")]
    if config.side is not None and not all(vectors):
        raise _side_unused(config, "an .npz of pixels")
    if any(vectors):
        missing = [n for n in ("images_train", "images_test") if f"{n}_offsets" not in arrays]
        if missing:
            raise InputError(
                f"`data.path`: {missing[0]} in {path} is a vector of bytes without "
                f"{missing[0]}_offsets."
            )
        identity = f"npz {_facts([path])} side {config.side}"
        arrays |= cached(identity, decode, config.cache_dir, warn)
    for split in ("train", "test"):
        _check_arrays(path, arrays, split)
    return arrays


def _check_arrays(path: Path, arrays: Arrays, split: str) -> None:
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


def _read_folder(config: DataConfig, warn: Warn) -> Arrays:
    root = locate.folder_root(config)
    has_splits = (root / "train").is_dir() and (root / "test").is_dir()
    bases = {s: root / s for s in ("train", "test")} if has_splits else {"all": root}
    classes = locate.folder_classes(next(iter(bases.values())))
    files = {split: locate.class_images(base, classes) for split, base in bases.items()}

    def decode() -> Arrays:
        arrays = {}
        for split, entries in files.items():
            decoded = [decode_image(p, str(p), config.side) for p, _ in entries]
            arrays[f"images_{split}"] = _stack(decoded, [str(p) for p, _ in entries])
            arrays[f"labels_{split}"] = np.array([label for _, label in entries], np.int32)
        return arrays

    every = [p for entries in files.values() for p, _ in entries]
    identity = f"folder {_facts(every)} side {config.side}"
    arrays = cached(identity, decode, config.cache_dir, warn)
    if not has_splits:
        return _split_off_test(arrays["images_all"], arrays["labels_all"])
    if arrays["images_train"].shape[1:] != arrays["images_test"].shape[1:]:
        raise InputError(
            f"`data.path`: {root} has other sizes in train/ than in test/; set `data.side`."
        )
    return arrays


def _read_digits(config: DataConfig, warn: Warn) -> Arrays:
    """1,797 handwritten digits of 8x8 pixels, enlarged to `side` (16) by repetition."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise InputError("`data.source` digits needs scikit-learn; install it.") from None
    side = config.side or 16
    if side % 8:
        raise InputError(f"`data.side` must be a multiple of 8 for digits; got {side}.")
    digits = load_digits()
    images = np.round(digits.images * (255.0 / 16.0)).astype(np.uint8)
    images = images.repeat(side // 8, axis=1).repeat(side // 8, axis=2)[..., None]
    return _split_off_test(images, digits.target.astype(np.int32))


READERS = {"tfds": _read_tfds, "npz": _read_npz, "folder": _read_folder, "digits": _read_digits}


def unpack(
    encoded: np.ndarray, offsets: np.ndarray, name: str, side: int | None = None
) -> np.ndarray:
    """Decode images to uint8 [N, H, W, 3] from concatenated bytes; the inverse of `pack.pack`.

    Args:
      encoded: uint8 [total].
      offsets: int [N + 1]; image i is `encoded[offsets[i]:offsets[i + 1]]`.
      name: name of the array, for errors.
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
    images = [decode_image(raw[edges[i] : edges[i + 1]], n, side) for i, n in enumerate(names)]
    return _stack(images, names)


def _stack(images: Sequence[np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Stack decoded images to uint8 [N, H, W, C]; all must have one size."""
    for image, name in zip(images, names, strict=True):
        if image.shape != images[0].shape:
            raise InputError(
                f"`data`: {name} is {image.shape[1]}x{image.shape[0]} pixels, {names[0]} is "
                f"{images[0].shape[1]}x{images[0].shape[0]}; all must have one size (`data.side` "
                "resizes folders and encoded npz)."
            )
    return np.stack(images)


def _side_unused(config: DataConfig, what: str) -> InputError:
    return InputError(
        f"`data.side` resizes encoded images (npz, folder) and digits; {what} keeps its size; got "
        f"{config.side}."
    )


def _facts(paths: Iterable[Path]) -> str:
    """Paths, sizes and dates of files: other files are decoded anew."""
    return repr([(str(path.resolve()), *stat(path)) for path in sorted(paths)])


def _split_off_test(images: np.ndarray, labels: np.ndarray) -> Arrays:
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
