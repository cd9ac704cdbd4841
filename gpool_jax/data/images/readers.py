"""Where images come from: each source gives uint8 arrays, checked once, here.

A reader takes the config and a function for warnings, and returns
`images_train`, `labels_train`, `images_test`, `labels_test` and, from an .npz,
perhaps `mean` and `std`.
"""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gpool_jax.config import DataConfig
from gpool_jax.data.cache import cached
from gpool_jax.data.images import encoded
from gpool_jax.data.images.splits import split_off_test
from gpool_jax.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


def tfds_builder(name: str, dir: str | None):
    """Find a prepared data set of TensorFlow Datasets, without TensorFlow or a network.

    Raises:
      InputError: if the set is not prepared in that folder.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise InputError(
            "`data.source` tfds needs tensorflow-datasets; install it, or use --data.source npz."
        ) from None
    # Not about a faster decoder: what is decoded is cached.
    logging.getLogger("absl").setLevel(logging.ERROR)
    where = f"{dir or '~/tensorflow_datasets'}"
    howto = (
        f"`data`: there is no prepared data set {name!r} in {where}; on a machine with a network "
        f"run: python -c \"import tensorflow_datasets as tfds; tfds.builder('{name}', "
        f"data_dir='{where}', file_format='array_record').download_and_prepare()\""
    )
    try:
        # From the files alone: asking for a builder by name may go to the network.
        return tfds.core.load.read_only_builder.builder_from_files(
            name, data_dir=str(Path(where).expanduser())
        )
    except Exception:  # tfds raises several unrelated kinds
        raise InputError(howto) from None


def tfds_source(name: str, dir: str | None, split: str, *, decode: bool = True):
    """Open a prepared split; see `tfds_builder`.

    Raises:
      InputError: if the set, or the split, is not prepared in that folder.
    """
    builder = tfds_builder(name, dir)
    import tensorflow_datasets as tfds

    if split not in builder.info.splits:
        raise InputError(f"`data.name`: {name!r} has no split {split!r}.")
    decoders = None if decode else {"image": tfds.decode.SkipDecoding()}
    try:
        return builder.as_data_source(split=split, decoders=decoders)
    except NotImplementedError:
        raise InputError(
            f"`data`: {builder.info.data_dir} is not in array_record format; prepare it with "
            "file_format='array_record'."
        ) from None


def _read_tfds(config: DataConfig, warn: Callable[[str], None]) -> dict[str, np.ndarray]:
    if config.side is not None:
        _refuse_side(config, "a prepared data set")
    sources = {s: tfds_source(config.name, config.dir, s) for s in ("train", "test")}
    info = sources["train"].dataset_info
    features = info.features
    if "image" not in features or "label" not in features:
        raise InputError(f"`data.name`: {config.name!r} has no `image` and `label`.")

    def decode() -> dict[str, np.ndarray]:
        arrays = {}
        for split, source in sources.items():
            images, labels = [], []
            for start in range(0, len(source), 1000):
                stop = min(start + 1000, len(source))
                for row in source.__getitems__(range(start, stop)):
                    images.append(row["image"])
                    labels.append(row["label"])
            names = [f"{config.name} {split}[{i}]" for i in range(len(images))]
            arrays[f"images_{split}"] = encoded.stack(images, names)
            arrays[f"labels_{split}"] = np.array(labels, np.int32)
        return arrays

    folder = Path(str(info.data_dir))
    return cached(f"tfds {_fingerprint(folder.iterdir())}", decode, config.cache_dir, warn)


def _refuse_side(config: DataConfig, what: str) -> None:
    raise InputError(
        f"`data.side` resizes encoded images (npz, folder) and digits; {what} keeps its size; got "
        f"{config.side}."
    )


def _fingerprint(paths) -> str:
    facts = []
    for path in sorted(paths):
        try:
            stat = path.stat()
        except OSError as error:
            raise InputError(f"`data`: {path} cannot be read: {error.strerror}.") from None
        facts.append((str(path.resolve()), stat.st_size, stat.st_mtime_ns))
    return repr(facts)


def _need_path(config: DataConfig, kind: str) -> Path:
    if config.path is None:
        raise InputError(f"`data.path` must name {kind} for data.source {config.source}; got none.")
    return Path(config.path).expanduser()


def _read_npz(config: DataConfig, warn: Callable[[str], None]) -> dict[str, np.ndarray]:
    path = _need_path(config, "an .npz file")
    if not path.is_file():
        raise InputError(f"`data.path`: there is no file {path}.")
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

    def decode() -> dict[str, np.ndarray]:
        return {
            name: encoded.decode_vector(arrays[name], arrays[f"{name}_offsets"], name, config.side)
            for name in ("images_train", "images_test")
        }

    vectors = [arrays[f"images_{s}"].ndim == 1 for s in ("train", "test")]
    if config.side is not None and not all(vectors):
        _refuse_side(config, "an .npz of pixels")
    if any(vectors):
        missing = [n for n in ("images_train", "images_test") if f"{n}_offsets" not in arrays]
        if missing:
            raise InputError(
                f"`data.path`: {missing[0]} in {path} is a vector of bytes without "
                f"{missing[0]}_offsets."
            )
        identity = f"npz {_fingerprint([path])} side {config.side}"
        arrays |= cached(identity, decode, config.cache_dir, warn)
    for split in ("train", "test"):
        _check_arrays(path, arrays, split)
    return arrays


def _check_arrays(path: Path, arrays: dict[str, np.ndarray], split: str) -> None:
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


def folder_root(config: DataConfig) -> Path:
    """The image folder of a config, which must be there."""
    root = _need_path(config, "a folder with one sub-folder per class")
    if not root.is_dir():
        raise InputError(f"`data.path`: there is no folder {root}.")
    return root


def folder_classes(base: Path) -> list[str]:
    """Names of the sub-folders, sorted; at least two."""
    classes = sorted(p.name for p in base.iterdir() if p.is_dir() and not p.name.startswith("."))
    if len(classes) < 2:
        found = f"only {classes[0]!r}" if classes else "none"
        raise InputError(
            f"`data.path`: {base} needs at least two sub-folders, one per class; has {found}."
        )
    return classes


def _read_folder(config: DataConfig, warn: Callable[[str], None]) -> dict[str, np.ndarray]:
    root = folder_root(config)
    has_splits = (root / "train").is_dir() and (root / "test").is_dir()
    classes = folder_classes(root / "train" if has_splits else root)
    splits = ("train", "test") if has_splits else ("all",)
    files: dict[str, list[tuple[Path, int]]] = {split: [] for split in splits}
    for split in splits:
        for label, name in enumerate(classes):
            folder = (root / split if has_splits else root) / name
            images = [p for p in sorted(folder.glob("*")) if p.suffix.lower() in IMAGE_SUFFIXES]
            if not images:
                raise InputError(
                    f"`data.path`: {folder} holds no images ({', '.join(IMAGE_SUFFIXES)})."
                )
            files[split] += [(p, label) for p in images]

    def decode() -> dict[str, np.ndarray]:
        arrays = {}
        for split, entries in files.items():
            decoded = [encoded.decode_image(p, str(p), config.side) for p, _ in entries]
            arrays[f"images_{split}"] = encoded.stack(decoded, [str(p) for p, _ in entries])
            arrays[f"labels_{split}"] = np.array([label for _, label in entries], np.int32)
        return arrays

    every = [p for entries in files.values() for p, _ in entries]
    identity = f"folder {_fingerprint(every)} side {config.side}"
    arrays = cached(identity, decode, config.cache_dir, warn)
    if has_splits:
        if arrays["images_train"].shape[1:] != arrays["images_test"].shape[1:]:
            raise InputError(
                f"`data.path`: {root} has other sizes in train/ than in test/; set `data.side`."
            )
        return arrays
    return split_off_test(arrays["images_all"], arrays["labels_all"])


def _read_digits(config: DataConfig, warn: Callable[[str], None]) -> dict[str, np.ndarray]:
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
    return split_off_test(images, digits.target.astype(np.int32))


READERS = {"tfds": _read_tfds, "npz": _read_npz, "folder": _read_folder, "digits": _read_digits}
