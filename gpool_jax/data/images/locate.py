"""Find labelled image sets on disk, without reading them."""

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gpool_jax.config import DataConfig, paths
from gpool_jax.data.decode import IMAGE_SUFFIXES
from gpool_jax.data.disk import Warn, find, several
from gpool_jax.errors import InputError

_SPLITS = ("train", "val", "test")
# Keys under which features.json names the class that reads a feature, new and old.
_CLASS_KEYS = ("pythonClassName", "python_class_name", "type")


def folder_splits(config: DataConfig, warn: Warn) -> dict[str, Path]:
    """The folders of `train`, `test` and perhaps `val`; none if the classes lie there directly.

    Args:
      config: its `path` must be there.
      warn: receives one line if val/ stands in for test/, or a folder beside them is left out.

    Raises:
      InputError: if there is one of these folders alone.
    """
    root = find(config, "folder", "a folder with one sub-folder per class")
    folders = _folders(root)
    splits = {name: root / name for name in _SPLITS if name in folders}
    if "train" in splits and len(splits) > 1:
        if others := [f"{name}/" for name in folders if name not in splits]:
            warn(
                f"`data.path`: {root} is read without {several(others)}; splits are train/, val/ "
                "and test/."
            )
        if "test" not in splits:
            warn(
                f"`data.path`: {root} has no test/; val/ is the test split, and a tenth of train/ "
                "validates."
            )
            splits["test"] = splits.pop("val")
        return splits
    if splits and len(splits) == len(folders):
        raise InputError(
            f"`data.path`: {root} needs train/ and test/ (or val/); it has only "
            f"{' and '.join(f'{name}/' for name in splits)}."
        )
    return {}


def folder_classes(splits: dict[str, Path]) -> list[str]:
    """Names of the sub-folders of train/, sorted; at least two, and the same in every split."""
    base = next(iter(splits.values()))
    classes = _folders(base)
    if len(classes) < 2:
        found = f"only {classes[0]!r}" if classes else "none"
        raise InputError(
            f"`data.path`: {base} needs at least two sub-folders, one per class; has {found}."
        )
    for name in classes:
        if name != name.encode(errors="replace").decode():
            raise InputError(f"`data.path`: class {name!a} in {base} is not UTF-8; rename it.")
    for other in splits.values():
        if strange := sorted(set(_folders(other)) - set(classes)):
            raise InputError(f"`data.path`: {other / strange[0]} is no class of {base.name}/.")
    return classes


def class_images(base: Path, classes: Sequence[str], warn: Warn) -> list[tuple[Path, int]]:
    """List the image files of all classes with their labels; every class must have some.

    Folders within a class are searched too. `warn` receives one line if other files lie there.
    """
    found = []
    others = [path for path in sorted(base.iterdir()) if not path.is_dir() and _is_noticed(path)]
    for label, name in enumerate(classes):
        folder = base / name
        if not folder.is_dir():
            raise InputError(f"`data`: the folder {folder} of class {name} is missing.")
        images, left_out = image_files(folder)
        others += left_out
        if not images:
            raise InputError(
                f"`data.path`: {folder} holds no images ({', '.join(IMAGE_SUFFIXES)})."
            )
        found += [(path, label) for path in images]
    if others:
        warn(
            f"`data.path`: files below {base} that are left out, since they are no images of a "
            f"class ({', '.join(IMAGE_SUFFIXES)}): {several(others)}."
        )
    return found


def image_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """List the image files of a folder at any depth, sorted by path.

    Returns:
      The images, and what is left out: other files, and links to folders, which may lead round
      in circles; hidden ones only where they are images.
    """
    files, links = _below(folder)
    images = {p for p in files if p.suffix.lower() in IMAGE_SUFFIXES and p.name[0] != "."}
    others = links + sorted(set(files) - images)
    return sorted(images), [path for path in others if _is_noticed(path)]


def _is_noticed(path: Path) -> bool:
    """Whether a file that is no image is worth a word: systems leave hidden files everywhere."""
    return path.suffix.lower() in IMAGE_SUFFIXES or path.name[0] != "."


def _folders(base: Path) -> list[str]:
    """Names of the folders in a folder, sorted, without hidden ones."""
    return sorted(p.name for p in base.iterdir() if p.is_dir() and not p.name.startswith("."))


