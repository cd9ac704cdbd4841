"""Images without labels: drawn, read as they look, resized, and nothing left out in silence."""

import numpy as np
import pytest
from PIL import Image

from gpool_jax.data.images import collection
from gpool_jax.errors import InputError


@pytest.fixture
def folder(tmp_path):
    """Nine pictures in a tree, of which one is turned by EXIF, and two that are broken."""
    rng = np.random.default_rng(0)
    root = tmp_path / "photographs"
    (root / "b" / "deep").mkdir(parents=True)
    (root / ".hidden").mkdir()
    for number in range(8):
        place = root if number % 2 else root / "b" / "deep"
        pixels = rng.integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")
    turned = Image.fromarray(np.repeat(np.arange(40, dtype=np.uint8)[None], 20, axis=0))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.convert("RGB").save(root / "turned.PNG", exif=exif)
    (root / "a.png").write_bytes(b"no picture")
    (root / "c.png").write_bytes(b"")
    (root / "notes.txt").write_text("not an image")
    Image.new("RGB", (4, 4)).save(root / ".hidden" / "x.png")
    return root


def test_a_folder_of_any_tree_is_read_and_what_is_broken_is_named_and_counted(folder):
    warnings = []
    images = collection.load(str(folder), 20, seed=0, warn=warnings.append)
    assert len(images) == 9
    assert sorted(images.names) == list(images.names)
    assert "b/deep/0.png" in images.names
    assert "2 of 11 cannot be read" in warnings[0]
    assert "a.png" in warnings[0]
    assert "20 are asked for" in warnings[1]


def test_fewer_are_drawn_by_the_seed_and_from_all_of_the_tree(folder):
    drawn = [collection.load(str(folder), 4, seed=s, warn=lambda _: None).names for s in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(len(names) == 4 for names in drawn)


def test_images_are_upright_and_cover_what_is_asked_for(folder):
    images = collection.load(str(folder), 20, seed=0, warn=lambda _: None)
    rows = np.arange(len(images))
    assert images.batch(rows, (8, 12)).shape == (9, 8, 12, 3)
    turned = images.batch(rows[-1:], (40, 20))[0]
    assert images.names[-1] == "turned.PNG"
    # Its columns grew to the right; turned by a quarter, its rows grow downwards.
    assert np.all(np.diff(turned[:, 10, 0].astype(int)) >= 0)
    assert turned[-1, 10, 0] > turned[0, 10, 0]


def test_arrays_are_given_back_as_they_are_and_copies_are_left_out():
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (6, 6, 3), np.uint8) for _ in range(3)]
    arrays.append(rng.integers(0, 256, (6, 6), np.uint8))
    warnings = []
    images = collection.from_arrays([*arrays, arrays[0]], labels=range(5), warn=warnings.append)
    assert warnings == ["`images`: 1 are copies of others and are left out."]
    assert images.labels.tolist() == [0, 1, 2, 3]
    found = images.batch(np.arange(4), (6, 6))
    np.testing.assert_array_equal(found[:3], arrays[:3])
    np.testing.assert_array_equal(found[3], np.repeat(arrays[3][..., None], 3, axis=2))
    assert images.checksum != images.take(np.array([1, 0, 2, 3])).checksum


def test_without_images_there_are_crops_and_a_note_that_says_so():
    images = collection.load(None, 12, seed=0)
    assert len(images) == 12
    assert "12 crops of scikit-learn's two sample photographs" in images.notes[0]


BAD_ARRAYS = {
    "none": ([], "there are none"),
    "float": (
        [np.zeros((4, 4, 3))],
        r"image 0 must be uint8 \[H, W, 3\] .* got float64 \[4, 4, 3\]",
    ),
    "channels first": ([np.zeros((3, 4, 4), np.uint8)], r"channels come last"),
    "alpha": ([np.zeros((4, 4, 4), np.uint8)], r"got uint8 \[4, 4, 4\]"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays_are_one_line(case):
    arrays, message = BAD_ARRAYS[case]
    with pytest.raises(InputError, match=message):
        collection.from_arrays(arrays)


def test_bad_labels_and_folders_are_one_line(tmp_path):
    with pytest.raises(InputError, match=r"`labels` must be \[1\].* got \[2\]"):
        collection.from_arrays([np.zeros((4, 4), np.uint8)], labels=[1, 2])
    with pytest.raises(InputError, match="there is no folder"):
        collection.load(str(tmp_path / "no"), 3, seed=0)
    with pytest.raises(InputError, match="there is no image"):
        collection.load(str(tmp_path), 3, seed=0)
    (tmp_path / "x.png").write_bytes(b"broken")
    with pytest.raises(InputError, match="none of the 1 images"):
        collection.load(str(tmp_path), 3, seed=0, warn=lambda _: None)
