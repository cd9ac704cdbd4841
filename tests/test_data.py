"""Sources: what they give, how they split, and what each refuses in one line."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from gpool_jax.config import DataConfig
from gpool_jax.data.cache import cached
from gpool_jax.data.images import pack
from gpool_jax.data.images.load import load as load_images
from gpool_jax.data.split import stratified_rows
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
    "statistics": (replaced(mean=np.zeros(2)), r"`data.mean` must be 3 numbers"),
    "one class": (
        replaced(labels_train=np.full(40, 5), labels_test=np.full(20, 5)),
        r"all training images are of one class \(5\)",
    ),
    "no offsets": (replaced(images_train=np.zeros(90, np.uint8)), "without images_train_offsets"),
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
        r"images_train\[0\] is a broken image",
    ),
    "too few": (arrays(train=4), "4 training images are too few"),
}


@pytest.mark.parametrize("case", BAD_NPZ)
def test_bad_npz_is_refused_in_one_line(tmp_path, case):
    content, message = BAD_NPZ[case]
    with pytest.raises(InputError, match=message) as error:
        load(tmp_path, content)
    assert "\n" not in str(error.value)


def test_missing_and_corrupt_files_are_named(tmp_path):
    with pytest.raises(InputError, match="`data.path`: there is no file .*none.npz"):
        load(tmp_path, source="npz", path=str(tmp_path / "none.npz"))
    with pytest.raises(InputError, match="`data.path` must name an .npz file"):
        load(tmp_path, source="npz")
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
