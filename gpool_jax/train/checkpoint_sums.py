"""What is kept of each checkpoint beside it: a checksum of every file, and the score.

Beside `checkpoints/STEP` lies `checkpoint_sums/STEP.json`. Orbax finds a damaged file only while
dozens of readers run, and abandons them loudly; the sums find it first, by name, and tell that a
checkpoint is missing at all.
"""

import json
import zlib
from pathlib import Path
from typing import Any

from gpool_jax import files

# Compared in order, higher is better: the number that is chosen by, and what breaks ties.
Score = tuple[float, ...]
# In a record while its checkpoint is being saved.
_PENDING = "pending"


def begin(path: Path, score: Score | None) -> None:
    """Note that a checkpoint is being saved: killed now, nothing is to be missed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, files.to_json({"files": {}, "score": score, _PENDING: True}))


def write(path: Path, folder: Path, score: Score | None) -> None:
    """Note the checksums of a checkpoint's files, and its score."""
    found = sorted(f for f in folder.rglob("*") if f.is_file())
    sums = {str(f.relative_to(folder)): zlib.crc32(f.read_bytes()) for f in found}
    files.write(path, files.to_json({"files": sums, "score": score}))


def read(path: Path) -> dict[str, Any]:
    """A record; empty if it is damaged or missing."""
    return _read_json(path)


def is_begun(record: dict[str, Any]) -> bool:
    """Tell whether its checkpoint was being saved when the record was written."""
    return _PENDING in record


def problem(folder: Path, record: dict[str, Any]) -> str:
    """Why a checkpoint cannot be used, by its record; empty if it can."""
    if not folder.is_dir():
        return "it is missing"
    # Earlier versions noted the checksums alone.
    for name, expected in record.get("files", record).items():
        try:
            whole = zlib.crc32((folder / name).read_bytes()) == expected
        except OSError:
            whole = False
        if not whole:
            return f"its file {name} is missing, cut short or changed"
    return ""


def steps_of(folder: Path, suffix: str = "") -> list[int]:
    """Steps in the names of what lies in a folder, ascending."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    stems = [name.removesuffix(suffix) for name in names if name.endswith(suffix)]
    return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdecimal())


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object, or an empty one if it is damaged or missing."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def read_about(folder: Path) -> dict[str, Any]:
    """What was noted in a checkpoint when it was saved."""
    return _read_json(folder / "_CHECKPOINT_METADATA").get("custom_metadata") or {}


def read_score(folder: Path) -> Score | None:
    """The score in a checkpoint; None if it has none."""
    about = read_about(folder)
    if "score" in about:
        return as_score(about["score"])
    # Checkpoints of earlier versions: a file of Orbax's; -1 between validations.
    old = _read_json(folder / "metrics" / "metrics").get("accuracy")
    return None if old == -1.0 else as_score([old])


def as_score(values: Any) -> Score | None:
    """The score that JSON holds, or None if it holds none."""
    if isinstance(values, list | tuple) and all(isinstance(v, int | float) for v in values):
        return tuple(float(v) for v in values)
    return None
