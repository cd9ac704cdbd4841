"""Images with a label for every pixel: layouts, splits, what is wrong with them, cache."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpool_jax.data.pixels import load as loading
from gpool_jax.data.pixels.files import IGNORE
from gpool_jax.errors import InputError
from tests.pixelsets import (
    CLASSES,
    SIZE,
    config,
    describe,
    load,
    load_stream,
    save,
    scene,
    write_cityscapes,
    write_folder,
    write_voc,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Not to be changed; `tree` is."""
    return write_folder(tmp_path_factory.mktemp("trees"))


@pytest.fixture
def tree(tmp_path) -> Path:
    return write_folder(tmp_path / "trees")


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


@pytest.mark.parametrize("below", ["", "VOC2012", "VOCdevkit/VOC2012"])
def test_voc_labels_are_indices_of_a_palette(tmp_path, below):
    write_voc(tmp_path / below)
    warnings = []
    data = load(tmp_path, source="voc", size=(8, 10), warn=warnings.append)
    assert warnings == ["`data`: 9 train images have no pixel of class boat (and 11 more)."]
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


@pytest.mark.parametrize("own", ["val", "test"])
def test_a_missing_split_is_a_tenth_of_train(tmp_path, own):
    other = {"val": "test", "test": "val"}[own]
    write_folder(tmp_path, **{other: 0})
    warnings = []
    names = {f"{n:03}" for n in range(20)}
    drawn = []
    for seed in (0, 0, 1):
        data = load(tmp_path, seed=seed, warn=warnings.append)
        assert data.test.names == tuple(f"{n:03}" for n in range(20, 20 + len(data.test)))
        assert (len(data.train), len(data.val)) == (18, 2)
        assert set(data.train.names) | set(data.val.names) == names
        drawn.append(data.val.names)
        streamed = loading.load(
            config(tmp_path, stream=True, crop=(4, 4)), seed=seed, warn=warnings.append
        )
        for split in ("train", "val", "test"):
            assert getattr(streamed, split).names == getattr(data, split).names
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(warnings) == (6 if own == "val" else 0)
    assert all("has no test/; val/ is the test split" in line for line in warnings)


def _film(root, videos):
    """Name the frames of each split after videos: `VIDEO_NUMBER.png`."""
    for split, names in videos.items():
        for part in ("images", "labels"):
            for path in sorted((root / split / part).glob("*.png")):
                number = int(path.stem)
                path.rename(path.with_name(f"{names[number % len(names)]}_f{number:03}.png"))


@pytest.mark.parametrize("stream", [False, True])
def test_no_video_is_trained_and_validated_on(tmp_path, stream):
    write_folder(tmp_path, train=24, val=0, test=5)
    _film(tmp_path, {"train": "abcdef", "test": "uvwxyz"})
    options = {"cluster": "_"} | ({"stream": True, "crop": (4, 4), "workers": 0} if stream else {})
    warnings, drawn = [], set()
    for seed in range(6):
        data = load(tmp_path, seed=seed, warn=warnings.append, **options)
        train, val = (set(s.clusters("_").tolist()) for s in (data.train, data.val))
        assert not train & val
        assert train | val == set("abcdef")
        # A tenth of 24 is 2; the first whole video of 4 reaches it.
        assert (len(data.train), len(data.val)) == (20, 4)
        drawn |= val
    assert len(drawn) > 1
    assert len(warnings) == 6
    assert all("the 5 test images are of 5 clusters" in line for line in warnings)


def test_videos_in_two_splits_of_the_source_are_said(tmp_path):
    write_folder(tmp_path, test=12)
    _film(tmp_path, {"train": "ab", "val": "bc", "test": "defghijklmnop"})
    warnings = []
    data = load(tmp_path, warn=warnings.append, cluster="_")
    (line,) = warnings
    assert line.startswith("`data.cluster`: b is in train and in val")
    assert data.notes == (line,)
    load(tmp_path)  # nobody asked


