"""Sources: what they give, how they split, and what each refuses in one line."""

import dataclasses
import io
import json
import os
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from gpool_jax.config import DataConfig
from gpool_jax.data.cache import cached
from gpool_jax.data.images import pack
from gpool_jax.data.images.load import load as load_images
from gpool_jax.data.split import stratified_rows
from gpool_jax.data.statistics import CIFAR_STATISTICS
from gpool_jax.errors import InputError
from tests import imagesets


def arrays(train=40, test=20, side=8):
    rng = np.random.default_rng(0)
    return {
        "images_train": rng.integers(0, 256, (train, side, side, 3), np.uint8),
        "labels_train": np.arange(train) % 4,
        "images_test": rng.integers(0, 256, (test, side, side, 3), np.uint8),
        "labels_test": np.arange(test) % 4,
    }


def load(tmp_path, content=None, **options):
    if content is not None:
        np.savez(tmp_path / "set.npz", **content)
        options = {"source": "npz", "path": str(tmp_path / "set.npz")} | options
    return load_images(DataConfig(**options), seed=0, warn=pytest.fail)


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def test_npz_of_pixels(tmp_path):
    content = arrays()
    dataset = load(tmp_path, content)
    assert [len(s) for s in (dataset.train, dataset.val, dataset.test)] == [36, 4, 20]
    np.testing.assert_array_equal(dataset.test.images, content["images_test"])
    together = np.concatenate([dataset.train.images, dataset.val.images])
    assert len(np.unique(together.reshape(40, -1), axis=0)) == 40
    pixels = dataset.train.images / 255.0
    np.testing.assert_allclose(dataset.mean, pixels.mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(dataset.std, pixels.std((0, 1, 2)), atol=1e-6)


def test_npz_of_encoded_bytes_holds_the_same_pixels(tmp_path):
    content = arrays()
    packed = dict(content)
    for split in ("train", "test"):
        items = [png(image) for image in content[f"images_{split}"]]
        vector, offsets = pack.pack(items)
        packed[f"images_{split}"], packed[f"images_{split}_offsets"] = vector, offsets
    plain, decoded = load(tmp_path, content), load(tmp_path, packed)
    np.testing.assert_array_equal(plain.train.images, decoded.train.images)
    np.testing.assert_array_equal(plain.test.images, decoded.test.images)


def write_folder(root, splits=("train", "test"), classes=("cat", "dog"), count=12):
    rng = np.random.default_rng(1)
    for split in splits:
        for label, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                image = rng.integers(0, 100, (8, 8, 3), np.uint8) + np.uint8(100 * label)
                (folder / f"{i}.png").write_bytes(png(image))


def test_folder_with_and_without_a_test_split(tmp_path):
    write_folder(tmp_path / "a")
    dataset = load(tmp_path, source="folder", path=str(tmp_path / "a"))
    assert [len(s) for s in (dataset.train, dataset.val, dataset.test)] == [22, 2, 24]
    bright = dataset.test.images.mean((1, 2, 3)) > 100
    np.testing.assert_array_equal(bright, dataset.test.labels == 1)
    write_folder(tmp_path / "b", splits=(".",), count=20)
    dataset = load(tmp_path, source="folder", path=str(tmp_path / "b"))
    assert [len(s) for s in (dataset.train, dataset.val, dataset.test)] == [29, 3, 8]


def read(root, **options):
    """A folder and what was said about it."""
    lines = []
    config = DataConfig(source="folder", path=str(root), **options)
    return load_images(config, seed=0, warn=lines.append), lines


def test_images_of_every_suffix_are_read_at_any_depth(tmp_path):
    write_folder(tmp_path, splits=(".",), count=5)
    for i, suffix in enumerate((".PNG", ".tif", ".TIFF", ".gif", ".ppm", ".bmp", ".webp", ".JFIF")):
        path = tmp_path / "cat" / "more" / "deep" / f"{i}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = "JPEG" if suffix == ".JFIF" else None
        Image.new("RGB", (8, 8), (90, 90, 90)).save(path, kind)
    dataset, lines = read(tmp_path)
    assert sum(len(s) for s in (dataset.train, dataset.val, dataset.test)) == 18
    assert not lines


def test_what_is_left_out_is_said(tmp_path):
    write_folder(tmp_path)
    for name in ("train/cat/a.heic", "train/dog/b.txt", "train/c.png", "test/cat/._0.png"):
        (tmp_path / name).write_bytes(b"?")
    (tmp_path / "test" / "dog" / ".DS_Store").write_bytes(b"?")
    (tmp_path / "test" / "dog" / "loop").symlink_to(tmp_path / "test")
    (tmp_path / "more").mkdir()
    dataset, lines = read(tmp_path)
    assert len(dataset.test) == 24
    assert len(lines) == 3
    assert "is read without more/; splits are" in lines[0]
    assert lines[1].endswith(f": {tmp_path}/train/c.png (and 2 more).")
    assert lines[2].endswith("(and 1 more).")


def test_val_beside_train_and_test_validates(tmp_path):
    write_folder(tmp_path, splits=("train", "val", "test"))
    for options in ({}, {"stream": True, "side": 8, "mean": (0.5,) * 3, "std": (0.5,) * 3}):
        dataset, lines = read(tmp_path, **options)
        assert [len(s) for s in (dataset.train, dataset.val, dataset.test)] == [24, 24, 24]
        assert not lines
    assert "val" in dataset.fingerprint


def test_splits_that_are_missing_are_named(tmp_path):
    write_folder(tmp_path / "a", splits=("train", "val"))
    dataset, lines = read(tmp_path / "a")
    assert [len(s) for s in (dataset.train, dataset.val, dataset.test)] == [22, 2, 24]
    assert len(lines) == 1
    assert "has no test/; val/ is the test split, and a tenth of train/ validates" in lines[0]
    # Results say so too.
    assert dataset.notes == tuple(lines)
    for names in (["train"], ["test", "val"]):
        write_folder(tmp_path / names[0], splits=names)
        with pytest.raises(InputError, match=r"needs train/ and test/ \(or val/\); it has only"):
            read(tmp_path / names[0])
    # A class may be called so.
    write_folder(tmp_path / "b", splits=(".",), classes=("car", "train"))
    assert read(tmp_path / "b")[0].num_classes == 2


def test_a_class_that_train_lacks_is_refused(tmp_path):
    for split in ("test", "val"):
        root = tmp_path / split
        write_folder(root, splits=("train", "val", "test"))
        write_folder(root, splits=(split,), classes=("eel",))
        with pytest.raises(InputError, match=f"{split}/eel is no class of train/"):
            read(root)


def test_a_class_without_an_image_left_is_named(tmp_path):
    write_folder(tmp_path, splits=(".",), count=6)
    for i in range(2, 12):
        write_folder(tmp_path, splits=(".",), classes=(f"one{i:02}",), count=1)
    with pytest.raises(InputError, match="class one.. has one image, which is taken for test"):
        read(tmp_path)
    dataset, lines = read_npz_of_classes(tmp_path, counts=[20, 20, 1, 1], num_train=2)
    assert len(dataset.train) == 2
    assert len(lines) == 1
    assert "no training image is left of class" in lines[0]
    assert lines[0].endswith("of 4.")


def read_npz_of_classes(tmp_path, counts, **options):
    labels = np.repeat(np.arange(len(counts)), counts)
    content = arrays(train=len(labels)) | {"labels_train": labels}
    np.savez(tmp_path / "classes.npz", **content)
    lines = []
    config = DataConfig(source="npz", path=str(tmp_path / "classes.npz"), **options)
    return load_images(config, seed=0, warn=lines.append), lines


def test_links_that_are_regrouped_are_another_set(tmp_path):
    write_folder(tmp_path / "files", splits=(".",), classes=("a", "b", "c"))

    def link(groups):
        for name, members in groups.items():
            (tmp_path / "set" / name).mkdir(parents=True)
            for member in members:
                for path in (tmp_path / "files" / member).iterdir():
                    link = tmp_path / "set" / name / f"{member}{path.name}"
                    link.symlink_to(path)

    link({"a": "a", "b": "b", "c": "c"})
    assert read(tmp_path / "set")[0].num_classes == 3
    (tmp_path / "set").rename(tmp_path / "old")
    link({"a": "ab", "c": "c"})
    dataset, _ = read(tmp_path / "set")
    assert dataset.num_classes == 2
    labels = np.concatenate([s.labels for s in (dataset.train, dataset.val, dataset.test)])
    assert np.bincount(labels).tolist() == [24, 12]


def test_digits_are_the_same_for_every_seed_but_for_validation():
    one = load_images(DataConfig(), seed=0)
    two = load_images(DataConfig(), seed=1)
    assert one.train.images.shape[1:] == (16, 16, 1)
    assert one.train.images.max() == 255
    np.testing.assert_array_equal(one.test.images, two.test.images)
    assert not np.array_equal(one.val.images, two.val.images)
    again = load_images(DataConfig(), seed=0)
    np.testing.assert_array_equal(one.val.images, again.val.images)


def test_stratified_rows_take_each_class_in_its_share():
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    rows = stratified_rows(labels, 100, seed=0)
    assert len(np.unique(rows)) == 100
    counts = np.bincount(labels[rows])
    assert np.abs(counts - [60, 30, 10]).max() <= 1
    assert not np.array_equal(rows, stratified_rows(labels, 100, seed=1))
    np.testing.assert_array_equal(stratified_rows(labels, 5000, seed=0), np.arange(1000))


def test_statistics_come_from_the_config_or_the_file(tmp_path):
    content = arrays() | {"mean": np.array([0.1, 0.2, 0.3]), "std": np.array([0.5, 0.5, 0.5])}
    assert load(tmp_path, content).mean == (0.1, 0.2, 0.3)
    dataset = load(tmp_path, content, mean=(0.0, 0.0, 0.0))
    assert (dataset.mean, dataset.std) == ((0.0,) * 3, (0.5,) * 3)


def test_a_dangling_link_is_named(tmp_path):
    write_folder(tmp_path / "a", splits=(".",))
    (tmp_path / "a" / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(InputError, match=r"cat/gone.png cannot be read: No such file"):
        load(tmp_path, source="folder", path=str(tmp_path / "a"))


def test_num_train_cuts_the_training_split_only(tmp_path):
    dataset = load(tmp_path, arrays(), num_train=20)
    assert [len(s) for s in (dataset.train, dataset.val, dataset.test)] == [20, 4, 20]
    assert np.bincount(dataset.train.labels).tolist() == [5, 5, 5, 5]


def test_the_cache_is_used_and_its_damage_is_found(tmp_path):
    calls, warnings = [], []

    def decode():
        calls.append(1)
        return {"a": np.arange(1000)}

    def get(identity="x"):
        return cached(identity, decode, str(tmp_path), warnings.append)["a"]

    np.testing.assert_array_equal(get(), get())
    assert len(calls) == 1
    get("y")
    assert len(calls) == 2
    (file,) = [p for p in tmp_path.iterdir() if np.load(p) is not None][:1]
    damaged = bytearray(file.read_bytes())
    damaged[2000] ^= 1
    for path in tmp_path.iterdir():
        path.write_bytes(bytes(damaged))
    np.testing.assert_array_equal(get(), np.arange(1000))
    assert len(calls) == 3
    assert len(warnings) == 1
    assert "is damaged" in warnings[0]


def test_the_cache_has_the_rights_of_the_umask_and_leaves_no_parts(tmp_path):
    old = tmp_path / ".abc.npz.0123abcd.tmp"
    young, other = tmp_path / ".def.npz.0123abcd.tmp", tmp_path / "other.tmp"
    for path in (old, young, other):
        path.write_bytes(b"half")
    for path in (old, other):
        os.utime(path, (0, time.time() - 4000))
    before = os.umask(0o027)
    try:
        cached("x", lambda: {"a": np.arange(3)}, str(tmp_path), pytest.fail)
    finally:
        os.umask(before)
    (made,) = tmp_path.glob("*.npz")
    assert made.stat().st_mode & 0o777 == 0o640
    # What is not ours stays, and what another run may be writing.
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [made.name, young.name, "other.tmp"]
    )


def test_a_cache_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    lines = []

    def full(file, **_arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    found = cached("x", lambda: {"a": np.arange(3)}, str(tmp_path), lines.append)
    np.testing.assert_array_equal(found["a"], np.arange(3))
    assert not list(tmp_path.iterdir())
    assert len(lines) == 1
    assert "No space left" in lines[0]


def test_without_a_home_there_is_no_cache(monkeypatch):
    monkeypatch.delenv("GPOOL_CACHE_DIR")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for an unknown user
    lines = []
    found = cached("x", lambda: {"a": np.arange(3)}, None, lines.append)
    np.testing.assert_array_equal(found["a"], np.arange(3))
    assert lines == [
        "decoded arrays are not cached: there is no home folder; set $GPOOL_CACHE_DIR."
    ]


def test_what_is_said_of_the_cache_is_no_note_of_the_data(tmp_path):
    write_folder(tmp_path / "a")
    (tmp_path / "file").write_text("no folder")
    dataset, lines = read(tmp_path / "a", cache_dir=str(tmp_path / "file"))
    assert len(lines) == 1
    assert "are not cached" in lines[0]
    assert dataset.notes == ()


def test_a_side_that_would_be_ignored_is_refused(tmp_path):
    with pytest.raises(InputError, match="`data.side` resizes encoded images.*got 16"):
        load(tmp_path, arrays(), side=16)
    with pytest.raises(InputError, match="a prepared data set keeps its size"):
        load(tmp_path, source="tfds", dir=str(tmp_path), side=16)


def replaced(**changes):
    return arrays() | changes


def without(name):
    content = arrays()
    del content[name]
    return content


BAD_NPZ = {
    "no labels": (without("labels_test"), "has no array 'labels_test'; it has images_train"),
    "nothing": ({}, "has no array 'images_train'; it has no arrays at all"),
    "floats": (replaced(images_train=np.zeros((4, 8, 8, 3))), r"must be uint8 .*got float64"),
    "shape": (replaced(images_test=np.zeros((4, 8, 8), np.uint8)), r"must be uint8 \[N, H, W, C\]"),
    "empty": (
        replaced(images_train=np.zeros((0, 8, 8, 3), np.uint8), labels_train=np.zeros(0, int)),
        "images_train holds no image",
    ),
    "channels": (replaced(images_train=np.zeros((4, 8, 8, 2), np.uint8)), "1 or 3 colour channels"),
    "sizes": (replaced(images_test=np.zeros((20, 9, 9, 3), np.uint8)), "differ in size"),
    "label count": (
        replaced(labels_train=np.zeros(3, int)),
        r"labels_train must be integers \[40\]",
    ),
    "label type": (replaced(labels_train=np.zeros(40)), "must be integers .*got float64"),
    "negative": (replaced(labels_train=np.arange(40) % 4 - 1), "found -1 to 2"),
    "range": (replaced(labels_test=np.full(20, 9)), "test label 9 is out of range"),
    "hole": (replaced(labels_train=np.arange(40) % 4 * 10), "labelled 0 to 3; found 0 to 30"),
    "huge": (replaced(labels_train=np.arange(40) % 4 + 5 * 10**9), "out of range"),
    "no pixels": (replaced(images_train=np.zeros((40, 0, 8, 3), np.uint8)), "holds no image"),
    "statistics": (replaced(mean=np.zeros(2)), r"in .*set.npz, `data.mean` must be 3 numbers"),
    "0 to 255": (
        replaced(mean=np.array([123.675, 116.28, 103.53])),
        r"in .*set.npz, `data.mean` must .*in \[0, 1\] \(in units of 0..1, not 0..255\); got .123",
    ),
    "nan": (replaced(mean=np.full(3, np.nan)), r"`data.mean` must be .*; got \[nan, nan, nan\]"),
    "inf": (replaced(std=np.full(3, np.inf)), r"`data.std` must be .*in \(0, 1\].*; got \[inf"),
    "words": (replaced(std=np.array(["a", "b", "c"])), "std must hold numbers; got <U1"),
    "matrix": (replaced(std=np.ones((1, 3))), r"`data.std` must be 3 numbers.*; got \[\[1.0"),
    "many": (replaced(std=np.ones(9)), r"in .*set.npz, std must be a number for each.*\(9,\)"),
    "objects": (
        replaced(labels_train=np.array([{}] * 40)),
        "in .*set.npz, labels_train must hold numbers; got object",
    ),
    "names": (
        replaced(labels_test=np.array(["cat"] * 20)),
        "labels_test must hold numbers; got <U3",
    ),
    "mixed": (
        replaced(images_test=np.zeros(90, np.uint8)),
        r"images_train must be a vector of bytes like .*; got uint8 \(40, 8, 8, 3\)",
    ),
    "one class": (
        replaced(labels_train=np.full(40, 5), labels_test=np.full(20, 5)),
        r"all training images are of one class \(5\)",
    ),
    "no offsets": (
        replaced(images_train=np.zeros(90, np.uint8), images_test=np.zeros(90, np.uint8)),
        "without images_train_offsets",
    ),
    "bad offsets": (
        replaced(
            images_train=np.zeros(90, np.uint8),
            images_train_offsets=np.array([0, 50, 20]),
            images_test=np.zeros(90, np.uint8),
            images_test_offsets=np.array([0, 90]),
        ),
        "images_train_offsets must rise from 0 to the 90 bytes",
    ),
    "broken image": (
        replaced(
            images_train=np.zeros(90, np.uint8),
            images_train_offsets=np.array([0, 90]),
            images_test=np.zeros(90, np.uint8),
            images_test_offsets=np.array([0, 90]),
        ),
        r"set.npz: images_train\[0\] is a broken image: its format is unknown",
    ),
    "too few": (arrays(train=4), "4 training images are too few"),
}


@pytest.mark.parametrize("case", BAD_NPZ)
def test_bad_npz_is_refused_in_one_line(tmp_path, case):
    content, message = BAD_NPZ[case]
    with pytest.raises(InputError, match=message) as error:
        load(tmp_path, content)
    assert "\n" not in str(error.value)


def test_arrays_that_nobody_asked_for_are_not_read(tmp_path, monkeypatch):
    read, original = [], np.lib.format.read_array
    monkeypatch.setattr(
        np.lib.format,
        "read_array",
        lambda file, **options: read.append(file.name) or original(file, **options),
    )
    extra = {"more": np.zeros(10**6, np.uint8), "objects": np.array([{}])}
    assert len(load(tmp_path, arrays() | extra).test) == 20
    assert sorted(read) == sorted(f"{name}.npy" for name in arrays())


def test_what_does_not_fit_into_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sysconf", lambda _name: 64)  # 4 KiB
    monkeypatch.setattr(np.lib.format, "read_array", pytest.fail)
    with pytest.raises(InputError, match="set.npz would take 0.0 GiB, more than the 0.0 GiB of"):
        load(tmp_path, arrays())
    write_folder(tmp_path / "a")
    with pytest.raises(InputError, match="24 images like .*cat/0.png would take"):
        load(tmp_path, source="folder", path=str(tmp_path / "a"))
    with pytest.raises(InputError, match="digits at `data.side` 80000 would take"):
        load(tmp_path, side=80_000)


def test_a_header_is_not_believed(tmp_path):
    """9 TiB, says a file of some bytes."""
    offsets = {f"images_{split}_offsets": np.array([0, 40]) for split in ("train", "test")}
    content = without("images_train") | {"images_test": np.zeros(40, np.uint8)} | offsets
    np.savez(tmp_path / "set.npz", **content)
    with (
        zipfile.ZipFile(tmp_path / "set.npz", "a") as file,
        file.open("images_train.npy", "w") as member,
    ):
        header = {"descr": "|u1", "fortran_order": False, "shape": (10**13,)}
        np.lib.format.write_array_header_1_0(member, header)
    with pytest.raises(InputError, match="set.npz would take 9,313.2 GiB, more than the"):
        load(tmp_path, source="npz", path=str(tmp_path / "set.npz"))


def test_missing_and_corrupt_files_are_named(tmp_path):
    with pytest.raises(InputError, match="`data.path`: there is no file .*none.npz"):
        load(tmp_path, source="npz", path=str(tmp_path / "none.npz"))
    with pytest.raises(InputError, match="`data.path` must name an .npz file"):
        load(tmp_path, source="npz")
    with pytest.raises(InputError, match="`data.path` must name an .npz file.*; got ''"):
        load(tmp_path, source="npz", path="")
    with pytest.raises(InputError, match="~no_such_user/set: there is no home folder"):
        load(tmp_path, source="folder", path="~no_such_user/set")
    (tmp_path / "bad.npz").write_bytes(b"not a zip")
    with pytest.raises(InputError, match="bad.npz is not a readable .npz"):
        load(tmp_path, source="npz", path=str(tmp_path / "bad.npz"))


def test_bad_folders_are_refused(tmp_path):
    def refused(message, root):
        with pytest.raises(InputError, match=message) as error:
            load(tmp_path, source="folder", path=str(root))
        assert "\n" not in str(error.value)

    refused("there is no folder", tmp_path / "none")
    (tmp_path / "empty").mkdir()
    refused("needs at least two sub-folders, one per class; has none", tmp_path / "empty")
    write_folder(tmp_path / "one", splits=(".",), classes=("cat",))
    refused("has only 'cat'", tmp_path / "one")
    write_folder(tmp_path / "hollow", splits=(".",))
    (tmp_path / "hollow" / "eel").mkdir()
    refused("eel holds no images", tmp_path / "hollow")
    write_folder(tmp_path / "broken", splits=(".",))
    (tmp_path / "broken" / "cat" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    refused("cat/3.png is a broken image", tmp_path / "broken")
    write_folder(tmp_path / "sizes", splits=(".",))
    (tmp_path / "sizes" / "dog" / "7.png").write_bytes(png(np.zeros((9, 5, 3), np.uint8)))
    refused(r"dog/7.png is 5x9 pixels, .* is 8x8; all must have one size", tmp_path / "sizes")
    dataset = load(tmp_path, source="folder", path=str(tmp_path / "sizes"), side=6)
    assert dataset.train.images.shape[1:] == (6, 6, 3)


def test_a_missing_tfds_set_says_how_to_get_it_and_at_once(tmp_path):
    for name in ("cifar10", "cifar100", "no_such_set"):
        with pytest.raises(InputError, match=f"no prepared data set '{name}' in .*run: python"):
            load(tmp_path, source="tfds", name=name, dir=str(tmp_path))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A prepared set of images of one size."""
    root = tmp_path_factory.mktemp("photos")
    square = {n: imagesets.jpeg(imagesets.picture(n)[:24, :24]) for n in range(49)}
    square[48] = b"no image"
    imagesets.write_tfds(root, counts={"train": 40, "test": 8}, replace=square)
    imagesets.write_tfds(root, name="cifar10", counts={"train": 40, "test": 8}, replace=square)
    imagesets.write_tfds(root, name="broken", counts={"train": 40, "test": 9}, replace=square)
    return root


def test_a_prepared_set_is_read_whole(photos):
    dataset = load(None, source="tfds", name="tiny_photos", dir=str(photos))
    assert dataset.test.images.shape == (8, 24, 24, 3)
    assert imagesets.numbers(dataset.test.images) == list(range(40, 48))
    assert dataset.test.labels.tolist() == [imagesets.label_of(n) for n in range(40, 48)]
    with pytest.raises(InputError, match="record 2 of .*broken-test.array_record-00002.* broken"):
        load(None, source="tfds", name="broken", dir=str(photos))


def test_a_version_changes_no_statistics_and_the_folder_may_be_tfds_own(photos, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(photos))
    dataset = load(None, source="tfds", name="cifar10:1.0.0")
    assert (dataset.mean, dataset.std) == CIFAR_STATISTICS
    with pytest.raises(InputError, match=f"no prepared data set 'cifar10:2.0.0' in {photos};"):
        load(None, source="tfds", name="cifar10:2.0.0")
    with pytest.raises(InputError, match="no prepared data set 'cifar10:1.0.0' in /nowhere;"):
        load(None, source="tfds", name="cifar10:1.0.0", dir="/nowhere")


HOSTILE = {
    "new": lambda name: {"pythonClassName": name, "text": {}},
    "proto": lambda name: {"python_class_name": name, "text": {}},
    "old": lambda name: {"type": name, "content": {}},
    "in text": lambda name: {
        "pythonClassName": "tensorflow_datasets.core.features.sequence_feature.Sequence",
        "jsonFeature": {"json": json.dumps({"feature": {"type": name, "content": {}}})},
    },
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("stream", [False, True])
def test_code_that_a_set_names_is_not_run(tmp_path, monkeypatch, case, stream):
    version = imagesets.write_tfds(tmp_path / "sets", counts={"train": 4, "test": 3})
    (tmp_path / "hostile_set.py").write_text("raise SystemExit('hostile code was run')")
    monkeypatch.syspath_prepend(tmp_path)
    path = version / "features.json"
    content = json.loads(path.read_text())
    content["featuresDict"]["features"]["file_name"] = HOSTILE[case]("hostile_set.Feature")
    path.write_text(json.dumps(content))
    options = {"stream": True, "side": 8} if stream else {}
    with pytest.raises(InputError, match=f"{path} names the class 'hostile_set.Feature'; only"):
        load(None, source="tfds", name="tiny_photos", dir=str(tmp_path / "sets"), **options)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("features.json", "{", "features.json cannot be read: "),
        ("features.json", "[" * 10**5, "features.json cannot be read: "),
        ("dataset_info.json", "{", "1.0.0 is no readable data set: "),
    ],
)
def test_damaged_descriptions_are_named(tmp_path, name, content, message):
    version = imagesets.write_tfds(tmp_path, counts={"train": 4, "test": 3})
    (version / name).write_text(content)
    with pytest.raises(InputError, match=message) as error:
        load(None, source="tfds", name="tiny_photos", dir=str(tmp_path))
    assert "\n" not in str(error.value)


def test_shards_that_are_missing_or_cut_are_named(tmp_path):
    version = imagesets.write_tfds(tmp_path, counts={"train": 40, "test": 9})
    path = version / "tiny_photos-train.array_record-00001-of-00003"
    path.write_bytes(path.read_bytes()[:500])
    for message in (f"{path} is cut short or damaged: 0 of its 13", f"{path} is missing: train"):
        with pytest.raises(InputError, match=message):
            load(None, source="tfds", name="tiny_photos", dir=str(tmp_path))
        path.unlink(missing_ok=True)
    info = version / "dataset_info.json"
    elsewhere = info.read_text().replace("{DATASET}-{SPLIT}", "../../{DATASET}-{SPLIT}")
    assert elsewhere != info.read_text()
    info.write_text(elsewhere)
    with pytest.raises(InputError, match="dataset_info.json names a file outside: "):
        load(None, source="tfds", name="tiny_photos", dir=str(tmp_path))


def test_a_prepared_set_is_packed_with_its_bytes_untouched(tmp_path):
    imagesets.write_tfds(tmp_path, counts={"train": 40, "test": 9})
    pack.main("tiny_photos", str(tmp_path), tmp_path / "packed")
    with np.load(tmp_path / "packed") as file:
        content = dict(file)
    assert "mean" not in content
    for split, first, count in (("train", 0, 40), ("test", 40, 9)):
        numbers = range(first, first + count)
        images = [imagesets.jpeg(imagesets.picture(n)) for n in numbers]
        assert content[f"images_{split}"].tobytes() == b"".join(images)
        lengths = np.diff(content[f"images_{split}_offsets"])
        assert lengths.tolist() == [len(image) for image in images]
        assert content[f"labels_{split}"].tolist() == [imagesets.label_of(n) for n in numbers]
    imagesets.write_tfds(tmp_path / "other")
    with pytest.raises(InputError, match="'tiny_photos' has no split 'test'"):
        pack.main("tiny_photos", str(tmp_path / "other"), tmp_path / "packed")


@pytest.mark.data
def test_cifar10_is_whole(data_dir, tmp_path):
    config = DataConfig(source="tfds", name="cifar10", dir=str(data_dir / "tfds"))
    dataset = load_images(config, seed=0, warn=pytest.fail)
    assert [len(s) for s in (dataset.train, dataset.val, dataset.test)] == [45000, 5000, 10000]
    assert np.bincount(dataset.val.labels).tolist() == [500] * 10
    pixels = dataset.train.images[:5000] / 255.0
    np.testing.assert_allclose(pixels.mean((0, 1, 2)), dataset.mean, atol=0.01)

    pack.main("cifar10", str(data_dir / "tfds"), tmp_path / "cifar10.npz")
    assert (tmp_path / "cifar10.npz").stat().st_size < 64 * 2**20
    packed = dataclasses.replace(config, source="npz", path=str(tmp_path / "cifar10.npz"))
    again = load_images(packed, seed=0, warn=pytest.fail)
    np.testing.assert_array_equal(again.train.images, dataset.train.images)
    np.testing.assert_array_equal(again.test.labels, dataset.test.labels)
    assert (again.mean, again.std) == (dataset.mean, dataset.std)
    assert again.fingerprint == dataset.fingerprint
