"""Pictures are decoded as they look, and label files to the numbers that they store."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from gpool_jax.data.decode import decode_image, open_picture, read_labels
from gpool_jax.data.images.records import Records
from gpool_jax.data.pixels import files as pixels
from gpool_jax.errors import InputError
from tests import imagesets

# A quadrant each; no two are alike, so that a turned picture is another one.
COLOURS = np.array([[[250, 20, 30], [20, 240, 40]], [[10, 30, 245], [200, 190, 30]]], np.uint8)
COLOUR = COLOURS.repeat(16, 0).repeat(24, 1)
LEVELS = np.array([[0, 85], [170, 255]])
GREY = LEVELS.repeat(16, 0).repeat(24, 1)


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def converted(mode: str) -> Image.Image:
    return Image.fromarray(COLOUR).convert(mode)


def grey(dtype, factor: int = 1) -> Image.Image:
    return Image.fromarray((GREY * factor).astype(dtype))


def lab() -> Image.Image:
    # Lightness, and two colours that are none.
    return Image.merge("LAB", [grey("u1"), *[Image.new("L", (48, 32), 128)] * 2])


BLACK_WHITE = 255 * (GREY > 100)
# The picture, its format, the mode that Pillow finds, and how it looks.
SHOWN = {
    "1 png": (Image.fromarray(BLACK_WHITE.astype("u1")).convert("1"), "PNG", "1", BLACK_WHITE),
    "L png": (grey("u1"), "PNG", "L", GREY),
    "LA png": (grey("u1").convert("LA"), "PNG", "LA", GREY),
    "P png": (converted("P"), "PNG", "P", COLOUR),
    "P gif": (converted("RGB"), "GIF", "P", COLOUR),
    "PA tiff": (converted("P").convert("PA"), "TIFF", "PA", COLOUR),
    "RGB png": (converted("RGB"), "PNG", "RGB", COLOUR),
    "RGB bmp": (converted("RGB"), "BMP", "RGB", COLOUR),
    "RGB webp": (converted("RGB"), "WEBP", "RGB", COLOUR),
    "RGB ppm": (converted("RGB"), "PPM", "RGB", COLOUR),
    "RGBA png": (converted("RGBA"), "PNG", "RGBA", COLOUR),
    "RGBX tiff": (converted("RGBX"), "TIFF", "RGB", COLOUR),
    "CMYK jpeg": (converted("CMYK"), "JPEG", "CMYK", COLOUR),
    "CMYK tiff": (converted("CMYK"), "TIFF", "CMYK", COLOUR),
    "YCbCr tiff": (converted("YCbCr"), "TIFF", "YCbCr", COLOUR),
    "YCbCr jpeg": (converted("YCbCr"), "JPEG", "RGB", COLOUR),
    "I;16 png": (grey("u2", 257), "PNG", "I;16", GREY),
    "I;16B tiff": (grey(">u2", 257), "TIFF", "I;16B", GREY),
    "I tiff": (grey("i4", 257), "TIFF", "I", GREY),
    "I pgm": (grey("i4", 257), "PPM", "I", GREY),
}


@pytest.mark.parametrize("case", SHOWN)
def test_every_mode_is_shown_as_it_looks(case):
    image, kind, mode, wanted = SHOWN[case]
    raw = encode(image, kind)
    assert Image.open(io.BytesIO(raw)).mode == mode
    wanted = np.broadcast_to(wanted if wanted.ndim == 3 else wanted[..., None], COLOUR.shape)
    found = decode_image(raw, case)
    assert (found.dtype, found.shape) == (np.uint8, COLOUR.shape)
    # In the middle of each quadrant: codecs blur the edges, and palettes are coarse.
    for row in (8, 24):
        for column in (12, 36):
            gap = found[row, column].astype(int) - wanted[row, column]
            assert np.abs(gap).max() <= (60 if mode in ("P", "PA") else 6), (row, column)
    once = decode_image(raw, case, channels=1)
    assert once.shape == (32, 48, 1)
    if case in ("L png", "I;16 png"):
        np.testing.assert_array_equal(once[..., 0], GREY)


def test_lightness_is_grey():
    found = decode_image(encode(lab(), "TIFF"), "x").astype(int)
    assert np.ptp(found, axis=-1).max() <= 3
    assert (np.diff(found[8, [12, 36]].mean(-1)) > 50).all()
    assert found[8, 12].max() < 5
    assert found[24, 36].min() > 250


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (grey("f4"), "x.tif is of Pillow's mode 'F', with values from 0 to 255"),
        (grey("i4", 1000), "x.tif is of Pillow's mode 'I', with values from 0 to 255000"),
        (grey("i4", -1), "x.tif is of Pillow's mode 'I', with values from -255 to 0"),
    ],
)
def test_grey_of_an_unknown_scale_is_refused(image, message):
    with pytest.raises(InputError, match=message) as error:
        decode_image(encode(image, "TIFF"), "x.tif")
    assert "\n" not in str(error.value)


def test_what_is_transparent_shows_white():
    rgba = np.full((2, 2, 4), 0, np.uint8)
    rgba[..., 0] = 100
    rgba[0, :, 3] = 255, 51
    found = decode_image(encode(Image.fromarray(rgba), "PNG"), "x")
    wanted = [[[100, 0, 0], [224, 204, 204]], [[255] * 3, [255] * 3]]
    np.testing.assert_allclose(found, wanted, atol=1)
    # One colour, or one place of the palette, may stand for transparent too.
    for image in (grey("u1"), grey("u1").convert("P")):
        found = decode_image(encode(image, "PNG", transparency=0), "x")
        np.testing.assert_array_equal(found[..., 0], np.where(GREY == 0, 255, GREY))


TURNS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(np.swapaxes(a, 0, 1), 2),
    8: lambda a: np.rot90(a, -1),
}


def turned(array: np.ndarray, orientation: int, kind: str, **options) -> bytes:
    """A file that stores a picture turned, and says how to turn it back."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(TURNS[orientation](array)))
    return encode(stored, kind, exif=exif, **options)


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_pictures_stand_upright(orientation, kind):
    raw = turned(COLOUR, orientation, kind)
    found = decode_image(raw, "x")
    assert found.shape == COLOUR.shape
    for row, column in ((8, 12), (8, 36), (24, 12), (24, 36)):
        assert np.abs(found[row, column].astype(int) - COLOUR[row, column]).max() <= 10
    # A part is one of the upright picture: its upper left quadrant.
    part = decode_image(raw, "x", 4, lambda w, h: (0, 0, w / 2, h / 2))
    assert np.abs(part[1, 1].astype(int) - COLOUR[8, 12]).max() <= 10


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_training_crop_of_a_turned_picture_is_the_upright_one(tmp_path, orientation):
    # Large, so that the JPEG is decoded at a fraction of its size.
    large = np.asarray(Image.fromarray(COLOUR).resize((960, 640), Image.Resampling.NEAREST))

    class One:
        num_classes = 1

        def __init__(self, raw):
            self.raw = raw

        def read(self, row):
            return self.raw, 0

        def name(self, row):
            return "one"

    found = []
    for raw in (imagesets.jpeg(large), turned(large, orientation, "JPEG", quality=95)):
        split = Records(One(raw), np.array([0]), 40, 46)
        for seed in range(4):
            image = split.example(0, np.random.default_rng(seed), min_scale=0.1)["images"]
            found.append(image.astype(int))
        found.append(split.batch(np.array([0]))["images"][0].astype(int))
    for upright, other in zip(found[:5], found[5:], strict=True):
        assert np.abs(upright - other).mean() < 3


