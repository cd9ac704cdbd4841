"""Images larger than memory: opened by name, decoded when they are asked for."""

import dataclasses
import io
import math
import os
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from gpool_jax.config import DataConfig
from gpool_jax.data.images import readers, record_files
from gpool_jax.data.images.record_files import RecordFiles
from gpool_jax.data.images.splits import Split
from gpool_jax.errors import InputError, RunError

_RATIOS = (3 / 4, 4 / 3)
# Of the test sets of these names the labels are secret: validation is the test.
_TEST_IS_VALIDATION = ("imagenet2012",)


@dataclasses.dataclass(frozen=True)
class Records:
    """A split on disk: the counterpart of `Split`, without `images` and `labels`.

    Attributes:
      files: where the encoded images are.
      rows: int [N], which of them belong to the split.
      side: of its images in pixels.
      resize: of the shorter side, before the centre of an image is cut out.
    """

    files: RecordFiles
    rows: np.ndarray
    side: int
    resize: int

    def __len__(self) -> int:
        """N."""
        return len(self.rows)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the images of a batch."""
        return self.side, self.side, 3

    @property
    def num_classes(self) -> int:
        """Labels are in [0, num_classes)."""
        return self.files.num_classes

    @property
    def checksum(self) -> str:
        """Tells these images from others by names and sizes of their files, and the rows."""
        crc = zlib.crc32(repr(self.files.identity).encode())
        return f"{zlib.crc32(np.ascontiguousarray(self.rows).data, crc):08x}"

    def take(self, rows: np.ndarray) -> "Records":
        """The given rows, in order."""
        return dataclasses.replace(self, rows=self.rows[rows])

    def batch(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """Decode images as an evaluation sees them: resized, and their centre cut out.

        Args:
          index: int [B], places in this split.

        Returns:
          `images` uint8 [B, side, side, 3] and `labels` int32 [B].

        Raises:
          RunError: naming the image that is broken or whose label is out of range.
        """
        # Pillow decodes and resizes outside the interpreter's lock.
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            decoded = list(pool.map(self._centre, np.asarray(index).tolist()))
        return {
            "images": np.stack([image for image, _ in decoded]),
            "labels": np.array([label for _, label in decoded], np.int32),
        }

    def load(self) -> Split:
        """Decode the whole split into memory; `take` a few rows first."""
        content = self.batch(np.arange(len(self)))
        return Split(content["images"], content["labels"])

    def random_crop(
        self, place: int, generator: np.random.Generator, *, min_scale: float, flip: bool
    ) -> tuple[np.ndarray, int]:
        """Decode one image as training sees it: a random part of it, resized.

        Args:
          place: in this split.
          generator: of the crop and the flip.
          min_scale: least share of the image's area.
          flip: mirror every other image.

        Returns:
          uint8 [side, side, 3] and the label.
        """
        encoded, label = self._read(place)

        def cut(image):
            width, height = image.size
            left, top, w, h = random_box(generator, width, height, min_scale)
            # JPEGs decode faster at a half, a quarter or an eighth of their size, which is
            # done where the crop stays at least `side` wide.
            image.draft(None, (math.ceil(width * self.side / w), math.ceil(height * self.side / h)))
            x, y = image.size[0] / width, image.size[1] / height
            return image, (left * x, top * y, (left + w) * x, (top + h) * y)

        image = _decode(encoded, self._name(place), self.side, cut)
        if flip and generator.random() < 0.5:
            image = np.ascontiguousarray(image[:, ::-1])
        return image, label

    def _name(self, place: int) -> str:
        return self.files.name(int(self.rows[place]))

    def _read(self, place: int) -> tuple[bytes, int]:
        encoded, label = self.files.read(int(self.rows[place]))
        if not 0 <= label < self.num_classes:
            raise RunError(
                f"`data`: the label of {self._name(place)} is out of range: {label}; there are "
                f"{self.num_classes} classes."
            )
        return encoded, label

    def _centre(self, place: int) -> tuple[np.ndarray, int]:
        encoded, label = self._read(place)

        def cut(image):
            # The part of the image that is `side` wide once its shorter side is `resize`.
            width, height = image.size
            part = min(width, height) * self.side / self.resize
            left, top = (width - part) / 2, (height - part) / 2
            return image, (left, top, left + part, top + part)

        return _decode(encoded, self._name(place), self.side, cut), label


def _decode(encoded: bytes, name: str, side: int, cut) -> np.ndarray:
    """Decode an image and resize the part of it that `cut` chooses."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(encoded)) as file:
            image, box = cut(file)
            image = image.convert("RGB")
            return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box=box))
    except UnidentifiedImageError:  # whose own message names a memory address
        raise RunError(f"`data`: {name} is a broken image: its format is unknown.") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise RunError(f"`data`: {name} is a broken image: {error}.") from None


