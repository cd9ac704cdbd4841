"""Small image sets on disk, as people have large ones: TFDS shards and folders, no TensorFlow."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpool_jax.config import DataConfig
from gpool_jax.data.images.load import Dataset
from gpool_jax.data.images.load import load as load_images

CLASSES = ("ant", "bee", "cow")
# Given, so that nothing is decoded when a set is opened.
STATISTICS = {"mean": (0.5,) * 3, "std": (0.25,) * 3}


def tfds_config(root: Path, **options) -> DataConfig:
    """Of a streamed set from `write_tfds`."""
    base = {"source": "tfds", "name": "tiny_photos", "dir": str(root), "stream": True, "side": 16}
    return DataConfig(**(base | STATISTICS | options))


def folder_config(root: Path, **options) -> DataConfig:
    """Of a streamed set from `write_folder`."""
    base = {"source": "folder", "path": str(root), "stream": True, "side": 16}
    return DataConfig(**(base | STATISTICS | options))


def load(config: DataConfig) -> Dataset:
    return load_images(config, seed=0, warn=pytest.fail)


def picture(number: int) -> np.ndarray:
    """One image that no other number (0 to 50) gives, uint8 [H, W, 3]; sizes differ, too.

    Smooth, so that JPEG keeps it: red rises downwards, green to the right, and
    blue is the number's.
    """
    height, width = 24 + 7 * number % 20, 24 + 5 * number % 28
    y, x = np.mgrid[:height, :width]
    red, green = 255 * y // height, 255 * x // width
    return np.stack([red, green, np.full_like(red, 5 * number)], -1).astype(np.uint8)


def jpeg(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def number_of(image: np.ndarray) -> int:
    """Which `picture` an image was cut from: its blue is the same all over."""
    return round(float(image[..., 2].mean()) / 5)


def numbers(images: np.ndarray) -> list[int]:
    """`number_of` each of [..., H, W, 3]."""
    return [number_of(image) for image in images.reshape(-1, *images.shape[-3:])]


def label_of(number: int) -> int:
    return number % len(CLASSES)


def write_folder(root: Path, train: int = 40, test: int = 9, test_name: str = "test") -> Path:
    """Images `train/CLASS/NUMBER.jpg`; numbers go on in the test split."""
    for split, numbers in (("train", range(train)), (test_name, range(train, train + test))):
        for number in numbers:
            folder = root / split / CLASSES[label_of(number)]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number:03}.jpg").write_bytes(jpeg(picture(number)))
    return root


def write_tfds(
    root: Path,
    *,
    name: str = "tiny_photos",
    counts: dict[str, int] | None = None,
    num_shards: int = 3,
    replace: dict[int, bytes] | None = None,
    labels: dict[int, int] | None = None,
) -> Path:
    """A prepared set in the layout of imagenet2012; returns the folder of its version.

    Args:
      root: `data_dir` of the set.
      name: of the set.
      counts: images of each split; numbers go on from split to split.
      num_shards: of each split.
      replace: other bytes for the images of some numbers.
      labels: other labels for the images of some numbers.
    """
    import tensorflow_datasets as tfds
    from array_record.python.array_record_module import ArrayRecordWriter

    features = tfds.features.FeaturesDict(
        {
            "file_name": tfds.features.Text(),
            "image": tfds.features.Image(encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names=list(CLASSES)),
        }
    )
    folder = root / name / "1.0.0"
    folder.mkdir(parents=True)
    identity = tfds.core.dataset_info.DatasetIdentity(
        name=name, version=tfds.core.Version("1.0.0"), data_dir=str(folder), module_name="none"
    )
    serializer = tfds.core.example_serializer.ExampleSerializer(features.get_serialized_info())
    infos, number = [], 0
    for split, count in (counts or {"train": 40, "validation": 9}).items():
        template = tfds.core.ShardedFileTemplate(
            dataset_name=name, split=split, filetype_suffix="array_record", data_dir=folder
        )
        shares = [len(part) for part in np.array_split(np.arange(count), num_shards)]
        size = 0
        for shard, share in enumerate(shares):
            path = template.sharded_filepath(shard_index=shard, num_shards=num_shards)
            writer = ArrayRecordWriter(str(path), "group_size:1")
            for _ in range(share):
                encoded = (replace or {}).get(number) or jpeg(picture(number))
                record = serializer.serialize_example(
                    {
                        "file_name": f"{number:03}.jpg".encode(),
                        "image": encoded,
                        "label": (labels or {}).get(number, label_of(number)),
                    }
                )
                size += len(record)
                writer.write(record)
                number += 1
            writer.close()
        infos.append(
            tfds.core.SplitInfo(
                name=split, shard_lengths=shares, num_bytes=size, filename_template=template
            )
        )
    info = tfds.core.DatasetInfo(builder=identity, features=features, description="pictures")
    info.set_file_format(tfds.core.FileFormat.ARRAY_RECORD)
    info.set_splits(tfds.core.splits.SplitDict(infos))
    info.write_to_directory(folder)
    return folder
