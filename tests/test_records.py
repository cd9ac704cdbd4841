"""Images on disk: opened by name, decoded when asked for, and refused in one line."""

import os
import resource
import shutil

import numpy as np
import pytest
from PIL import Image

from gpool_jax.data.images import load as loading
from gpool_jax.data.images.records import random_box
from gpool_jax.data.split import ArraySplit
from gpool_jax.data.statistics import IMAGENET_STATISTICS
from gpool_jax.errors import InputError, RunError
from tests import imagesets
from tests.imagesets import folder_config, load, numbers, tfds_config


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory):
    root = tmp_path_factory.mktemp("tfds")
    imagesets.write_tfds(root)
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return imagesets.write_folder(tmp_path_factory.mktemp("folder"))


@pytest.fixture(scope="module")
def train(tfds_dir):
    """36 training images."""
    return load(tfds_config(tfds_dir)).train


# Opening


@pytest.mark.parametrize("kind", ["tfds", "folder"])
def test_splits_are_disjoint_and_hold_the_images_of_their_labels(tfds_dir, folder, kind):
    config = tfds_config(tfds_dir) if kind == "tfds" else folder_config(folder)
    dataset = load(config)
    found = []
    for split, count in ((dataset.train, 36), (dataset.val, 4), (dataset.test, 9)):
        assert len(split) == count
        content = split.batch(np.arange(count))
        assert content["images"].shape == (count, *split.image_shape) == (count, 16, 16, 3)
        assert (content["images"].dtype, content["labels"].dtype) == (np.uint8, np.int32)
        found.append(numbers(content["images"]))
        labels = [imagesets.label_of(n) for n in found[-1]]
        np.testing.assert_array_equal(content["labels"], labels)
    assert sorted(found[0] + found[1]) == list(range(40))
    assert sorted(found[2]) == list(range(40, 49))
    assert dataset.num_classes == 3


def test_a_small_number_of_training_images_is_drawn_by_the_seed(tfds_dir):
    few = load(tfds_config(tfds_dir, num_train=10))
    whole = load(tfds_config(tfds_dir))
    assert len(few.train) == 10
    assert set(few.train.rows) < set(whole.train.rows)
    assert not np.array_equal(few.train.rows, whole.train.rows[:10])
    np.testing.assert_array_equal(few.val.rows, whole.val.rows)
    assert few.fingerprint["train"] != whole.fingerprint["train"]


def test_validation_is_a_tenth_but_never_many(tfds_dir, monkeypatch):
    monkeypatch.setattr(loading, "_MOST_VALIDATION", 2)
    dataset = load(tfds_config(tfds_dir))
    assert [len(dataset.val), len(dataset.train)] == [2, 38]


def test_nothing_is_decoded_before_it_is_asked_for(tmp_path):
    imagesets.write_tfds(tmp_path, replace=dict.fromkeys(range(49), b"no image"))
    dataset = load(tfds_config(tmp_path))
    assert not hasattr(dataset.test, "labels")
    assert not hasattr(dataset.test, "images")
    with pytest.raises(
        RunError, match=r"record 2 of .*validation.array_record-00000-of-00003 is a"
    ):
        dataset.test.batch([2])


def test_the_fingerprint_tells_other_files_without_reading_them(tmp_path):
    imagesets.write_folder(tmp_path)
    before = load(folder_config(tmp_path)).fingerprint
    assert load(folder_config(tmp_path)).fingerprint == before
    path = tmp_path / "test" / "ant" / "042.jpg"
    path.write_bytes(path.read_bytes() + b"more")
    after = load(folder_config(tmp_path)).fingerprint
    assert after["test"] != before["test"]
    assert after["train"] == before["train"]


def test_the_fingerprint_tells_another_draw_of_as_many_images(tfds_dir):
    one, two = (loading.load(tfds_config(tfds_dir), seed=s, warn=pytest.fail) for s in (0, 1))
    assert len(one.train) == len(two.train)
    for split in ("train", "val"):
        assert one.fingerprint[split] != two.fingerprint[split]
    assert one.fingerprint["test"] == two.fingerprint["test"]


