"""Layouts of segmentation sets on disk: which label file belongs to which image.

Pairing needs names alone; no image is opened.
"""

import collections
import dataclasses
import json
from pathlib import Path
from typing import Any

from gpool_jax.config import PixelDataConfig
from gpool_jax.data.decode import IMAGE_SUFFIXES
from gpool_jax.data.disk import Warn, find, is_plain, several
from gpool_jax.data.pixels.files import IGNORE, LabelCode, Pair
from gpool_jax.errors import InputError

# The label ids that are evaluated, of 34, and their classes; the rest is ignored.
_CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_CITYSCAPES = (
    "road, sidewalk, building, wall, fence, pole, traffic light, traffic sign, vegetation, "
    "terrain, sky, person, rider, car, truck, bus, train, motorcycle, bicycle"
)
_VOC = (
    "background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, "
    "dog, horse, motorbike, person, pottedplant, sheep, sofa, train, tvmonitor"
)


@dataclasses.dataclass(frozen=True)
class Layout:
    """A set on disk, by the names of its files.

    Attributes:
      name: name of the set in a report.
      class_names: names of the classes 0, 1, ...
      code: meaning of the numbers in its label files.
      splits: pairs of `train`, `test` and, if the set has a third split, `val`.
    """

    name: str
    class_names: tuple[str, ...]
    code: LabelCode
    splits: dict[str, tuple[Pair, ...]]


def open_layout(config: PixelDataConfig, warn: Warn) -> Layout:
    """Pair every image of a config with its labels; an InputError says what is left over.

    `warn` receives one line about files that are left out, or a val/ that stands in for test/.
    """
    if config.source not in _LAYOUTS:
        raise InputError(
            f"`data.source` must be one of {', '.join(_LAYOUTS)}; got {config.source!r}."
        )
    return _LAYOUTS[config.source](find(config, "folder", "a folder"), warn)


def _open_folder(root: Path, warn: Warn) -> Layout:
    """`{train,val,test}/{images/*,labels/*.png}` and `dataset.json`."""
    name, classes, ignore = _read_description(root)
    present = [split for split in ("train", "val", "test") if (root / split).is_dir()]
    if "train" not in present or len(present) < 2:
        raise InputError(
            f"`data.path`: {root} needs train/ and test/ (or val/); it has "
            f"{', '.join(f'{split}/' for split in present) or 'none of them'}."
        )
    splits = {}
    for split in present:
        images, labels = root / split / "images", root / split / "labels"
        found = _by_name(images, "*", IMAGE_SUFFIXES), _by_name(labels, "*", (".png",))
        splits[split] = _pair(images, found[0], labels, found[1])
        read = {*found[0].values(), *found[1].values()}
        others = [p for p in sorted((root / split).glob("*/*")) if p not in read]
        if others := [p for p in others if not p.name.startswith(".")]:
            warn(f"`data.path`: left out, since they are no images or labels: {several(others)}.")
    if "test" not in splits:
        warn(
            f"`data.path`: {root} has no test/; val/ is the test split, and a tenth of train/ "
            "validates."
        )
        splits["test"] = splits.pop("val")
    return Layout(name, classes, _consecutive(len(classes), ignore, "ignore"), splits)


def _consecutive(count: int, ignore: int, what: str) -> LabelCode:
    """Labels 0, 1, ... are their own classes, and one number is ignored."""
    classes = {i: i for i in range(count)} | {ignore: IGNORE}
    return LabelCode(classes, f"0 to {count - 1}, or {ignore} ({what})")


