"""The encoded images of a set on disk, read one at a time: TFDS shards, or image files.

Both open by names and sizes alone, say before any training what is missing, and
can be sent to another process: what is open stays behind and is opened anew there.
"""

import bisect
import dataclasses
import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpool_jax.config import DataConfig
from gpool_jax.data.disk import Warn, stat
from gpool_jax.data.images import locate
from gpool_jax.errors import InputError, RunError

# Sets whose test labels are secret: their validation split is the test split.
_TEST_IS_VALIDATION = ("imagenet2012",)


@dataclasses.dataclass
class ShardFiles:
    """A prepared split of TensorFlow Datasets, in array_record format.

    Attributes:
      folder: the prepared version, with dataset_info.json and the shards.
      split: e.g. train.
      shards: (path, number of records) of each shard.
      num_classes: number of classes of the label feature; 0 if it does not say.
    """

    folder: str
    split: str
    shards: list[tuple[str, int]]
    num_classes: int

    def __post_init__(self):
        self._starts = [0, *itertools.accumulate(count for _, count in self.shards)]
        self._readers: dict[int, Any] = {}
        self._decode: Callable[[bytes], dict[str, Any]] | None = None
        self._lock = threading.Lock()

    def __reduce__(self):
        # Open files and locks cannot be sent to another process.
        return ShardFiles, (self.folder, self.split, self.shards, self.num_classes)

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def identity(self) -> list[tuple[str, int]]:
        """Name and size in bytes of each shard: tells this split from another."""
        return [(Path(path).name, stat(path)[0]) for path, _ in self.shards]

    def name(self, row: int) -> str:
        """The record's number in its shard."""
        shard, record = self._find(row)
        return f"record {record} of {self.shards[shard][0]}"

    def read(self, row: int) -> tuple[bytes, int]:
        """Encoded bytes and label of one image; a RunError if its shard is damaged there."""
        shard, record = self._find(row)
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

    def _find(self, row: int) -> tuple[int, int]:
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

                features = locate.read_builder(self.folder).info.features
                skip = {"image": tfds.decode.SkipDecoding()}
                self._decode = lambda raw: features.deserialize_example_np(raw, decoders=skip)
        return self._decode(content)


def _open_shard(path: str) -> Any:
    from array_record.python import array_record_module

    # One record at a time: the default reads ahead 16 MB per open shard.
    return array_record_module.ArrayRecordReader(path, "readahead_buffer_size:0")


def open_shards(builder: Any, split: str) -> ShardFiles:
    """Open a split of a prepared data set, given the builder of `locate.tfds_builder`.

    Raises:
      InputError: if there is no such split, or a shard fails `check_shards`.
    """
    locate.check_split(builder, split)
    folder = str(builder.info.data_dir)
    shards = [(str(f.filename), int(f.take)) for f in builder.info.splits[split].file_instructions]
    outside = [path for path, _ in shards if Path(os.path.normpath(path)).parent != Path(folder)]
    if outside:
        raise InputError(f"`data`: {folder}/dataset_info.json names a file outside: {outside[0]}.")
    num_classes = getattr(builder.info.features["label"], "num_classes", None)
    files = ShardFiles(folder, split, shards, int(num_classes or 0))
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
      root: folder of the split.
      entries: (path below root, size in bytes, label) of each image.
      num_classes: number of sub-folders.
    """

    root: str
    entries: list[tuple[str, int, int]]
    num_classes: int

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def identity(self) -> list[tuple[str, int]]:
        """Path and size in bytes of each image: tells this split from another."""
        return [(path, size) for path, size, _ in self.entries]

    def name(self, row: int) -> str:
        """The image's path."""
        return f"{self.root}/{self.entries[row][0]}"

    def read(self, row: int) -> tuple[bytes, int]:
        """Encoded bytes and label of one image; a RunError if it cannot be read."""
        try:
            return Path(self.name(row)).read_bytes(), self.entries[row][2]
        except OSError as error:
            raise RunError(f"`data`: {self.name(row)} cannot be read: {error.strerror}.") from None


RecordFiles = ShardFiles | FolderFiles


def open_set(config: DataConfig, warn: Warn) -> dict[str, RecordFiles]:
    """Open `train`, `test` and, if a folder has it, `val`, undecoded.

    `warn` receives one line about each kind of file that is left out.

    Raises:
      InputError: saying what is missing or wrong.
    """
    if config.source not in ("tfds", "folder"):
        raise InputError(
            f"`data.stream` reads data.source tfds and folder; got data.source {config.source!r}."
        )
    splits = _open_tfds(config) if config.source == "tfds" else _open_folder(config, warn)
    for split, files in splits.items():
        if len(files) == 0:
            raise InputError(f"`data`: there are no {split} images.")
    return splits


def _open_tfds(config: DataConfig) -> dict[str, RecordFiles]:
    builder = locate.tfds_builder(config.name, config.dir)
    splits = ("test", "validation")
    if locate.base_name(config.name) in _TEST_IS_VALIDATION:
        splits = ("validation", "test")
    present = [split for split in splits if split in builder.info.splits]
    if "train" not in builder.info.splits or not present:
        raise InputError(
            f"`data.name`: {config.name!r} must have the splits train and test or validation; it "
            f"has {', '.join(builder.info.splits) or 'none'}."
        )
    train = open_shards(builder, "train")
    if not train.num_classes:
        raise InputError(f"`data.name`: the `label` of {config.name!r} does not count its classes.")
    return {"train": train, "test": open_shards(builder, present[0])}


def _open_folder(config: DataConfig, warn: Warn) -> dict[str, RecordFiles]:
    splits = locate.folder_splits(config, warn)
    if not splits:
        raise InputError(
            f"`data.path`: with data.stream, {config.path} needs train/ and test/ (or val/)."
        )
    classes = locate.folder_classes(splits)

    def files(base: Path) -> FolderFiles:
        found = locate.class_images(base, classes, warn)
        entries = [(p.relative_to(base).as_posix(), stat(p)[0], label) for p, label in found]
        return FolderFiles(str(base), entries, len(classes))

    return {split: files(base) for split, base in splits.items()}