def test_which_split_is_the_test(tmp_path):
    imagesets.write_folder(tmp_path / "f", test_name="val")
    warnings = []
    dataset = loading.load(folder_config(tmp_path / "f"), seed=0, warn=warnings.append)
    assert len(dataset.test) == 9
    assert len(warnings) == 1
    assert "has no test/; val/ is the test split" in warnings[0]
    # The test labels of imagenet2012 are secret (-1); of another set the test split is meant.
    counts = {"train": 20, "validation": 4, "test": 6}
    for name, expected in (("tiny_photos", 6), ("imagenet2012", 4)):
        imagesets.write_tfds(tmp_path / "t", name=name, counts=counts)
        dataset = load(tfds_config(tmp_path / "t", name=name, mean=None, std=None))
        assert len(dataset.test) == expected
    assert (dataset.mean, dataset.std) == IMAGENET_STATISTICS


def test_statistics_are_those_of_a_sample(tfds_dir):
    dataset = load(tfds_config(tfds_dir, mean=None, std=(1.0, 1.0, 1.0)))
    pixels = dataset.train.load().images / 255.0
    np.testing.assert_allclose(dataset.mean, pixels.mean((0, 1, 2)), atol=1e-6)
    assert dataset.std == (1.0, 1.0, 1.0)


# What an image becomes


def test_the_evaluation_crop_is_the_centre_of_the_resized_image(tfds_dir):
    dataset = load(tfds_config(tfds_dir, side=16, resize=32, eval_side=18))
    assert (dataset.train.image_shape, dataset.val.image_shape) == ((16, 16, 3), (18, 18, 3))
    content = dataset.test.batch(np.arange(9))
    for row, image in enumerate(content["images"]):
        whole = Image.fromarray(imagesets.picture(40 + row))
        scale = 32 / min(whole.size)
        size = (round(whole.width * scale), round(whole.height * scale))
        resized = np.asarray(whole.resize(size, Image.Resampling.BILINEAR), np.float64)
        top, left = (resized.shape[0] - 18) // 2, (resized.shape[1] - 18) // 2
        wanted = resized[top : top + 18, left : left + 18]
        assert np.abs(image - wanted).mean() < 5  # half a pixel, where sizes are odd


def test_crops_stay_inside_and_really_vary():
    generator = np.random.default_rng(0)
    width, height = 120, 90
    boxes = np.array([random_box(generator, width, height, 0.08) for _ in range(2000)])
    left, top, w, h = boxes.T
    assert left.min() == top.min() == 0
    assert (left + w).max() == width
    assert (top + h).max() == height
    assert min(w.min(), h.min()) > 0
    share = w * h / (width * height)
    assert 0.07 < share.min() < 0.1
    assert share.max() > 0.95
    # Uniform in area but for what does not fit.
    assert 0.4 < share.mean() < 0.56
    ratio = w / h
    assert 0.7 < ratio.min() < 0.78
    assert 1.28 < ratio.max() < 1.4
    assert len(np.unique(boxes, axis=0)) > 1900


@pytest.mark.parametrize(("width", "height"), [(500, 10), (10, 500), (1, 1), (1, 300)])
def test_an_image_of_no_allowed_shape_gives_its_middle(width, height):
    left, top, w, h = random_box(np.random.default_rng(0), width, height, 1.0)
    assert 0 <= left <= left + w <= width
    assert 0 <= top <= top + h <= height
    assert abs(2 * left + w - width) <= 1
    assert abs(2 * top + h - height) <= 1
    assert 0.7 < w / h < 1.4 or min(width, height) == 1


def test_a_training_crop_is_the_part_of_the_image_that_was_drawn(tmp_path):
    # Large, so that the JPEG is decoded at a fraction of its size.
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
    large = np.asarray(coarse.resize((1000, 750), Image.Resampling.BICUBIC))
    imagesets.write_folder(tmp_path, train=20)
    path = tmp_path / "train" / "ant" / "000.jpg"
    path.write_bytes(imagesets.jpeg(large))
    split = load(folder_config(tmp_path, side=40)).train
    place = [split.files.name(row) for row in split.rows].index(str(path))
    for seed in range(6):
        box = random_box(np.random.default_rng(seed), 1000, 750, 0.08)
        corners = (box[0], box[1], box[0] + box[2], box[1] + box[3])
        wanted = Image.fromarray(large).resize((40, 40), Image.Resampling.BILINEAR, box=corners)
        example = split.example(place, np.random.default_rng(seed), min_scale=0.08)
        assert np.abs(example["images"] - np.asarray(wanted, np.float64)).mean() < 3
        assert example["labels"] == 0