def _below(folder: Path) -> tuple[list[Path], list[Path]]:
    """Files at any depth, and links to folders, which may lead round in circles."""
    found: list[Path] = []
    links: list[Path] = []
    for base, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(base, name) for name in folders]
        links += [path for path in paths if path.is_symlink()]
        found += [Path(base, name) for name in files]
    return found, links


def base_name(name: str) -> str:
    """Name of a TensorFlow Datasets set without its configuration and version.

    >>> base_name("cifar10:3.0.2"), base_name("imagenet2012/raw")
    ('cifar10', 'imagenet2012')
    """
    return name.split(":")[0].split("/")[0]


def tfds_builder(name: str, dir: str | None) -> Any:
    """Find a prepared data set of TensorFlow Datasets, without TensorFlow or a network.

    Args:
      name: name of the set, perhaps with a configuration and a version.
      dir: folder that holds prepared sets; None: $TFDS_DATA_DIR or ~/tensorflow_datasets.

    Raises:
      InputError: if no set with images and labels is prepared in that folder, if it
        is in another format than array_record, or if its files name code of others.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise InputError(
            "`data.source` tfds needs tensorflow-datasets; install it, or use --data.source npz."
        ) from None
    # Silences advice about a faster decoder: what is decoded is cached.
    logging.getLogger("absl").setLevel(logging.ERROR)
    where = dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    # It may be an address.
    data_dir = str(paths.expand(where)) if where.startswith("~") else where
    # From the files alone: asking for a builder by name may go to the network.
    find_folder = tfds.core.load.read_only_builder._find_builder_dir
    try:
        folder = find_folder(name, data_dir=data_dir)
    except Exception:  # tfds raises several unrelated kinds
        folder = None
    if folder is None:
        raise InputError(
            f"`data`: there is no prepared data set {name!r} in {where}; on a machine with a "
            f'network run: python -c "import tensorflow_datasets as tfds; tfds.builder({name!r}, '
            f"data_dir='{where}', file_format='array_record').download_and_prepare()\""
        )
    builder = read_builder(str(folder))
    if not {"image", "label"} <= set(builder.info.features):
        raise InputError(f"`data.name`: {name!r} has no `image` and `label`.")
    if tfds.core.FileFormat.ARRAY_RECORD not in builder.info.available_file_formats():
        raise InputError(
            f"`data`: {builder.info.data_dir} is not in array_record format; prepare it with "
            "file_format='array_record'."
        )
    return builder


def read_builder(folder: str) -> Any:
    """Open the prepared data set in a folder.

    TensorFlow Datasets imports the modules that features.json names, so that a folder from
    elsewhere could run any code: all but its own are refused before.

    Raises:
      InputError: naming the file that names such code or cannot be read.
    """
    import tensorflow_datasets as tfds

    path = Path(folder) / "features.json"
    try:
        named = list(_class_names(json.loads(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"`data`: {path} cannot be read: {reason}.") from None
    strange = [name for name in named if not name.startswith("tensorflow_datasets.")]
    if strange:
        raise InputError(
            f"`data`: {path} names the class {strange[0]!r}; only those of tensorflow_datasets "
            "are read, because to read another is to run its code."
        )
    try:
        return tfds.core.load.read_only_builder.builder_from_directory(folder)
    except Exception as error:  # tfds raises several unrelated kinds
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise InputError(f"`data`: {folder} is no readable data set: {reason}.") from None


def _class_names(content: Any) -> Iterator[str]:
    """Every class that the content of features.json names, at any depth."""
    if isinstance(content, dict):
        for key, value in content.items():
            if isinstance(value, str) and key in _CLASS_KEYS:
                yield value
            yield from _class_names(value)
    elif isinstance(content, list):
        for item in content:
            yield from _class_names(item)
    elif isinstance(content, str) and content.lstrip()[:1] in ("{", "["):
        # Some features write what they hold as text: JSON within JSON.
        with contextlib.suppress(json.JSONDecodeError):
            yield from _class_names(json.loads(content))


def check_split(builder: Any, split: str) -> None:
    """Raise unless a prepared data set has a split."""
    if split not in builder.info.splits:
        raise InputError(f"`data.name`: {builder.name!r} has no split {split!r}.")