def _read_description(root: Path) -> tuple[str, tuple[str, ...], int]:
    """Name, classes and ignored number of `dataset.json`."""
    path = root / "dataset.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"`data.path`: {root} has no dataset.json with `classes` (a list of names)."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"`data.path`: {path} is not readable JSON: {reason}.") from None
    if not isinstance(content, dict):
        raise InputError(f"`data.path`: {path} must hold an object; got {_short(content)}.")
    name: Any = content.get("name", root.name)
    classes: Any = content.get("classes")
    ignore: Any = content.get("ignore_index", IGNORE)
    what = None
    names = isinstance(classes, list) and all(isinstance(c, str) for c in classes)
    if not names or not 2 <= len(classes) <= IGNORE or len(set(classes)) < len(classes):
        what = f"`classes` must be 2 to {IGNORE} different names; got {_short(classes)}"
    elif type(ignore) is not int or not len(classes) <= ignore <= IGNORE:
        what = (
            f"`ignore_index` must be a number that is no class, in [{len(classes)}, {IGNORE}]; "
            f"got {_short(ignore)}"
        )
    elif not isinstance(name, str):
        what = f"`name` must be a string; got {_short(name)}"
    if what is not None:
        raise InputError(f"`data.path`: in {path}, {what}.")
    return name, tuple(classes), ignore


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _open_cityscapes(root: Path, _warn: Warn) -> Layout:
    """`leftImg8bit/SPLIT/CITY/X_leftImg8bit.png`, `gtFine/SPLIT/CITY/X_gtFine_labelIds.png`.

    The labels of the official test split are secret: its val is the test split.
    """
    splits = {}
    for split, folder in (("train", "train"), ("test", "val")):
        images, labels = root / "leftImg8bit" / folder, root / "gtFine" / folder
        found = [
            _by_name(base, "*/*", (end,))
            for base, end in ((images, "_leftimg8bit.png"), (labels, "_gtfine_labelids.png"))
        ]
        splits[split] = _pair(images, found[0], labels, found[1])
    # Number plates are -1, stored in 8 bits as 255.
    classes = dict.fromkeys((*range(34), 255), IGNORE)
    classes |= {number: place for place, number in enumerate(_CITYSCAPES_IDS)}
    code = LabelCode(classes, "the ids 0 to 33, or 255 (none)")
    return Layout("cityscapes", tuple(_CITYSCAPES.split(", ")), code, splits)


def _open_voc(root: Path, _warn: Warn) -> Layout:
    """`JPEGImages/X.jpg`, `SegmentationClass/X.png`, `ImageSets/Segmentation/SPLIT.txt`.

    The labels of the official test split are secret: val is the test split.
    """
    needed = ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation")
    places = (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012")
    base = next((p for p in places if all((p / name).is_dir() for name in needed)), None)
    if base is None:
        raise InputError(
            f"`data.path`: {root} needs JPEGImages/, SegmentationClass/ and "
            "ImageSets/Segmentation/, or VOC2012/ with them."
        )
    splits: dict[str, tuple[Pair, ...]] = {}
    listed: set[str] = set()
    for split, file in (("train", "train.txt"), ("test", "val.txt")):
        path = base / "ImageSets" / "Segmentation" / file
        try:
            names = path.read_text(encoding="utf-8").split()
        except (OSError, ValueError):
            raise InputError(f"`data.path`: {path} is missing or cannot be read.") from None
        outside = [name for name in names if not is_plain(name)]
        if outside:
            raise InputError(
                f"`data.path`: {path} lists {several(outside)}, which is no name of a file in "
                "JPEGImages."
            )
        again = [name for name, n in collections.Counter(names).items() if n > 1 or name in listed]
        if again:
            raise InputError(f"`data.path`: {path} lists {several(again)} a second time.")
        listed |= set(names)
        images, labels = base / "JPEGImages", base / "SegmentationClass"
        present = [
            {n: p for n in names if (p := folder / f"{n}{suffix}").is_file()}
            for folder, suffix in ((images, ".jpg"), (labels, ".png"))
        ]
        missing = [n for n in names if not any(n in found for found in present)]
        if missing:
            raise InputError(
                f"`data.path`: {path} lists {several(missing)}, which is not in {images}."
            )
        splits[split] = _pair(images, present[0], labels, present[1])
    classes = tuple(_VOC.split(", "))
    return Layout("voc2012", classes, _consecutive(len(classes), IGNORE, "void"), splits)


_LAYOUTS = {"folder": _open_folder, "cityscapes": _open_cityscapes, "voc": _open_voc}


def _by_name(folder: Path, pattern: str, ends: tuple[str, ...]) -> dict[str, Path]:
    """Files whose names, in lower case, have one of these ends, by the rest of the name."""
    if not folder.is_dir():
        raise InputError(f"`data.path`: there is no folder {folder}.")
    found: dict[str, Path] = {}
    for path in sorted(folder.glob(pattern)):
        for end in ends:
            if not path.name.lower().endswith(end):
                continue
            name = path.name[: -len(end)]
            if name in found:
                raise InputError(
                    f"`data.path`: {found[name]} and {path} are two files of one name."
                )
            found[name] = path
    return found


def _pair(
    image_folder: Path, images: dict[str, Path], label_folder: Path, labels: dict[str, Path]
) -> tuple[Pair, ...]:
    """Each image with the labels of its name; none may be left over."""
    for what, own, other, files in (
        ("image", images, labels, "label file"),
        ("label file", labels, images, "image"),
    ):
        alone = [str(path) for name, path in own.items() if name not in other]
        if alone:
            where = label_folder if files == "label file" else image_folder
            raise InputError(f"`data.path`: the {what} {several(alone)} has no {files} in {where}.")
    if not images:
        raise InputError(f"`data.path`: {image_folder} holds no images.")
    return tuple(Pair(name, str(path), str(labels[name])) for name, path in images.items())
