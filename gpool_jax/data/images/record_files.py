"""Encoded images on disk, one read at a time: TFDS shards, and folders of image files.

Both open by names and sizes alone, say before any training what is missing, and
can be sent to another process: what is open stays behind and is opened anew there.
"""

import bisect
import dataclasses
import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from gpool_jax.errors import InputError, RunError


class RecordFiles(Protocol):
    """The encoded images of one split on disk."""

    @property
    def num_classes(self) -> int:
        """Labels are in [0, num_classes)."""

    @property
    def identity(self) -> list[tuple[str, int]]:
        """Names and sizes in bytes of what is on disk: tells this split from another."""

    def __len__(self) -> int:
        """Number of images."""

    def name(self, row: int) -> str:
        """How to call one image in an error."""

    def read(self, row: int) -> tuple[bytes, int]:
        """The encoded bytes of one image, and its label."""


@dataclasses.dataclass
class ShardFiles:
    """A prepared split of TensorFlow Datasets, in array_record format.

    Attributes:
      folder: of the prepared version, with dataset_info.json and the shards.
      split: e.g. train.
      shards: (path, number of records) of each.
      num_classes: of the label feature.
    """

    folder: str
    split: str
    shards: list[tuple[str, int]]
    num_classes: int

    def __post_init__(self):
        """Nothing is open yet."""
        self._starts = [0, *itertools.accumulate(count for _, count in self.shards)]
        self._readers: dict[int, Any] = {}
        self._decode: Callable[[bytes], dict[str, Any]] | None = None
        self._lock = threading.Lock()

    def __reduce__(self):
        """Open files and locks cannot be sent to another process."""
        return ShardFiles, (self.folder, self.split, self.shards, self.num_classes)

    def __len__(self) -> int:
        """Number of images, of all shards."""
        return self._starts[-1]

    @property
    def identity(self) -> list[tuple[str, int]]:
        """Name and size of each shard."""
        return [(Path(path).name, Path(path).stat().st_size) for path, _ in self.shards]

    def name(self, row: int) -> str:
        """The record's number in its shard."""
        shard, record = self._locate(row)
        return f"record {record} of {self.shards[shard][0]}"

    def read(self, row: int) -> tuple[bytes, int]:
        """Read one record.

        Raises:
          RunError: naming the record, if its shard is damaged there.
        """
        shard, record = self._locate(row)
        try:
            content = self._reader(shard).read([record])[0]
            # A damaged file may answer with nothing instead of an error.
            if not content:
                raise ValueError("the record is empty")
            example = self._parse(content)
            return bytes(example["image"]), int(example["label"])
        except Exception as error:  # array_record and protobuf raise several kinds
            reason = " ".join(str(error).split())[:160] or type(error).__name__
            raise RunError(f"`data`: {self.name(row)} cannot be read: {reason}.") from None

    def check_shards(self) -> None:
        """Open every shard once.

        Raises:
          InputError: naming the first shard that is missing, cut short or damaged
            where a shard is found to be whole (its index).
        """
        for path, count in self.shards:
            if not Path(path).is_file():
                raise InputError(
                    f"`data`: {path} is missing: {self.split} has {len(self.shards)} shards in "
                    f"{self.folder}/dataset_info.json."
                )
            try:
                reader = _open_shard(path)
                found = reader.num_records() if reader.ok() else 0
                reader.close()
            except RuntimeError:
                found = 0
            if found != count:
                raise InputError(
                    f"`data`: {path} is cut short or damaged: {found} of its {count} records can "
                    "be found."
                )

    def _locate(self, row: int) -> tuple[int, int]:
        shard = bisect.bisect_right(self._starts, row) - 1
        return shard, row - self._starts[shard]

    def _reader(self, shard: int) -> Any:
        with self._lock:
            if shard not in self._readers:
                self._readers[shard] = _open_shard(self.shards[shard][0])
            return self._readers[shard]

    def _parse(self, content: bytes) -> dict[str, Any]:
        with self._lock:
            if self._decode is None:
                import tensorflow_datasets as tfds

                core = tfds.core.load.read_only_builder
                features = core.builder_from_directory(self.folder).info.features
                skip = {"image": tfds.decode.SkipDecoding()}
                self._decode = lambda raw: features.deserialize_example_np(raw, decoders=skip)
        return self._decode(content)


