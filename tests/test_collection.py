"""Images without labels: drawn, checked, and cut, from folders, arrays, splits and the samples."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from gpool_jax.data.images import collection, sources
from gpool_jax.data.split import ArraySplit
from gpool_jax.errors import InputError, RunError
from tests import imagesets
from tests.test_pictures import turned

RED = (200, 10, 20)


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def load(source, num_images=None, **options):
    return collection.load(source, num_images, **({"seed": 0, "warn": pytest.fail} | options))


def write(path, image: np.ndarray, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)


def write_tree(root, count=12):
    """Pictures of several sizes at several depths; blue is the number."""
    for number in range(count):
        folder = root.joinpath(*["deep"] * (number % 3))
        write(folder / f"{number:02}.png", imagesets.picture(number))
    return root


def test_a_folder_is_read_at_every_depth_and_drawn_by_the_seed(tmp_path):
    root = write_tree(tmp_path / "a")
    images = load(str(root))
    assert len(images) == 12
    assert images.labels is None
    assert images.notes == ()
    assert images.names[-1] == "deep/deep/11.png"
    names = [int(name[-6:-4]) for name in images.names]
    assert imagesets.numbers(images.batch(np.arange(12), (20, 20))) == names

    def drawn(seed, where=root):
        return load(where, 5, seed=seed).names

    assert drawn(3) == drawn(3)
    assert list(drawn(3)) == sorted(drawn(3))
    assert len({drawn(seed) for seed in range(5)}) > 1
    # By the paths below the folder: neither its own path nor the system's order counts.
    assert drawn(3, write_tree(tmp_path / "b")) == drawn(3)


def test_images_are_cut_around_their_middle_and_resized(tmp_path):
    # Squares of 4 x 4 pixels of one colour, between margins.
    small = noise(0, 5, 5, 3)
    blocks = small.repeat(4, 0).repeat(4, 1)
    wide = np.concatenate([noise(1, 20, 8, 3), blocks, noise(2, 20, 8, 3)], 1)
    write(tmp_path / "high.png", np.swapaxes(wide, 0, 1))
    write(tmp_path / "wide.png", wide)
    images = load(tmp_path)
    found = images.batch([1, 0], (5, 5), interpolation="nearest")
    np.testing.assert_array_equal(found, [small, np.swapaxes(small, 0, 1)])
    # Of the very size, or a part of it, an image is not touched.
    np.testing.assert_array_equal(images.batch([1], (20, 36))[0], wide)
    np.testing.assert_array_equal(images.batch([1], (20, 12))[0], wide[:, 12:-12])
    np.testing.assert_array_equal(images.batch([0], (12, 20))[0], wide[:, 12:-12].swapaxes(0, 1))
    # Antialiased: stripes of one pixel are grey.
    stripes = np.zeros((32, 32), np.uint8)
    stripes[:, ::2] = 255
    grey = load([stripes, stripes.T]).batch([0], (4, 4))
    assert np.abs(grey.astype(int) - 128).max() < 12


@pytest.mark.parametrize("size", [(7, 3), (224, 224), (3, 640), (1, 1)])
def test_the_central_part_has_the_wanted_shape_and_lies_inside(size):
    for wide, high in itertools.product((1, 3, 427, 640, 4999), repeat=2):
        left, top, right, bottom = collection.centre(wide, high, size)
        assert 0 <= left < right <= wide
        assert 0 <= top < bottom <= high
        assert (right - left) / (bottom - top) == pytest.approx(size[1] / size[0])
        assert (left + right, top + bottom) == pytest.approx((wide, high))
        assert right - left == pytest.approx(wide) or bottom - top == pytest.approx(high)


def test_every_kind_of_picture_is_read_as_it_looks(tmp_path):
    colour = np.full((24, 16, 3), RED, np.uint8)
    colour[:12] = 255 - colour[:12]
    (tmp_path / "turned.JPG").write_bytes(turned(colour, 6, "JPEG", quality=95))
    clear = np.dstack([colour, np.full((24, 16), 255, np.uint8)])
    clear[:12, :, 3] = 0
    write(tmp_path / "clear.webp", clear, lossless=True)
    write(tmp_path / "grey.tiff", noise(0, 9, 9))
    Image.fromarray(colour).convert("P").save(tmp_path / "palette.gif")
    images = load(tmp_path)
    found = images.batch(range(4), (24, 16))
    looks = dict(zip(images.names, found.astype(int), strict=True))
    assert np.abs(looks["turned.JPG"][[2, -2], 8] - colour[[2, -2], 8]).max() < 12
    assert (looks["clear.webp"][2] == 255).all()
    assert np.abs(looks["clear.webp"][-2, 8] - RED).max() < 3
    assert np.ptp(looks["grey.tiff"], axis=-1).max() == 0
    assert np.abs(looks["palette.gif"][-2, 8] - RED).max() < 60
    assert images.batch([0], (8, 8), channels=1).shape == (1, 8, 8, 1)


def test_unreadable_files_are_named_and_replaced_by_others(tmp_path):
    write_tree(tmp_path)
    whole = (tmp_path / "00.png").read_bytes()
    for number in range(5):
        (tmp_path / f"x{number}.png").write_bytes(whole[:90] if number else b"")
    lines = []
    images = load(tmp_path, 10, seed=1, warn=lines.append)
    assert len(images) == 10
    assert not any("x" in name for name in images.names)
    assert images.notes == tuple(lines)
    assert f" images of {tmp_path} are left out: x" in lines[0]
    lines.clear()
    assert len(load(tmp_path, warn=lines.append)) == 12
    (line,) = lines
    assert "`images`: 5 of 17 images" in line
    assert line.count("broken image") == 3
    assert line.endswith("(and 2 more).")
    assert "\n" not in line


def test_what_is_no_image_is_named(tmp_path):
    write_tree(tmp_path)
    (tmp_path / "deep" / "photo.heic").write_bytes(b"x")
    (tmp_path / ".DS_Store").write_bytes(b"x")
    lines = []
    assert len(load(tmp_path, warn=lines.append)) == 12
    (line,) = lines
    assert line.endswith("/deep/photo.heic.")
    assert "left out, since they are no images (.png" in line


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (0, "holds no images at any depth (.png"),
        (1, "there is one image; at least two different are needed"),
        (3, "there are 3 images, all alike; at least two"),
    ],
)
def test_two_different_images_are_needed(tmp_path, count, message):
    for number in range(count):
        write(tmp_path / f"{number}.{('png', 'bmp')[number % 2]}", imagesets.picture(7))
    with pytest.raises(InputError) as error:
        load(tmp_path)
    assert message in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_a_folder_of_broken_files_says_how(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.jpg").write_bytes(b"GIF89a")
    with pytest.raises(InputError, match="none can be read: a.jpg is a broken image: .*; b.jpg"):
        load(tmp_path)


def test_copies_and_a_shortage_are_noted(tmp_path):
    write_tree(tmp_path, 4)
    for number in range(5):
        write(tmp_path / f"copy{number}.bmp", imagesets.picture(2))
    lines = []
    load(tmp_path, 50, warn=lines.append)
    assert lines[0] == f"`images`: 50 were asked for; there are 9 in {tmp_path}."
    assert "`images`: 5 of 9 are copies of others" in lines[1]
    assert lines[1].count(" is copy0.bmp") == 3


def test_a_file_that_breaks_later_stops_the_run(tmp_path):
    write_tree(tmp_path, 3)
    images = load(tmp_path)
    (tmp_path / "00.png").write_bytes(b"")
    with pytest.raises(RunError, match="`data`: 00.png is a broken image"):
        images.batch([0], (8, 8))


@pytest.mark.parametrize("shape", [(6, 9, 7), (6, 9, 7, 1), (6, 9, 7, 3), (6, 9, 7, 4)])
def test_arrays_are_images(shape):
    pixels = noise(0, *shape)
    images = load(pixels, labels=np.arange(6) % 2)
    np.testing.assert_array_equal(images.labels, [0, 1] * 3)
    found = images.batch([4, 1], (9, 7))
    if shape[-1] != 4:
        wanted = pixels[[4, 1]].reshape(2, 9, 7, -1)
        np.testing.assert_array_equal(found, np.broadcast_to(wanted, (2, 9, 7, 3)))
    drawn = load(pixels, 3, seed=1, labels=np.arange(6))
    np.testing.assert_array_equal(drawn.batch(range(3), (9, 7)), images.batch(drawn.labels, (9, 7)))


def endless() -> Iterator[np.ndarray]:
    for number in itertools.count():
        yield noise(number, 2, 8, 8, 3)


def test_an_iterator_gives_its_first_images_and_a_list_is_drawn_from():
    images = load(endless(), 5)
    first = np.concatenate([noise(number, 2, 8, 8, 3) for number in range(3)])[:5]
    np.testing.assert_array_equal(images.batch(range(5), (8, 8)), first)
    mixed = [noise(0, 8, 8), noise(1, 12, 20, 3), noise(2, 3, 8, 8, 3)]
    assert load(mixed).batch(range(5), (4, 4)).shape == (5, 4, 4, 3)
    assert len({load(mixed, 3, seed=seed).checksum for seed in range(6)}) > 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "`images` must not be empty"),
        ("gs://photos", "`images`: addresses are not supported"),
        ("/no/such/place", "`images`: there is no folder /no/such/place"),
        (3, "must be a folder, an array uint8 .*; got int"),
        (np.zeros((3, 4, 4, 3)), "the array must be uint8, in 0..255; got float64"),
        (noise(0, 4, 3, 8, 8), r"got \[4, 3, 8, 8\] \(channels come last\)"),
        (noise(0, 8, 8, 3), r"got \[8, 8, 3\] \(one image is a list of one\)"),
        (noise(0, 8, 8), r"got \[8, 8\]\."),
        (noise(0, 0, 8, 8, 3), r"holds no pixel: its shape is \[0, 8, 8, 3\]"),
        ([noise(0, 3, 8, 8)], r"item 0 must be an image .*\[3, 8, 8\] \(channels come last\)"),
        ([noise(0, 8, 8), noise(0, 8, 8, 2)], r"item 1 must be .*got \[8, 8, 2\]"),
        ([noise(0, 8, 8), "photo.png"], "item 1 must be uint8, in 0..255; got <U9"),
        ([[1, [2]]], "item 0 is no array: "),
        (iter([]), "the list of images is empty"),
        (noise(0, 1, 8, 8, 3), "in the array, there is one image"),
        (np.zeros((4, 8, 8, 3), np.uint8), "there are 4 images, all alike"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_sources_are_refused_in_one_line(source, message):
    with pytest.raises(InputError, match=message) as error:
        load(source, 10)
    assert "\n" not in str(error.value)


def test_labels_and_counts_must_fit(tmp_path):
    for labels in (np.zeros(5, int), np.zeros(6), np.zeros((6, 2), int)):
        with pytest.raises(InputError, match=r"`labels` must be integers \[6\]"):
            load(noise(0, 6, 8, 8, 3), labels=labels)
    write_tree(tmp_path, 3)
    with pytest.raises(InputError, match="`labels` belong to arrays; got some for PosixPath"):
        load(tmp_path, labels=[0, 1, 2])
    with pytest.raises(InputError, match="`num_images` must be at least 2; got 1"):
        load(tmp_path, 1)


def test_a_labelled_split_keeps_its_labels_and_shares(tmp_path):
    pixels, labels = noise(0, 40, 8, 8, 3), np.repeat([0, 1], [10, 30]).astype(np.int32)
    images = load(ArraySplit(pixels, labels), 8)
    np.testing.assert_array_equal(np.bincount(images.labels), [2, 6])
    rows = ArraySplit(pixels, labels).draw_rows(8, seed=0)
    np.testing.assert_array_equal(images.batch(range(8), (8, 8)), pixels[rows])
    # One label per pixel is no label of an image.
    assert load(ArraySplit(pixels, pixels[..., 0])).labels is None
    # Grey, and streamed from disk.
    assert load(ArraySplit(pixels[..., :1], labels), 4).batch([0], (8, 8)).shape == (1, 8, 8, 3)
    streamed = imagesets.load(imagesets.folder_config(imagesets.write_folder(tmp_path))).test
    images = load(streamed)
    wanted = [imagesets.label_of(n) for n in imagesets.numbers(images.batch(range(9), (16, 16)))]
    np.testing.assert_array_equal(images.labels, wanted)


@pytest.mark.parametrize("count", [2, 10, 100])
def test_without_a_source_two_photographs_are_cut_without_an_overlap(count):
    lines = []
    images = load(None, count, warn=lines.append)
    assert len(images) == count
    (line,) = lines
    assert "No images were given" in line
    assert "china.jpg and flower.jpg" in line
    assert images.notes == (line,)
    covered = np.zeros((2, 427, 640), int)
    for row, name in enumerate(images.names):
        photo, at = name.split(" at ")
        left, top = map(int, at.split(", "))
        high, wide = images.read(row).shape[:2]
        assert high == wide == int(line.split("squares of ")[1].split()[0])
        covered[int(photo == "flower.jpg"), top : top + high, left : left + wide] += 1
    assert covered.max() == 1


def test_more_than_the_sample_photographs_give_is_noted(monkeypatch):
    monkeypatch.setattr(sources, "_LEAST_SIDE", 200)
    lines = []
    assert len(load(None, 30, warn=lines.append)) == 12
    assert lines[1] == "`images`: 30 were asked for; there are 12 in scikit-learn's photographs."


def test_the_checksum_tells_images_and_labels_apart(tmp_path):
    pixels = noise(0, 6, 8, 8, 3)
    other = pixels.copy()
    other[3, 0, 0, 0] ^= 1
    found = [
        load(pixels).checksum,
        load(other).checksum,
        load(pixels.reshape(6, 4, 16, 3)).checksum,
        load(pixels, labels=[0, 1] * 3).checksum,
        load(pixels, labels=[1, 0] * 3).checksum,
        load(pixels, 5).checksum,
    ]
    assert len(set(found)) == len(found)
    assert load(list(pixels)).checksum == found[0]
    # Of what is shown, however it is stored.
    for number, image in enumerate(pixels):
        write(tmp_path / f"{number}.png", image)
    assert load(tmp_path).checksum == found[0]


def test_images_are_decoded_once_while_there_is_room(monkeypatch):
    decoded = []
    original = collection.decode_image

    def counting(source, name, *args, **options):
        decoded.append(name)
        return original(source, name, *args, **options)

    images = load(noise(0, 6, 8, 8, 3))
    monkeypatch.setattr(collection, "decode_image", counting)
    # Room for four of them.
    monkeypatch.setattr(collection, "_KEPT_BYTES", 4 * 4 * 4 * 3)

    def batches():
        return [images.batch(rows, (4, 4)) for rows in ([0, 1, 1], [2, 3, 4], [5, 0, 2])]

    first = batches()
    assert sorted(decoded) == [f"image {number}" for number in range(6)]
    np.testing.assert_array_equal(first, batches())
    assert decoded[6:] == ["image 4", "image 5"]
    # Another size is another picture.
    assert images.batch([0], (2, 2)).shape == (1, 2, 2, 3)
    assert decoded[8:] == ["image 0"]


@pytest.mark.parametrize("count", [2, 3, 8])
def test_another_image_is_another_one_whatever_the_batch(count):
    images = load(noise(0, count, 8, 8, 3))
    others = images.others(np.arange(count))
    np.testing.assert_array_equal(np.sort(others), np.arange(count))
    assert (others != np.arange(count)).all()
    np.testing.assert_array_equal(images.others([1]), others[1:2])


def test_jpegs_look_the_same_decoded_at_a_fraction_of_their_size(tmp_path):
    large = np.asarray(Image.fromarray(noise(0, 8, 8, 3)).resize((900, 600)))
    write(tmp_path / "a.jpg", large, quality=95)
    write(tmp_path / "b.png", large)
    for size in ((40, 40), (20, 50)):
        jpeg, png = load(tmp_path).batch([0, 1], size).astype(int)
        assert np.abs(jpeg - png).mean() < 2
