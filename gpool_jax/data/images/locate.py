"""Find labelled image sets on disk, without reading them."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpool_jax.config import DataConfig
from gpool_jax.data.decode import IMAGE_SUFFIXES, find
from gpool_jax.errors import InputError


def folder_root(config: DataConfig) -> Path:
    """The image folder of a config, which must be there."""
    return find(config, "folder", "a folder with one sub-folder per class")


def folder_classes(base: Path) -> list[str]:
    """Names of the sub-folders, sorted; at least two."""
    classes = sorted(p.name for p in base.iterdir() if p.is_dir() and not p.name.startswith("."))
    if len(classes) < 2:
        found = f"only {classes[0]!r}" if classes else "none"
        raise InputError(
            f"`data.path`: {base} needs at least two sub-folders, one per class; has {found}."
        )
    return classes


def class_images(base: Path, classes: Sequence[str]) -> list[tuple[Path, int]]:
    """List the image files of all classes with their labels; every class must have some."""
    found = []
    for label, name in enumerate(classes):
        folder = base / name
        if not folder.is_dir():
            raise InputError(f"`data`: the folder {folder} of class {name} is missing.")
        images = [p for p in sorted(folder.glob("*")) if p.suffix.lower() in IMAGE_SUFFIXES]
        if not images:
            raise InputError(
                f"`data.path`: {folder} holds no images ({', '.join(IMAGE_SUFFIXES)})."
            )
        found += [(path, label) for path in images]
    return found


def tfds_builder(name: str, dir: str | None) -> Any:
    """Find a prepared data set of TensorFlow Datasets, without TensorFlow or a network.

    Raises:
      InputError: if no set with images and labels is prepared in that folder, or if it
        is in another format than array_record.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise InputError(
            "`data.source` tfds needs tensorflow-datasets; install it, or use --data.source npz."
        ) from None
    # Silences advice about a faster decoder: what is decoded is cached.
    logging.getLogger("absl").setLevel(logging.ERROR)
    where = f"{dir or '~/tensorflow_datasets'}"
    howto = (
        f"`data`: there is no prepared data set {name!r} in {where}; on a machine with a network "
        f"run: python -c \"import tensorflow_datasets as tfds; tfds.builder('{name}', "
        f"data_dir='{where}', file_format='array_record').download_and_prepare()\""
    )
    try:
        # From the files alone: asking for a builder by name may go to the network.
        builder = tfds.core.load.read_only_builder.builder_from_files(
            name, data_dir=str(Path(where).expanduser())
        )
    except Exception:  # tfds raises several unrelated kinds
        raise InputError(howto) from None
    if not {"image", "label"} <= set(builder.info.features):
        raise InputError(f"`data.name`: {name!r} has no `image` and `label`.")
    if tfds.core.FileFormat.ARRAY_RECORD not in builder.info.available_file_formats():
        raise InputError(
            f"`data`: {builder.info.data_dir} is not in array_record format; prepare it with "
            "file_format='array_record'."
        )
    return builder


def check_split(builder: Any, split: str) -> None:
    """Raise unless a prepared data set has a split."""
    if split not in builder.info.splits:
        raise InputError(f"`data.name`: {builder.name!r} has no split {split!r}.")
