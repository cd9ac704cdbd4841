"""Segmentation sets: three layouts, exact labels, one line for whatever is wrong, exact streams."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpool_jax.config import PixelDataConfig
from gpool_jax.data import segmentation
from gpool_jax.data.segmentation import IGNORE, make_feed
from gpool_jax.errors import InputError, RunError

CLASSES = ("ash", "birch", "cedar")
COLOURS = np.array([[10, 200, 30], [240, 20, 90], [60, 70, 250]], np.uint8)
SIZE = (6, 8)


def scene(number: int, size: tuple[int, int] = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """An image and labels that no other number gives; the colour of a pixel is its class's."""
    labels = np.random.default_rng(number).integers(0, 3, size).astype(np.uint8)
    image = COLOURS[labels]
    labels[0, 0] = IGNORE
    return image, labels


def save(path: Path, array: np.ndarray, mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    if mode == "P":  # its colours are far from its indices
        image.putpalette([255 - i // 3 for i in range(768)])
    image.save(path)
    return path


def describe(root: Path, **content) -> None:
    base = {"name": "trees", "classes": list(CLASSES), "ignore_index": 255}
    (root / "dataset.json").write_text(json.dumps(base | content))


def write_folder(root: Path, *, train=20, val=4, test=5, size=SIZE) -> Path:
    """Numbers go on from split to split; a split of 0 is left out."""
    number = 0
    for split, count in (("train", train), ("val", val), ("test", test)):
        for _ in range(count):
            image, labels = scene(number, size)
            save(root / split / "images" / f"{number:03}.png", image)
            save(root / split / "labels" / f"{number:03}.png", labels)
            number += 1
    describe(root)
    return root


def config(root: Path, **options) -> PixelDataConfig:
    return PixelDataConfig(**({"path": str(root), "cache_dir": str(root / "cache")} | options))


def load(root: Path, seed: int = 0, warn=pytest.fail, **options) -> segmentation.PixelDataset:
    return segmentation.load(config(root, **options), seed=seed, warn=warn)


def load_stream(root: Path, **options) -> segmentation.PixelDataset:
    return load(root, **({"stream": True, "crop": SIZE, "workers": 0} | options))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Not to be changed; `tree` is."""
    return write_folder(tmp_path_factory.mktemp("trees"))


@pytest.fixture
def tree(tmp_path) -> Path:
    return write_folder(tmp_path / "trees")


# What is read


def test_a_folder_is_read_exactly(folder):
    data = load(folder)
    assert (data.name, data.class_names, data.num_classes) == ("trees", CLASSES, 3)
    first = 0
    for split, count in ((data.train, 20), (data.val, 4), (data.test, 5)):
        assert len(split) == count
        assert split.image_shape == (*SIZE, 3)
        assert split.names == tuple(f"{n:03}" for n in range(first, first + count))
        for row in range(count):
            image, labels = scene(first + row)
            np.testing.assert_array_equal(split.images[row], image)
            np.testing.assert_array_equal(split.labels[row], labels)
        assert split.images.dtype == split.labels.dtype == np.uint8
        first += count


def test_rows_of_a_split(folder):
    train = load(folder).train
    rows = np.array([7, 2])
    taken = train.take(rows)
    assert taken.names == ("007", "002")
    for content in (train.batch(rows), taken.batch(np.arange(2)), vars(taken.load())):
        np.testing.assert_array_equal(content["images"][0], scene(7)[0])
        np.testing.assert_array_equal(content["labels"][1], scene(2)[1])
    assert taken.checksum == train.take(rows).checksum != train.take(rows[::-1]).checksum
    labels = taken.labels.copy()
    labels[0, 1, 1] += 1
    assert dataclasses.replace(taken, labels=labels).checksum != taken.checksum


def test_the_ignored_number_is_the_descriptions(tree):
    labels = np.full(SIZE, 2, np.uint8)
    labels[2] = 77
    save(tree / "train" / "labels" / "000.png", labels)
    for path in tree.glob("*/labels/*.png"):
        own = np.asarray(Image.open(path)).copy()
        own[own == IGNORE] = 77
        save(path, own)
    describe(tree, ignore_index=77)
    found = load(tree).train.labels[0]
    assert (found[2] == IGNORE).all()
    assert (np.delete(found, 2, axis=0) == 2).all()


def test_an_image_of_ignored_pixels_alone_is_fine(tree):
    save(tree / "train" / "labels" / "000.png", np.full(SIZE, IGNORE, np.uint8))
    assert (load(tree).train.labels[0] == IGNORE).all()


def test_images_are_smoothed_and_labels_are_not(tmp_path):
    write_folder(tmp_path, size=(8, 8))
    board = np.indices((8, 8)).sum(0) % 2
    save(tmp_path / "train" / "images" / "000.png", np.stack([255 * board] * 3, -1).astype("u1"))
    save(tmp_path / "train" / "labels" / "000.png", (2 * board).astype(np.uint8))
    small = load(tmp_path, size=(4, 4)).train
    # Without antialiasing a checkerboard at half its size is black or white all over.
    assert np.abs(small.images[0].astype(int) - 127).max() < 30
    assert set(np.unique(small.labels[0])) <= {0, 2}
    large = load(tmp_path, size=(16, 24)).train
    assert large.image_shape == (16, 24, 3)
    np.testing.assert_array_equal(large.labels[0], (2 * board).repeat(2, 0).repeat(3, 1))
    assert len(np.unique(large.images[0])) > 2


def write_cityscapes(root: Path, labels: np.ndarray, train: int = 10) -> Path:
    for split, count in (("train", train), ("val", 2), ("test", 1)):
        for n in range(count):
            city = ("aachen", "bochum")[n % 2]
            stem = f"{city}_{n:06}"
            image = np.full((*labels.shape, 3), n, np.uint8)
            save(root / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png", image)
            base = root / "gtFine" / split / city
            save(base / f"{stem}_gtFine_labelIds.png", labels)
            # Two of the other files that lie there.
            save(base / f"{stem}_gtFine_color.png", image)
            save(base / f"{stem}_gtFine_instanceIds.png", labels.astype(np.uint16))
    return root


# The benchmark's own table (cityscapesScripts, labels.py): trainId of the ids 0 to 33.
TRAIN_IDS = [255] * 7 + [0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255]
TRAIN_IDS += [6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 255, 255, 16, 17, 18]


def test_every_id_of_cityscapes_becomes_its_evaluation_class(tmp_path):
    ids = np.array([*range(34), 255, 7], np.uint8).reshape(4, 9)
    write_cityscapes(tmp_path, ids)
    data = load(tmp_path, source="cityscapes")
    assert data.name == "cityscapes"
    assert data.num_classes == 19
    assert [data.class_names[i] for i in (0, 10, 18)] == ["road", "sky", "bicycle"]
    wanted = np.array([*TRAIN_IDS, 255, 0]).reshape(4, 9)
    for split in (data.train, data.val, data.test):
        np.testing.assert_array_equal(split.labels, np.broadcast_to(wanted, split.labels.shape))
    # The official val is the test split, and a tenth of train validates.
    assert data.test.names == ("aachen_000000", "bochum_000001")
    assert (len(data.train), len(data.val)) == (9, 1)
    assert not set(data.train.names) & set(data.val.names)
    for name, image in zip(data.train.names, data.train.images, strict=True):
        assert (image == int(name[-6:])).all()
    save(tmp_path / "gtFine" / "val" / "aachen" / "aachen_000000_gtFine_labelIds.png", ids + 1)
    with pytest.raises(InputError, match="label 34 in .*aachen_000000_gtFine_labelIds.png is out"):
        load(tmp_path, source="cityscapes")


def write_voc(base: Path, train: int = 10, val: int = 2) -> Path:
    """Sizes differ; all labels of an image are its number, and its first row is void."""
    lists = base / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for split, numbers in (("train", range(train)), ("val", range(train, train + val))):
        for n in numbers:
            size = (8 + 2 * (n % 3), 10)
            labels = np.full(size, n, np.uint8)
            labels[:2] = 255
            save(base / "JPEGImages" / f"2007_{n:06}.jpg", np.full((*size, 3), 10 * n, np.uint8))
            save(base / "SegmentationClass" / f"2007_{n:06}.png", labels, "P")
        (lists / f"{split}.txt").write_text("".join(f"2007_{n:06}\n" for n in numbers))
    # Neither listed image nor list is used.
    save(base / "JPEGImages" / "2008_000001.jpg", np.zeros((4, 4, 3), np.uint8))
    (lists / "trainaug.txt").write_text("2008_000001\n")
    return base


@pytest.mark.parametrize("below", ["", "VOC2012", "VOCdevkit/VOC2012"])
def test_voc_labels_are_indices_of_a_palette(tmp_path, below):
    write_voc(tmp_path / below)
    data = load(tmp_path, source="voc", size=(8, 10))
    assert data.name == "voc2012"
    assert data.num_classes == 21
    assert [data.class_names[i] for i in (0, 15, 20)] == ["background", "person", "tvmonitor"]
    assert data.test.names == ("2007_000010", "2007_000011")
    assert (len(data.train), len(data.val)) == (9, 1)
    assert len({*data.train.names, *data.val.names}) == 10
    for split in (data.train, data.val, data.test):
        assert split.image_shape == (8, 10, 3)
        for row, name in enumerate(split.names):
            number = int(name[-6:])
            assert (split.labels[row][0] == IGNORE).all()
            assert (split.labels[row][3:] == number).all()
            assert np.abs(split.images[row].astype(int) - 10 * number).max() <= 2


# Splits


@pytest.mark.parametrize("own", ["val", "test"])
def test_a_missing_split_is_a_tenth_of_train(tmp_path, own):
    other = {"val": "test", "test": "val"}[own]
    write_folder(tmp_path, **{other: 0})
    names = {f"{n:03}" for n in range(20)}
    drawn = []
    for seed in (0, 0, 1):
        data = load(tmp_path, seed=seed)
        assert data.test.names == tuple(f"{n:03}" for n in range(20, 20 + len(data.test)))
        assert (len(data.train), len(data.val)) == (18, 2)
        assert set(data.train.names) | set(data.val.names) == names
        drawn.append(data.val.names)
        streamed = segmentation.load(
            config(tmp_path, stream=True, crop=(4, 4)), seed=seed, warn=pytest.fail
        )
        for split in ("train", "val", "test"):
            assert getattr(streamed, split).names == getattr(data, split).names
    assert drawn[0] == drawn[1] != drawn[2]


def test_num_train_draws_by_the_seed_and_leaves_the_rest_alone(tmp_path):
    write_folder(tmp_path, val=0)
    whole = load(tmp_path)
    few, other = load(tmp_path, num_train=6), load(tmp_path, num_train=6, seed=1)
    assert len(few.train) == 6
    assert set(few.train.names) < set(whole.train.names)
    assert few.train.names != whole.train.names[:6]
    assert few.train.names != other.train.names
    assert few.val.names == whole.val.names
    assert len(load(tmp_path, num_train=100).train) == 18
    assert few.fingerprint["train"] != whole.fingerprint["train"]
    assert few.fingerprint["val"] == whole.fingerprint["val"]
    assert load_stream(tmp_path, num_train=6).train.names == few.train.names


def test_statistics_are_the_configs_or_imagenets(folder):
    data = load(folder)
    assert data.mean == (0.485, 0.456, 0.406)
    assert data.std == (0.229, 0.224, 0.225)
    data = load(folder, mean=(0.1, 0.2, 0.3))
    assert data.mean == (0.1, 0.2, 0.3)
    assert data.std == (0.229, 0.224, 0.225)


# What is wrong


def drop(path):
    return lambda root: (root / path).unlink()


def put(path, array):
    return lambda root: save(root / path, array)


def write(path, content: bytes):
    return lambda root: (root / path).write_bytes(content)


def rename(path, new):
    return lambda root: (root / path).rename(root / new)


def cut_short(path):
    return lambda root: (root / path).write_bytes((root / path).read_bytes()[:-30])


def described(**content):
    return lambda root: describe(root, **content)


def several_without_label(root):
    for n in (20, 22, 23):
        (root / "val" / "labels" / f"{n:03}.png").unlink()


def empty_split(root):
    for path in root.glob("val/*/*.png"):
        path.unlink()


GREY = np.zeros(SIZE, np.uint8)
BROKEN = [
    (drop("dataset.json"), "has no dataset.json with `classes`"),
    (write("dataset.json", b'{"classes": ["a",\n'), "dataset.json is not readable JSON: "),
    (write("dataset.json", b'{"\xff": 1}'), "dataset.json is not readable JSON: "),
    (write("dataset.json", b"[1, 2]"), r"dataset.json must hold an object; got \[1, 2\]"),
    (write("dataset.json", b'{"name": "x"}'), "`classes` must be 2 to 255 .*got null"),
    (described(classes=["ash"]), r"`classes` must be 2 to 255 .*got \[\"ash\"\]"),
    (described(classes=["ash", "ash"]), "`classes` must be 2 to 255 different names"),
    (described(classes=["ash", 3]), r"`classes` must .*got \[\"ash\", 3\]"),
    (described(classes=[str(n) for n in range(256)]), "`classes` must be 2 to 255 .*\\.\\.\\."),
    (described(ignore_index=1), r"`ignore_index` must be .*in \[3, 255\]; got 1"),
    (described(ignore_index="no"), '`ignore_index` must be .*; got "no"'),
    (described(ignore_index=-1), "`ignore_index` must be .*; got -1"),
    (described(name=7), "`name` must be a string; got 7"),
    (rename("train", "training"), r"needs train/ and test/ \(or val/\); it has val/, test/"),
    (rename("val/labels", "val/masks"), "there is no folder .*/val/labels"),
    (empty_split, "val/images holds no images"),
    (
        drop("test/labels/026.png"),
        "the image .*/test/images/026.png has no label file in .*/test/labels",
    ),
    (several_without_label, r"the image .*/020.png \(and 2 more\) has no label file in"),
    (
        drop("val/images/021.png"),
        "the label file .*/val/labels/021.png has no image in .*/val/images",
    ),
    (
        put("train/images/003.bmp", np.zeros((*SIZE, 3), np.uint8)),
        "train/images/003.bmp and .*/003.png are two files of one name",
    ),
    (
        put("test/labels/025.png", np.zeros((6, 9), np.uint8)),
        "test/labels/025.png is 9x6 pixels, its image .*/test/images/025.png is 8x6",
    ),
    (
        put("train/labels/000.png", np.full(SIZE, 3, np.uint8)),
        r"label 3 in .*/train/labels/000.png is out of range; allowed: 0 to 2, or 255 \(ignore\)",
    ),
    # The last of a split: a stream looks at a sample from all over it.
    (
        put("train/labels/019.png", np.full(SIZE, 3, np.uint8)),
        "label 3 in .*/train/labels/019.png is out of range",
    ),
    (
        put("val/labels/020.png", np.full(SIZE, 254, np.uint8)),
        "label 254 in .*/val/labels/020.png is out of range",
    ),
    (
        described(ignore_index=200),
        r"label 255 in .*/labels/0.*png is out of range; allowed: 0 to 2, or 200 \(ignore\)",
    ),
    (
        put("train/labels/000.png", np.zeros((*SIZE, 3), np.uint8)),
        "train/labels/000.png is of Pillow's mode 'RGB'; labels are one number per pixel",
    ),
    (
        put("train/labels/000.png", GREY.astype(np.uint16)),
        "train/labels/000.png is of Pillow's mode 'I;16'",
    ),
    (write("val/images/020.png", b"no image"), "020.png is a broken image: its format is unknown"),
    (write("val/labels/020.png", b""), "020.png is a broken label file: its format is unknown"),
    (cut_short("train/images/000.png"), "train/images/000.png is a broken image: "),
    (cut_short("test/labels/024.png"), "test/labels/024.png is a broken label file: "),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("change", "message"), BROKEN)
def test_what_is_wrong_in_a_folder_is_one_line_before_training(tree, change, message, stream):
    change(tree)
    with pytest.raises(InputError, match=message) as error:
        load_stream(tree) if stream else load(tree)
    assert "\n" not in str(error.value)
    assert not list(tree.glob("cache/*"))


@pytest.mark.parametrize("stream", [False, True])
def test_sizes_that_differ_need_data_size(tree, stream):
    read = load_stream if stream else load
    image, labels = scene(24, (9, 7))
    save(tree / "test" / "images" / "024.png", image)
    save(tree / "test" / "labels" / "024.png", labels)
    match = r"test/images/024.png is 7x9 pixels, .*/train/images/000.png is 8x6; .*`data.size`"
    with pytest.raises(InputError, match=match):
        read(tree)
    batch = read(tree, size=(18, 14)).test.batch(np.array([0]))
    np.testing.assert_array_equal(batch["labels"][0], labels.repeat(2, 0).repeat(2, 1))
    # Given a size, labels of another size than their image are still wrong.
    save(tree / "test" / "labels" / "024.png", GREY)
    with pytest.raises(InputError, match="both must have one size"):
        read(tree, size=(18, 14))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": None}, "`data.path` must name a folder for data.source folder"),
        ({"path": "/nowhere"}, "`data.path`: there is no folder /nowhere"),
        ({"source": "ade"}, "`data.source` must be one of folder, cityscapes, voc; got 'ade'"),
        ({"size": (0, 8)}, "`data.size` must be a height and a width.*; got 0 8"),
        ({"crop": (8, -1)}, "`data.crop` must be a height and a width.*; got 8 -1"),
        ({"stream": True}, "`data.crop` must be given with data.stream; got None"),
        ({"source": "voc"}, "`data.size` must be given for data.source voc, .*; got None"),
        ({"source": "voc", "size": SIZE}, "needs JPEGImages/, SegmentationClass/ and"),
        ({"source": "cityscapes"}, "there is no folder .*/leftImg8bit/train"),
        ({"mean": (0.5,)}, r"`data.mean` must be 3 numbers.*got \[0.5\]"),
        ({"std": (0.5, 0.5, 0.0)}, r"`data.std` must be 3 numbers.*positive"),
    ],
)
def test_options_that_do_not_fit(folder, options, message):
    with pytest.raises(InputError, match=message) as error:
        load(folder, **options)
    assert "\n" not in str(error.value)


def test_too_few_images_to_validate_on(tmp_path):
    write_folder(tmp_path, train=4, val=0)
    with pytest.raises(InputError, match="4 training images are too few"):
        load(tmp_path)


def test_cityscapes_without_labels_or_images(tmp_path):
    write_cityscapes(tmp_path, np.zeros((2, 2), np.uint8))
    path = tmp_path / "gtFine" / "train" / "bochum" / "bochum_000003_gtFine_labelIds.png"
    path.unlink()
    with pytest.raises(InputError, match="bochum_000003_leftImg8bit.png has no label file in .*gt"):
        load(tmp_path, source="cityscapes")
    for name in ("leftImg8bit", "gtFine"):
        (tmp_path / name).rename(tmp_path / "away")
        with pytest.raises(InputError, match=f"there is no folder .*/{name}/train"):
            load(tmp_path, source="cityscapes")
        (tmp_path / "away").rename(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("ImageSets/Segmentation/val.txt"), "val.txt is missing or cannot be read"),
        (drop("JPEGImages/2007_000003.jpg"), "2007_000003.png has no image in .*/JPEGImages"),
        (drop("SegmentationClass/2007_000011.png"), "2007_000011.jpg has no label file in"),
        (
            write("ImageSets/Segmentation/val.txt", b"2007_000010\nx\ny\n"),
            r"val.txt lists x \(and 1 more\), which is not in .*JPEGImages",
        ),
        # An image that is trained and tested on.
        (
            write("ImageSets/Segmentation/val.txt", b"2007_000010\n2007_000003\n"),
            "val.txt lists 2007_000003 a second time",
        ),
        (
            write("ImageSets/Segmentation/val.txt", b"2007_000010\n2007_000010\n"),
            "val.txt lists 2007_000010 a second time",
        ),
        (write("ImageSets/Segmentation/train.txt", b""), "JPEGImages holds no images"),
        (
            put("SegmentationClass/2007_000000.png", np.full((8, 10), 21, np.uint8)),
            r"label 21 in .*/2007_000000.png is out of range; allowed: 0 to 20, or 255 \(void\)",
        ),
    ],
)
def test_what_is_wrong_in_voc(tmp_path, change, message):
    change(write_voc(tmp_path))
    with pytest.raises(InputError, match=message):
        load(tmp_path, source="voc", size=(8, 10))


# Cache


@pytest.fixture
def decoded(monkeypatch):
    """How often a split was decoded so far."""
    calls = []
    original = segmentation.decode_all

    def counting(*args):
        calls.append(args)
        return original(*args)

    monkeypatch.setattr(segmentation, "decode_all", counting)
    return calls


def test_a_set_is_decoded_once(tree, decoded):
    first = load(tree)
    assert len(decoded) == 3
    again = load(tree)
    assert len(decoded) == 3
    assert again.fingerprint == first.fingerprint
    assert again.train.names == first.train.names
    np.testing.assert_array_equal(again.val.labels, first.val.labels)


def new_date(root):
    path = root / "val" / "labels" / "020.png"
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (new_date, {}),
        (put("test/images/024.png", np.zeros((*SIZE, 3), np.uint8)), {}),
        (rename("train/images/000.png", "train/images/000.PNG"), {}),
        # The same files, read otherwise.
        (described(classes=["a", "b", "c", "d"]), {}),
        (lambda root: None, {"size": (12, 16)}),
    ],
)
def test_other_files_or_another_reading_are_decoded_anew(tree, decoded, change, options):
    load(tree)
    change(tree)
    load(tree, **options)
    assert len(decoded) == 6


def test_a_damaged_cache_is_decoded_anew_and_said_once(tree, decoded):
    first = load(tree)
    (path,) = (tree / "cache").iterdir()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    lines = []
    again = load(tree, warn=lines.append)
    assert len(lines) == 1
    assert "is damaged" in lines[0]
    assert len(decoded) == 6
    assert again.fingerprint == first.fingerprint
    load(tree)
    assert len(decoded) == 6


def test_a_stream_caches_nothing(tree, monkeypatch):
    monkeypatch.setattr(segmentation, "cached", pytest.fail)
    load_stream(tree)


# Streams


@pytest.fixture
def open_feed(folder):
    """Makes feeds that are closed when the test ends, however it ends."""
    feeds = []

    def make(root=folder, train=None, size=None, **options):
        feed = {name: options.pop(name) for name in FEED if name in options}
        given = {"crop": (5, 7), "workers": 0} | options
        whole = config(root, stream=True, size=size, **given)
        if train is None:
            train = segmentation.load(whole, seed=0, warn=pytest.fail).train
        feeds.append(make_feed(train, whole, **({"batch_size": 4, "seed": 0} | feed)))
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
    monkeypatch.setattr(segmentation, "_LABELS_CHECKED", 2)
    save(tree / "train" / "labels" / "010.png", np.full(SIZE, 9, np.uint8))
    data = load_stream(tree)
    message = "label 9 in .*/train/labels/010.png is out of range; allowed: 0 to 2"
    with pytest.raises(RunError, match=message):
        data.train.batch(np.array([10]))
    options = config(tree, stream=True, crop=(3, 3), workers=0)
    feed = make_feed(data.train, options, batch_size=20, seed=0)
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
        make_feed(train, config(folder, stream=True), batch_size=4, seed=0)
    with pytest.raises(InputError, match="`train.batch_size` must be at most the 20 .*got 21"):
        make_feed(train, config(folder, stream=True, crop=SIZE), batch_size=21, seed=0)


# Real data


@pytest.mark.data
def test_camvid(data_dir, tmp_path):
    data = load(data_dir / "camvid", size=(180, 240), cache_dir=str(tmp_path))
    assert data.name == "camvid"
    assert data.num_classes == 11
    assert [len(s) for s in (data.train, data.val, data.test)] == [367, 101, 233]
    for split in (data.train, data.val, data.test):
        assert split.image_shape == (180, 240, 3)
        assert set(np.unique(split.labels)) == {*range(11), IGNORE}
    # Sky is above and road below, as cameras on cars see them.
    height = np.arange(180)[None, :, None]
    sky, road = (
        (height * (data.train.labels == c)).sum() / (data.train.labels == c).sum()
        for c in map(data.class_names.index, ("sky", "road"))
    )
    assert sky < 60 < 110 < road
    streamed = load(data_dir / "camvid", size=(180, 240), stream=True, crop=(160, 160))
    rows = np.array([0, 50, 100])
    np.testing.assert_array_equal(streamed.val.batch(rows)["images"], data.val.images[rows])