def test_labels_are_turned_like_their_image(tmp_path):
    labels = (GREY // 85).astype(np.uint8)
    (tmp_path / "a.jpg").write_bytes(turned(COLOUR, 6, "JPEG"))
    (tmp_path / "a.png").write_bytes(turned(labels, 6, "PNG"))
    pair = pixels.Pair("a", str(tmp_path / "a.jpg"), str(tmp_path / "a.png"))
    assert pixels.read_header(pair).size == (48, 32)
    code = pixels.LabelCode({i: i for i in range(4)}, "0 to 3")
    image, found = pixels.decode(pair, code)
    assert image.shape == (32, 48, 3)
    np.testing.assert_array_equal(found, labels)
    # One of the two turned alone no longer fits the other.
    (tmp_path / "a.png").write_bytes(encode(Image.fromarray(np.rot90(labels)), "PNG"))
    for read in (pixels.read_header, lambda p: pixels.decode(p, code)):
        with pytest.raises(InputError, match="a.png is 32x48 pixels, its image .* is 48x32"):
            read(pair)


def grey_png(numbers: np.ndarray, bits: int) -> bytes:
    """A grey PNG of fewer than 8 bits, which Pillow does not write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        tail = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + tail

    spread = (numbers[..., None] >> np.arange(bits)[::-1]) & 1
    packed = np.packbits(spread.reshape(len(numbers), -1), axis=1)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    header = struct.pack(">IIBBBBB", *numbers.shape[::-1], bits, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("palette", [False, True])
def test_labels_are_the_numbers_that_are_stored(bits, palette):
    numbers = np.arange(35).reshape(5, 7) % 2**bits
    if palette:
        image = Image.fromarray(numbers.astype(np.uint8))
        image.putpalette([255 - i // 3 for i in range(3 * 2**bits)])
        raw = encode(image, "PNG", bits=bits)
    else:
        raw = grey_png(numbers, bits)
    assert raw[24] == bits
    found = open_picture(raw, "x", read_labels)
    np.testing.assert_array_equal(np.asarray(found), numbers)


@pytest.mark.parametrize("pixels", [120, 250])
def test_pictures_of_too_many_pixels_are_refused_and_not_warned_of(monkeypatch, pixels):
    # Pillow warns above its limit, and raises above twice that.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    raw = encode(Image.new("RGB", (10, pixels // 10)), "PNG")
    with pytest.raises(InputError, match="`data`: x.png has more than 100 pixels"):
        decode_image(raw, "x.png")


def test_formats_that_start_other_programs_are_unknown():
    raw = encode(converted("RGB"), "EPS")
    with pytest.raises(InputError, match="x.png is a broken image: its format is unknown"):
        decode_image(raw, "x.png")


def test_a_broken_picture_is_named_and_not_its_place_in_memory():
    raw = encode(converted("RGB"), "PNG")
    for broken in (b"", b"GIF89a", raw[:60], raw[:-30], b"P6 5x 5 255 "):
        with pytest.raises(InputError, match="images_train.3. is a broken image: ") as error:
            decode_image(broken, "images_train[3]")
        assert "BytesIO" not in str(error.value)
        assert "\n" not in str(error.value)