def test_one_video_cannot_be_divided(tmp_path):
    write_folder(tmp_path, val=0)
    _film(tmp_path, {"train": "a"})
    with pytest.raises(InputError, match="`data.cluster`: all 20 training images are of one clus"):
        load(tmp_path, cluster="_")


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
    (write("dataset.json", b"[" * 10**5), "dataset.json is not readable JSON: "),
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
        "train/labels/000.png is a PNG of Pillow's mode 'RGB'; labels are one number per pixel",
    ),
    (
        put("train/labels/000.png", GREY.astype(np.uint16)),
        "train/labels/000.png is a PNG of Pillow's mode 'I;16'",
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
        ({"std": (0.5, 0.5, 0.0)}, r"`data.std` must be 3 numbers.*in \(0, 1\]"),
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
        # A file of somewhere else.
        (
            write("ImageSets/Segmentation/val.txt", b"2007_000010\n../../secret\n"),
            "val.txt lists ../../secret, which is no name of a file in JPEGImages",
        ),
        (
            write("ImageSets/Segmentation/train.txt", b"/etc/passwd\n..\n"),
            r"train.txt lists /etc/passwd \(and 1 more\), which is no name of a file",
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


def read(root, *, stream=False, **options):
    """A set and what was said about it."""
    lines = []
    (load_stream if stream else load)(root, warn=lines.append, **options)
    return [line.replace(f"{root}/", "") for line in lines]


def relabel(root, split, change):
    for path in root.glob(f"{split}/labels/*.png"):
        save(path, change(np.asarray(Image.open(path)).copy()))


@pytest.mark.parametrize("stream", [False, True])
def test_masks_are_no_classes(tree, stream):
    relabel(tree, "*", lambda labels: np.where(labels > 0, 255, 0).astype(np.uint8))
    lines = read(tree, stream=stream)
    assert len(lines) == 3
    number = 16 if stream else 20
    assert lines[0] == (
        f"`data`: {number} train images have pixels of class ash and ignored ones alone; labels "
        "must be numbers of classes (0 to 2, or 255 (ignore)), not masks of 0 and 255."
    )


@pytest.mark.parametrize("stream", [False, True])
def test_a_split_without_a_labelled_pixel_is_named(tree, stream):
    relabel(tree, "val", lambda labels: np.full_like(labels, IGNORE))
    lines = ["`data`: 4 val images have no labelled pixel: all are ignored."]
    assert read(tree, stream=stream) == lines


def test_classes_without_a_pixel_are_named(tree):
    relabel(tree, "train", lambda labels: np.where(labels == 1, 0, labels))
    assert read(tree) == ["`data`: 20 train images have no pixel of class birch."]
    # What is drawn for training counts, not what is there.
    relabel(tree, "train", lambda labels: np.where(labels == 255, 0, np.minimum(labels, 0)))
    save(tree / "train" / "labels" / "000.png", np.arange(48).reshape(SIZE).astype("u1") % 3)
    assert read(tree) == []
    (line,) = read(tree, num_train=1)
    assert line == "`data`: 1 train images have no pixel of class birch (and 1 more)."


def test_files_that_are_left_out_are_named(tree):
    (tree / "train" / "images" / "000.heic").write_bytes(b"?")
    (tree / "train" / "images" / "more").mkdir()
    (tree / "train" / "labels" / ".DS_Store").write_bytes(b"?")
    assert read(tree) == [
        "`data.path`: left out, since they are no images or labels: train/images/000.heic (and 1 "
        "more)."
    ]


def test_palettes_that_differ_are_said_once(tree):
    for n, first in ((3, 0), (4, 9), (7, 50)):
        image = Image.fromarray(scene(n)[1])
        image.putpalette([first] * 3 + [255 - i // 3 for i in range(3, 768)])
        image.save(tree / "train" / "labels" / f"{n:03}.png")
    lines = read(tree)
    assert len(lines) == 1
    assert "003.png and train/labels/004.png show label 0 in different colours" in lines[0]
    np.testing.assert_array_equal(load(tree).train.labels[4], scene(4)[1])


def test_labels_that_lost_something_are_refused(tree):
    path = tree / "train" / "labels" / "000.png"
    Image.fromarray(scene(0)[1]).save(path, "JPEG")
    with pytest.raises(InputError, match="train/labels/000.png is a JPEG of Pillow's mode 'L'"):
        load(tree)


def test_sets_larger_than_memory_are_refused(tree, monkeypatch):
    monkeypatch.setattr(os, "sysconf", lambda _name: 64)
    with pytest.raises(InputError, match="29 images of 8000x6000 would take"):
        load(tree, size=(6000, 8000))


@pytest.fixture
def decoded(monkeypatch):
    """How often a split was decoded so far."""
    calls = []
    original = loading.decode_all

    def counting(*args):
        calls.append(args)
        return original(*args)

    monkeypatch.setattr(loading, "decode_all", counting)
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
    load(tree, warn=print, **options)
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
    monkeypatch.setattr(loading, "cached", pytest.fail)
    load_stream(tree)


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
