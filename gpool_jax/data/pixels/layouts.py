"""How segmentation sets lie on disk: which label file belongs to which image, and what it says.

Opens no image: pairing needs names alone.
"""

import collections
import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gpool_jax.config import PixelDataConfig
from gpool_jax.data.decode import IMAGE_SUFFIXES
from gpool_jax.data.pixels.files import IGNORE, LabelCode, Pair
from gpool_jax.errors import InputError

# Class of each of the 34 label ids that is evaluated; the rest is ignored.
_CITYSCAPES = {
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
_CITYSCAPES_IDS = 34
_VOC = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)


@dataclasses.dataclass(frozen=True)
class Layout:
    """A set on disk, by the names of its files.

    Attributes:
      name: how to call it in a report.
      class_names: in the order of the classes.
      code: what the numbers in its label files mean.
      splits: `train`, `test` and, if the set has a third, `val`.
    """

    name: str
    class_names: tuple[str, ...]
    code: LabelCode
    splits: dict[str, tuple[Pair, ...]]


def open_layout(config: PixelDataConfig) -> Layout:
    """List the files of a config, and pair every image with its labels.

    Raises:
      InputError: one line that says what is missing or left over.
    """
    if config.source not in _LAYOUTS:
        raise InputError(
            f"`data.source` must be one of {', '.join(_LAYOUTS)}; got {config.source!r}."
        )
    if config.path is None:
        raise InputError(f"`data.path` must name a folder for data.source {config.source}.")
    root = Path(config.path).expanduser()
    _need_folder(root)
    return _LAYOUTS[config.source](root)


def _open_folder(root: Path) -> Layout:
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
        found = [
            _by_stem(path for path in _files_of(folder) if path.suffix.lower() in suffixes)
            for folder, suffixes in ((images, IMAGE_SUFFIXES), (labels, (".png",)))
        ]
        splits[split] = _pair(images, found[0], labels, found[1])
    if "test" not in splits:
        splits["test"] = splits.pop("val")
    code = LabelCode(
        {i: i for i in range(len(classes))} | {ignore: IGNORE},
        f"0 to {len(classes) - 1}, or {ignore} (ignore)",
    )
    return Layout(name, classes, code, splits)


def _read_description(root: Path) -> tuple[str, tuple[str, ...], int]:
    """Name, classes and ignored number of `dataset.json`."""
    path = root / "dataset.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"`data.path`: {root} has no dataset.json with `classes` (a list of names)."
        ) from None
    except (OSError, ValueError) as error:
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


def _open_cityscapes(root: Path) -> Layout:
    """`leftImg8bit/SPLIT/CITY/X_leftImg8bit.png`, `gtFine/SPLIT/CITY/X_gtFine_labelIds.png`.

    The labels of the official test split are secret: its val is the test split.
    """
    splits = {}
    for split, folder in (("train", "train"), ("test", "val")):
        images, labels = root / "leftImg8bit" / folder, root / "gtFine" / folder
        found = [
            _by_stem((p for p in _files_of(base, "*/*") if p.name.endswith(f"{end}.png")), end)
            for base, end in ((images, "_leftImg8bit"), (labels, "_gtFine_labelIds"))
        ]
        splits[split] = _pair(images, found[0], labels, found[1])
    classes = dict.fromkeys(range(_CITYSCAPES_IDS), IGNORE)
    classes |= {number: place for place, number in enumerate(_CITYSCAPES)}
    # Number plates are -1, stored in 8 bits as 255.
    code = LabelCode(
        classes | {IGNORE: IGNORE}, f"the ids 0 to {_CITYSCAPES_IDS - 1}, or 255 (none)"
    )
    return Layout("cityscapes", tuple(_CITYSCAPES.values()), code, splits)


def _open_voc(root: Path) -> Layout:
    """`JPEGImages/X.jpg`, `SegmentationClass/X.png`, `ImageSets/Segmentation/SPLIT.txt`.

    The labels of the official test split are secret: val is the test split.
    """
    inner = [f for f in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012") if _is_voc(f)]
    if not inner:
        raise InputError(
            f"`data.path`: {root} needs JPEGImages/, SegmentationClass/ and "
            "ImageSets/Segmentation/, or VOC2012/ with them."
        )
    base = inner[0]
    splits: dict[str, tuple[Pair, ...]] = {}
    listed: set[str] = set()
    for split, file in (("train", "train.txt"), ("test", "val.txt")):
        path = base / "ImageSets" / "Segmentation" / file
        try:
            names = path.read_text(encoding="utf-8").split()
        except (OSError, ValueError):
            raise InputError(f"`data.path`: {path} is missing or cannot be read.") from None
        again = [name for name, n in collections.Counter(names).items() if n > 1 or name in listed]
        if again:
            raise InputError(f"`data.path`: {path} lists {_several(again)} a second time.")
        listed |= set(names)
        images, labels = base / "JPEGImages", base / "SegmentationClass"
        present = [
            {n: p for n in names if (p := folder / f"{n}{suffix}").is_file()}
            for folder, suffix in ((images, ".jpg"), (labels, ".png"))
        ]
        missing = [n for n in names if not any(n in found for found in present)]
        if missing:
            raise InputError(
                f"`data.path`: {path} lists {_several(missing)}, which is not in {images}."
            )
        splits[split] = _pair(images, present[0], labels, present[1])
    code = LabelCode(
        {i: i for i in range(len(_VOC))} | {IGNORE: IGNORE}, f"0 to {len(_VOC) - 1}, or 255 (void)"
    )
    return Layout("voc2012", _VOC, code, splits)


def _is_voc(folder: Path) -> bool:
    needed = ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation")
    return all((folder / name).is_dir() for name in needed)


_LAYOUTS = {"folder": _open_folder, "cityscapes": _open_cityscapes, "voc": _open_voc}


def _need_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise InputError(f"`data.path`: there is no folder {folder}.")


def _files_of(folder: Path, pattern: str = "*") -> list[Path]:
    _need_folder(folder)
    return sorted(folder.glob(pattern))


def _by_stem(paths: Iterable[Path], suffix: str = "") -> dict[str, Path]:
    """Files by their names without the suffix, in order."""
    found: dict[str, Path] = {}
    for path in paths:
        name = path.stem.removesuffix(suffix)
        if name in found:
            raise InputError(f"`data.path`: {found[name]} and {path} are two files of one name.")
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
            raise InputError(
                f"`data.path`: the {what} {_several(alone)} has no {files} in {where}."
            )
    if not images:
        raise InputError(f"`data.path`: {image_folder} holds no images.")
    return tuple(Pair(name, str(path), str(labels[name])) for name, path in images.items())


def _several(names: Sequence[str]) -> str:
    more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    return f"{names[0]}{more}"
