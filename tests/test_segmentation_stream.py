"""Images with pixel labels read from disk while training: order, crops, resumption."""

import json
from pathlib import Path

import numpy as np
import pytest

from gpool_jax.data.pixels import load as loading
from gpool_jax.data.pixels.files import IGNORE
from gpool_jax.errors import InputError, RunError
from tests.pixelsets import (
    CLASSES,
    SIZE,
    config,
    describe,
    load,
    load_stream,
    save,
    scene,
    write_folder,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Not to be changed; `tree` is."""
    return write_folder(tmp_path_factory.mktemp("trees"))


@pytest.fixture
def tree(tmp_path) -> Path:
    return write_folder(tmp_path / "trees")


@pytest.fixture
def open_feed(folder):
    """Makes feeds that are closed when the test ends, however it ends."""
    feeds = []

    def make(root=folder, train=None, size=None, **options):
        feed = {name: options.pop(name) for name in FEED if name in options}
        given = {"crop": (5, 7), "workers": 0} | options
        whole = config(root, stream=True, size=size, **given)
        if train is None:
            train = loading.load(whole, seed=0, warn=pytest.fail).train
        feeds.append(train.feed(whole, **({"batch_size": 4, "seed": 0} | feed)))
        return feeds[-1]

    yield make
    for feed in feeds:
        feed.close()


FEED = ("batch_size", "seed", "process_index", "process_count")


def test_on_disk_a_split_is_what_it_is_in_memory(folder):
    for size in (None, (9, 5)):
        here, there = load(folder, size=size), load_stream(folder, size=size)
        for split in ("train", "val", "test"):
            on_disk, in_memory = getattr(there, split), getattr(here, split)
            assert len(on_disk) == len(in_memory)
            assert on_disk.image_shape == in_memory.image_shape
            assert on_disk.names == in_memory.names
            assert on_disk.load().checksum == in_memory.checksum
        rows = np.array([3, 1])
        for content in (there.train.batch(rows), there.train.take(rows).batch(np.arange(2))):
            for name in ("images", "labels"):
                assert content[name].dtype == np.uint8
                np.testing.assert_array_equal(content[name], here.train.batch(rows)[name])


def test_a_fingerprint_of_a_stream_tells_sets_apart(tree):
    def found(**options):
        return load_stream(tree, **options).fingerprint["train"]

    first = found()
    assert first == found(crop=(3, 3))
    assert first != found(size=(12, 16))
    assert first != found(num_train=19)
    describe(tree, classes=[*CLASSES, "date"])
    other = found()
    assert other != first
    path = tree / "train" / "labels" / "004.png"
    path.write_bytes(path.read_bytes() + b" ")  # readable still, and another file
    assert found() != other


def test_batches_have_the_arrays_that_the_loop_wants(open_feed):
    feed = open_feed()
    inputs = feed.inputs_at(0, 3)
    shapes = {name: (array.shape, array.dtype) for name, array in inputs.items()}
    assert shapes == {
        "images": ((3, 4, 5, 7, 3), np.uint8),
        "labels": ((3, 4, 5, 7), np.uint8),
        "position": ((3, 4), np.int32),
    }
    assert feed.data == {}
    assert feed.fetch(feed.data, inputs).keys() == inputs.keys()
    np.testing.assert_array_equal(inputs["position"], np.tile(np.arange(4), (3, 1)))


def test_an_epoch_shows_every_image_once_in_an_order_of_the_seed(open_feed):
    def order(seed):
        """Images of 20 are known by their whole content at scale 1."""
        options = {"crop": SIZE, "min_scale": 1.0, "max_scale": 1.0, "seed": seed}
        found = open_feed(**options).inputs_at(0, 10)
        known = {scene(n)[0].tobytes(): n for n in range(20)}
        numbers = [known[image.tobytes()] for image in found["images"].reshape(-1, *SIZE, 3)]
        for number, labels in zip(numbers, found["labels"].reshape(-1, *SIZE), strict=True):
            np.testing.assert_array_equal(labels, scene(number)[1])
        return numbers

    first, other = order(0), order(1)
    assert sorted(first[:20]) == sorted(first[20:]) == list(range(20))
    assert first[:20] != first[20:]
    assert first != other
    assert first == order(0)


@pytest.mark.slow
def test_stopped_in_mid_epoch_it_goes_on_with_the_same_bytes(open_feed):
    straight = open_feed().inputs_at(0, 7)
    assert len({image.tobytes() for image in straight["images"].reshape(-1, 5, 7, 3)}) > 20
    for workers in (0, 2):
        first = open_feed(workers=workers)
        parts = [first.inputs_at(0, 3)]
        assert len(getattr(first._open, "_workers", ())) == workers
        state = json.loads(json.dumps(first.state()))
        assert state["next_batch"] == 3
        first.close()
        second = open_feed(workers=workers) if workers == 0 else open_feed(workers=1)
        second.restore(state, 3)
        parts.append(second.inputs_at(3, 4))
        second.close()
        for name, wanted in straight.items():
            found = np.concatenate([part[name] for part in parts])
            assert found.tobytes() == wanted.tobytes(), (name, workers)


def test_shares_of_two_processes_are_the_whole_batch(open_feed):
    whole = open_feed().inputs_at(0, 3)
    shares = [open_feed(process_index=i, process_count=2).inputs_at(0, 3) for i in (0, 1)]
    for name, wanted in whole.items():
        np.testing.assert_array_equal(np.concatenate([s[name] for s in shares], 1), wanted)


def test_the_stream_of_another_run_is_refused(open_feed, folder):
    state = open_feed().state()
    fewer = load_stream(folder, num_train=19).train
    changes = [
        ({"crop": (4, 7)}, "crop was '5x7, scale 0.5 to 2, .*, and is '4x7"),
        ({"max_scale": 1.5}, "crop was '5x7, scale 0.5 to 2, .*scale 0.5 to 1.5"),
        ({"mean": (0.0, 0.0, 0.0)}, r"crop was .*fill \(124, 116, 104\).*fill \(0, 0, 0\)"),
        ({"size": (12, 16)}, "records was '20 images"),
        ({"train": fewer}, "records was '20 images, .*, and is '19 images"),
        ({"seed": 1}, "seed was 0, and is 1"),
    ]
    for options, message in changes:
        with pytest.raises(InputError, match=f"cannot go on .* step 0: {message}"):
            open_feed(**options).restore(state, 0)
    open_feed().restore(state, 0)


def test_what_lies_outside_the_image_is_mean_coloured_and_ignored(open_feed):
    """At scale 1 each image stands whole in a crop that is larger in both dimensions."""
    options = {"crop": (9, 10), "min_scale": 1.0, "max_scale": 1.0}
    offsets = set()
    for mean, fill in ((None, (124, 116, 104)), ((0.2, 0.4, 0.6), (51, 102, 153))):
        found = open_feed(mean=mean, **options).inputs_at(0, 5)
        images, labels = found["images"].reshape(-1, 9, 10, 3), found["labels"].reshape(-1, 9, 10)
        known = {scene(n)[0].tobytes(): n for n in range(20)}
        for image, label in zip(images, labels, strict=True):
            inside = (image != np.array(fill)).any(-1)
            rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
            part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
            number = known[np.ascontiguousarray(image[part]).tobytes()]
            np.testing.assert_array_equal(label[part], scene(number)[1])
            label = label.copy()
            label[part] = IGNORE
            assert (label == IGNORE).all()
            assert inside.sum() == SIZE[0] * SIZE[1]
            offsets.add((int(rows[0]), int(columns[0])))
    # Everywhere that it fits, the last row and column included.
    assert {top for top, _ in offsets} == {0, 1, 2, 3}
    assert {left for _, left in offsets} == {0, 1, 2}


BLOCK = 8


@pytest.fixture(scope="module")
def gradients(tmp_path_factory) -> Path:
    """Red and green tell the place in the file to a quarter of a pixel, the label its block."""
    root = tmp_path_factory.mktemp("gradients")
    y, x = np.mgrid[:40, :56]
    image = np.stack([4 * y, 4 * x, 0 * x], -1).astype(np.uint8)
    labels = (y // BLOCK * 7 + x // BLOCK).astype(np.uint8)
    for split, count in (("train", 20), ("val", 1), ("test", 1)):
        for n in range(count):
            save(root / split / "images" / f"{n}.png", image)
            save(root / split / "labels" / f"{n}.png", labels)
    describe(root, classes=[str(n) for n in range(35)])
    return root


@pytest.mark.parametrize(("size", "own"), [(None, (1, 1)), ((80, 84), (2, 1.5))])
def test_an_image_and_its_labels_stay_together(open_feed, gradients, size, own):
    feed = open_feed(gradients, crop=(44, 48), size=size, min_scale=0.5, max_scale=2.0)
    found = feed.inputs_at(0, 10)
    images, labels = found["images"].reshape(-1, 44, 48, 3), found["labels"].reshape(-1, 44, 48)
    scales, edges = [], []
    for image, label in zip(images, labels, strict=True):
        inside = label != IGNORE
        np.testing.assert_array_equal(inside, (image[..., 2] == 0))
        # From the middle of a pixel, in pixels of the file.
        places = image[..., :2].astype(float) / 4 + 0.5
        for axis, blocks in enumerate((label // 7, label % 7)):
            low = (blocks * BLOCK - places[..., axis])[inside]
            # Nothing is further outside its block than a quarter pixel's rounding.
            assert max(low.max(), -low.min() - BLOCK) < 0.3
        rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
        middle = rows[len(rows) // 2], columns[len(columns) // 2]
        lines = places[rows, middle[1], 0], places[middle[0], columns, 1]
        steps = [np.diff(line)[2:-2].mean() for line in lines]
        scale = [1 / step / ratio for step, ratio in zip(steps, own, strict=True)]
        assert scale[0] == pytest.approx(scale[1], rel=0.1)
        scales.append(scale[1])
        edges.append((places[..., 1][inside].min(), places[..., 1][inside].max()))
    assert 0.47 < min(scales) < 0.75
    assert 1.6 < max(scales) < 2.1
    # Crops reach both ends of the images, and are not all alike.
    assert min(low for low, _ in edges) < 1.5
    assert max(high for _, high in edges) > 54.5
    assert len(set(edges)) > 20


def test_a_window_in_the_image_is_an_exact_part_of_it(open_feed, gradients):
    feed = open_feed(gradients, crop=(36, 52), min_scale=1.0, max_scale=1.0)
    found = feed.inputs_at(0, 10)
    whole = load_stream(gradients).train.batch(np.array([0]))
    corners = set()
    for image, label in zip(
        found["images"].reshape(-1, 36, 52, 3), found["labels"].reshape(-1, 36, 52), strict=True
    ):
        top, left = image[0, 0, :2] // 4
        part = (0, slice(top, top + 36), slice(left, left + 52))
        np.testing.assert_array_equal(image, whole["images"][part])
        np.testing.assert_array_equal(label, whole["labels"][part])
        corners.add((int(top), int(left)))
    assert {top for top, _ in corners} == {left for _, left in corners} == set(range(5))
    assert len(corners) > 10


def test_a_bad_file_that_was_not_looked_at_stops_the_run(tree, monkeypatch):
    monkeypatch.setattr(loading, "_LABELS_CHECKED", 2)
    save(tree / "train" / "labels" / "010.png", np.full(SIZE, 9, np.uint8))
    data = load_stream(tree)
    message = "label 9 in .*/train/labels/010.png is out of range; allowed: 0 to 2"
    with pytest.raises(RunError, match=message):
        data.train.batch(np.array([10]))
    options = config(tree, stream=True, crop=(3, 3), workers=0)
    feed = data.train.feed(options, batch_size=20, seed=0)
    with pytest.raises(RunError, match=message):
        feed.inputs_at(0, 1)
    feed.close()
    save(tree / "train" / "labels" / "010.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(RunError, match="010.png is 4x4 pixels, its image .* is 8x6"):
        data.train.batch(np.array([10]))
    # Of sizes, all are looked at.
    with pytest.raises(InputError, match="010.png is 4x4 pixels, its image .* is 8x6"):
        load_stream(tree)
    (tree / "val" / "images" / "021.png").unlink()
    with pytest.raises(RunError, match="val/images/021.png is a broken image: .*No such file"):
        data.val.load()


def test_a_feed_needs_a_crop_and_a_batch_of_images(folder):
    train = load_stream(folder).train
    with pytest.raises(InputError, match="`data.crop` must be given with data.stream"):
        train.feed(config(folder, stream=True), batch_size=4, seed=0)
    with pytest.raises(InputError, match="`train.batch_size` must be at most the 20 .*got 21"):
        train.feed(config(folder, stream=True, crop=SIZE), batch_size=21, seed=0)