def random_box(
    generator: np.random.Generator, width: int, height: int, min_scale: float
) -> tuple[int, int, int, int]:
    """Draw part of an image: `min_scale` to all of its area, 3:4 to 4:3.

    The usual draw of ImageNet training: ten tries, then the largest part of an
    allowed shape from the middle.

    Returns:
      left, top, width, height in pixels, inside the image.
    """
    for _ in range(10):
        area = width * height * generator.uniform(min_scale, 1.0)
        ratio = math.exp(generator.uniform(math.log(_RATIOS[0]), math.log(_RATIOS[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = generator.integers(0, (width - w, height - h), endpoint=True)
            return int(left), int(top), w, h
    w = min(width, max(1, round(height * _RATIOS[1])))
    h = min(height, max(1, round(width / _RATIOS[0])))
    return (width - w) // 2, (height - h) // 2, w, h


def open_records(config: DataConfig) -> tuple[Records, Records]:
    """Open the training and the test images of a config, without decoding any.

    Raises:
      InputError: one line that says what is missing or wrong.
    """
    if config.source not in ("tfds", "folder"):
        raise InputError(
            f"`data.stream` reads data.source tfds and folder; got data.source {config.source!r}."
        )
    side, eval_side, resize = _sides(config)
    train, test = _open_tfds(config) if config.source == "tfds" else _open_folder(config)
    for files, split in ((train, "training"), (test, "test")):
        if len(files) == 0:
            raise InputError(f"`data`: there are no {split} images.")
    return (
        Records(train, np.arange(len(train)), side, resize),
        Records(test, np.arange(len(test)), eval_side, resize),
    )


def _sides(config: DataConfig) -> tuple[int, int, int]:
    """Sides of training and evaluation images, and that of the resized shorter side."""
    if config.side is None:
        raise InputError("`data.side` must be given with data.stream; got None.")
    eval_side = config.eval_side or config.side
    resize = config.resize or max(round(config.side * 8 / 7), eval_side)
    for name, value in (("side", config.side), ("eval_side", eval_side)):
        if value > resize:
            raise InputError(f"`data.{name}` must be at most data.resize = {resize}; got {value}.")
    return config.side, eval_side, resize


def _open_tfds(config: DataConfig) -> tuple[RecordFiles, RecordFiles]:
    builder = readers.tfds_builder(config.name, config.dir)
    splits = ("test", "validation")
    if config.name.split(":")[0].split("/")[0] in _TEST_IS_VALIDATION:
        splits = ("validation", "test")
    present = [split for split in splits if split in builder.info.splits]
    if "train" not in builder.info.splits or not present:
        raise InputError(
            f"`data.name`: {config.name!r} must have the splits train and test or validation; it "
            f"has {', '.join(builder.info.splits) or 'none'}."
        )
    opened = [record_files.open_shards(builder, split) for split in ("train", present[0])]
    return opened[0], opened[1]


def _open_folder(config: DataConfig) -> tuple[RecordFiles, RecordFiles]:
    root = readers.folder_root(config)
    tests = [name for name in ("test", "val") if (root / name).is_dir()]
    if not (root / "train").is_dir() or not tests:
        raise InputError(f"`data.path`: with data.stream, {root} needs train/ and test/ (or val/).")
    classes = readers.folder_classes(root / "train")
    strange = sorted(set(readers.folder_classes(root / tests[0])) - set(classes))
    if strange:
        raise InputError(f"`data.path`: {root / tests[0] / strange[0]} is no class of train/.")
    train, test = (
        record_files.open_folder(root / split, classes, readers.IMAGE_SUFFIXES)
        for split in ("train", tests[0])
    )
    return train, test
