"""Data sets that are whole but for what their names say: .npz files, and folders of images."""

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image


def write(folder: Path) -> None:
    """Write them all."""
    _write_npz(folder)
    _write_folders(folder)
    _write_pixels(folder)
    _write_tfds(folder)


def _arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    found: dict[str, np.ndarray] = {}
    for split, count in (("train", 80), ("test", 40)):
        found[f"images_{split}"] = rng.integers(0, 256, (count, 8, 8, 3), np.uint8)
        found[f"labels_{split}"] = np.arange(count) % 4
    return found


def _write_npz(folder: Path) -> None:
    whole = _arrays()
    images, labels = whole["images_train"], whole["labels_train"]
    changes = {
        "good": {},
        "floats": {"images_train": images / 255},
        "flat": {"images_train": images.reshape(80, -1)},
        "channels2": {f"images_{s}": whole[f"images_{s}"][..., :2] for s in ("train", "test")},
        "zero_images": {"images_train": images[:0], "labels_train": labels[:0]},
        "one_image": {"images_train": images[:1], "labels_train": labels[:1]},
        "labels_short": {"labels_train": labels[:-1]},
        "labels_float": {"labels_train": labels + 0.5},
        "labels_negative": {"labels_train": labels - 1},
        "labels_text": {"labels_train": labels.astype(str)},
        "labels_2d": {"labels_train": labels[:, None]},
        "labels_huge": {"labels_train": np.where(labels == 3, 10**12, labels)},
        "one_class": {"labels_train": labels * 0, "labels_test": whole["labels_test"] * 0},
        "test_class_unknown": {"labels_test": whole["labels_test"] + 4},
        "sizes_differ": {"images_test": np.zeros((40, 10, 10, 3), np.uint8)},
        "tiny_images": {f"images_{s}": whole[f"images_{s}"][:, :1, :1] for s in ("train", "test")},
        "objects": {"images_train": np.array([{}] * 80, object)},
        "objects_labels": {"labels_train": np.array([{}] * 80, object)},
        "mean_text": {"mean": np.array(["a", "b", "c"]), "std": np.ones(3)},
        "mean_nan": {"mean": np.full(3, np.nan), "std": np.ones(3)},
        "mean_two": {"mean": np.full(2, 0.5), "std": np.full(2, 0.5)},
        "mean_255": {"mean": np.full(3, 123.675), "std": np.full(3, 58.4)},
        "std_zero": {"mean": np.full(3, 0.5), "std": np.zeros(3)},
        "std_inf": {"mean": np.full(3, 0.5), "std": np.full(3, np.inf)},
        "std_negative": {"mean": np.full(3, 0.5), "std": np.full(3, -0.5)},
        "encoded_broken": {
            "images_train": np.zeros(800, np.uint8),
            "images_train_offsets": np.arange(0, 801, 10),
        },
        "encoded_offsets": {
            "images_train": np.zeros(800, np.uint8),
            "images_train_offsets": np.arange(81)[::-1],
        },
    }
    for name, change in changes.items():
        np.savez(folder / f"{name}.npz", **(whole | change))
    for name, missing in (("no_labels", "labels_train"), ("no_test", "images_test")):
        np.savez(folder / f"{name}.npz", **{n: v for n, v in whole.items() if n != missing})
    np.save(folder / "one_array.npy", images)
    content = (folder / "good.npz").read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 3] ^= 1
    # A header that promises more than follows it.
    lies = content.replace(b"(80, 8, 8, 3)", b"(89, 8, 8, 3)")
    for name, damaged in {
        "empty": b"",
        "text": b"no array at all",
        "cut": content[: len(content) // 2],
        "flipped": bytes(flipped),
        "header_lies": lies,
    }.items():
        (folder / f"{name}.npz").write_bytes(damaged)
    (folder / "folder.npz").mkdir()


def _png(seed: int, side: int = 8) -> bytes:
    buffer = io.BytesIO()
    image = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _write_folders(folder: Path) -> None:
    good = folder / "folder_good"
    for split in ("train", "test"):
        for label, name in enumerate(("cat", "dog")):
            (good / split / name).mkdir(parents=True)
            for i in range(40):
                (good / split / name / f"{i}.png").write_bytes(_png(100 * label + i))

    def changed(name: str) -> Path:
        return Path(shutil.copytree(good, folder / f"folder_{name}"))

    (folder / "folder_empty").mkdir()
    shutil.rmtree(changed("only_test") / "train")
    for split in ("train", "test"):
        shutil.rmtree(folder / "folder_only_test" / split / "dog", ignore_errors=True)
        one = folder / "folder_one_class" / split / "cat"
        shutil.copytree(good / split / "cat", one)
        (folder / "folder_no_images" / split / "cat").mkdir(parents=True)
        (folder / "folder_no_images" / split / "dog").mkdir(parents=True)
    images = {
        "broken_image": b"\x89PNG\r\n\x1a\nnothing",
        "cut_image": _png(1)[:60],
        "text_image": b"not an image",
    }
    for name, content in images.items():
        (changed(name) / "train" / "cat" / "3.png").write_bytes(content)
    dangling = changed("dangling") / "train" / "cat" / "3.png"
    dangling.unlink()
    dangling.symlink_to(folder / "nowhere.png")
    (changed("test_class") / "test" / "cat").rename(folder / "folder_test_class" / "test" / "cow")
    for name in ("cat", "dog"):
        (folder / "folder_train_only_one" / name).mkdir(parents=True)
        (folder / "folder_train_only_one" / name / "0.png").write_bytes(_png(0))


def _write_pixels(folder: Path) -> None:
    good = folder / "pixels_good"
    for split, count in (("train", 16), ("val", 4), ("test", 4)):
        for part in ("images", "labels"):
            (good / split / part).mkdir(parents=True)
        for i in range(count):
            label = np.zeros((32, 32), np.uint8)
            label[16:], label[4:10, i : i + 6] = 1, 2
            (good / split / "images" / f"{i}.png").write_bytes(_png(i, 32))
            Image.fromarray(label).save(good / split / "labels" / f"{i}.png")
    whole = {"name": "scenes", "classes": ["sky", "ground", "box"], "ignore_index": 255}
    (good / "dataset.json").write_text(json.dumps(whole))

    def changed(name: str) -> Path:
        return Path(shutil.copytree(good, folder / f"pixels_{name}"))

    (folder / "pixels_empty").mkdir()
    (changed("no_json") / "dataset.json").unlink()
    (changed("json_list") / "dataset.json").write_text("[1]")
    (changed("one_class") / "dataset.json").write_text(json.dumps(whole | {"classes": ["sky"]}))
    (changed("no_label") / "train" / "labels" / "3.png").unlink()
    shutil.rmtree(changed("no_train") / "train")
    labels = {
        "sizes": np.zeros((20, 20), np.uint8),
        "label_out": np.full((32, 32), 77, np.uint8),
        "label_colour": np.zeros((32, 32, 3), np.uint8),
    }
    for name, label in labels.items():
        Image.fromarray(label).save(changed(name) / "train" / "labels" / "3.png")
    (changed("label_broken") / "train" / "labels" / "3.png").write_bytes(b"nothing")
    for name, listed in (("escapes", "../../x"), ("absolute", "/abs/x")):
        voc = folder / f"voc_{name}"
        for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            (voc / part).mkdir(parents=True)
        for split in ("train", "val", "trainval"):
            (voc / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(f"{listed}\n")


def _write_tfds(folder: Path) -> None:
    """Prepared data sets: without shards, and one that names a module of its own folder."""
    features = {"pythonClassName": "hostile.Features", "featuresDict": {"features": {}}}
    about = {"name": "tiny", "version": "1.0.0", "fileFormat": "array_record", "splits": []}
    split = {"name": "train", "shardLengths": ["4"], "numBytes": "9"}
    split["filepathTemplate"] = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    for name, splits in (
        ("hostile", []),
        ("empty", []),
        ("cut", [split, split | {"name": "test"}]),
    ):
        home = folder / f"tfds_{name}" / "tiny" / "1.0.0"
        home.mkdir(parents=True)
        (home / "dataset_info.json").write_text(json.dumps(about | {"splits": splits}))
        if name == "hostile":
            (home / "features.json").write_text(json.dumps(features))
        for part in ("train", "test"):
            (home / f"tiny-{part}.array_record-00000-of-00001").write_bytes(os.urandom(50))