def _open_shard(path: str) -> Any:
    from array_record.python import array_record_module

    # One record at a time: the default reads ahead 16 MB per open shard.
    return array_record_module.ArrayRecordReader(path, "readahead_buffer_size:0")


def open_shards(builder: Any, split: str) -> ShardFiles:
    """Open a split of a prepared data set.

    Args:
      builder: from `readers.tfds_builder`.
      split: e.g. train.

    Raises:
      InputError: if a shard is missing, cut short or damaged in its index.
    """
    features = builder.info.features
    if "image" not in features or "label" not in features:
        raise InputError(f"`data.name`: {builder.name!r} has no `image` and `label`.")
    shards = [(f.filename, f.take) for f in builder.info.splits[split].file_instructions]
    folder = str(builder.info.data_dir)
    if not all("array_record" in Path(path).name for path, _ in shards):
        raise InputError(
            f"`data`: {folder} is not in array_record format; prepare it with "
            "file_format='array_record'."
        )
    num_classes = getattr(features["label"], "num_classes", None)
    if not num_classes:
        raise InputError(
            f"`data.name`: the `label` of {builder.name!r} does not count its classes."
        )
    files = ShardFiles(folder, split, [(str(p), int(n)) for p, n in shards], int(num_classes))
    _allow_open_files(len(shards))
    files.check_shards()
    return files


def _allow_open_files(count: int) -> None:
    """Raise this process's limit, and so its workers', where it is lower than the shards need."""
    try:
        import resource
    except ImportError:  # no such limit on Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 512
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


@dataclasses.dataclass(frozen=True)
class FolderFiles:
    """Image files in one sub-folder per class.

    Attributes:
      root: of the split.
      entries: (path below root, size in bytes, label) of each image.
      num_classes: sub-folders.
    """

    root: str
    entries: list[tuple[str, int, int]]
    num_classes: int

    def __len__(self) -> int:
        """Number of images."""
        return len(self.entries)

    @property
    def identity(self) -> list[tuple[str, int]]:
        """Path and size of each image."""
        return [(path, size) for path, size, _ in self.entries]

    def name(self, row: int) -> str:
        """Its path."""
        return f"{self.root}/{self.entries[row][0]}"

    def read(self, row: int) -> tuple[bytes, int]:
        """Read one file.

        Raises:
          RunError: naming it, if it cannot be read.
        """
        try:
            return Path(self.name(row)).read_bytes(), self.entries[row][2]
        except OSError as error:
            raise RunError(f"`data`: {self.name(row)} cannot be read: {error.strerror}.") from None


def open_folder(root: Path, classes: list[str], suffixes: tuple[str, ...]) -> FolderFiles:
    """List the images of one split, without opening any.

    Args:
      root: of the split.
      classes: names of the sub-folders, in the order of the labels.
      suffixes: of image files, lower case.

    Raises:
      InputError: naming the sub-folder without images, or the file that cannot be read.
    """
    entries = []
    for label, name in enumerate(classes):
        folder = root / name
        if not folder.is_dir():
            raise InputError(f"`data`: the folder {folder} of class {name} is missing.")
        found = [p for p in sorted(folder.glob("*")) if p.suffix.lower() in suffixes]
        if not found:
            raise InputError(f"`data.path`: {folder} holds no images ({', '.join(suffixes)}).")
        for path in found:
            try:
                entries.append((f"{name}/{path.name}", path.stat().st_size, label))
            except OSError as error:
                raise InputError(f"`data`: {path} cannot be read: {error.strerror}.") from None
    return FolderFiles(str(root), entries, len(classes))