def test_images_are_resized_as_256_is_to_224_unless_told(tfds_dir):
    options = [{"side": 224}, {"side": 224, "eval_side": 288}, {"side": 224, "resize": 300}]
    sides = [load(tfds_config(tfds_dir, **o)).test.resize for o in options]
    assert sides == [256, 288, 300]


# What is refused


REFUSED = {
    "source": ({"source": "npz"}, "`data.stream` reads data.source tfds and folder.*npz"),
    "no side": ({"side": None}, "`data.side` must be given with data.stream; got None"),
    "side": ({"side": 30, "resize": 20}, "`data.side` must be at most data.resize = 20; got 30"),
    "eval side": ({"eval_side": 40, "resize": 20}, "`data.eval_side` must be at most .*got 40"),
    "folder": ({"path": "/nowhere"}, "there is no folder /nowhere"),
    "statistics": ({"mean": (0.5,)}, "`data.mean` must be 3 numbers"),
    "not a stream": ({"stream": False, "resize": 20}, "`data.resize` needs data.stream; got 20"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_options_are_refused(folder, case):
    options, message = REFUSED[case]
    with pytest.raises(InputError, match=message) as error:
        load(folder_config(folder, **options))
    assert "\n" not in str(error.value)


def test_bad_folders_are_refused(tmp_path):
    def refused(root, message):
        with pytest.raises(InputError, match=message):
            load(folder_config(root))

    imagesets.write_folder(tmp_path / "a")
    (tmp_path / "a" / "test" / "dodo").mkdir()
    refused(tmp_path / "a", "test/dodo is no class of train/")
    (tmp_path / "a" / "test" / "dodo").rmdir()
    (tmp_path / "a" / "train" / "eel").mkdir()
    refused(tmp_path / "a", "train/eel holds no images")
    (tmp_path / "a" / "train" / "eel").rmdir()
    shutil.rmtree(tmp_path / "a" / "test" / "ant")
    refused(tmp_path / "a", "the folder .*test/ant of class ant is missing")
    (tmp_path / "b" / "cat").mkdir(parents=True)
    refused(tmp_path / "b", "needs train/ and test/")


def shard(version, number=1):
    return version / f"tiny_photos-train.array_record-0000{number}-of-00003"


def test_missing_and_cut_shards_are_named_before_training(tmp_path):
    version = imagesets.write_tfds(tmp_path)
    path = shard(version)
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:-5], b"", content[:1000]):
        path.write_bytes(damaged)
        with pytest.raises(
            InputError, match=f"{path} is cut short or damaged: 0 of its 13"
        ) as error:
            load(tfds_config(tmp_path))
        assert "\n" not in str(error.value)
    path.unlink()
    with pytest.raises(
        InputError, match=f"{path} is missing: train has 3 shards in .*dataset_info"
    ):
        load(tfds_config(tmp_path))


def test_a_set_may_have_more_shards_than_files_may_be_open(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    imagesets.write_tfds(tmp_path, counts={"train": 40, "test": 2}, num_shards=40)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, hard))
    try:
        train = load(tfds_config(tmp_path)).train
        assert len(train.batch(np.arange(36))["labels"]) == 36
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_shard_damaged_in_the_middle_is_named_when_it_is_read(tmp_path):
    version = imagesets.write_tfds(tmp_path)
    content = bytearray(shard(version).read_bytes())
    content[100:400] = bytes(300)
    shard(version).write_bytes(content)
    train = load(tfds_config(tmp_path)).train
    message = rf"record \d+ of {shard(version)} cannot be read"
    with pytest.raises(RunError, match=message):
        train.batch(np.arange(36))
    # Cut while the run goes on: such a shard answers every question with nothing.
    train = load(tfds_config(tmp_path)).train
    shard(version).write_bytes(content[: len(content) // 2])
    with pytest.raises(RunError, match=f"{message}: the record is empty"):
        train.batch(np.arange(36))


def test_draws_are_stratified_in_memory_and_plain_on_disk(train):
    split = ArraySplit(np.zeros((40, 4, 4, 3), np.uint8), np.repeat([0, 1], [30, 10]).astype(int))
    assert np.bincount(split.draw(8, seed=0).labels).tolist() == [6, 2]
    rows = train.draw_rows(8, seed=0)
    assert len(np.unique(rows)) == 8
    np.testing.assert_array_equal(train.draw(8, seed=0).rows, train.rows[rows])
    assert not np.array_equal(rows, train.draw_rows(8, seed=1))
    np.testing.assert_array_equal(train.draw_rows(None, seed=0), np.arange(36))
