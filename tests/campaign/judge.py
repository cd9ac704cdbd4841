"""What must hold of a command that has ended, and of the files that it left."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.campaign.place import Ended

# Parts of results.json that hold what was measured.
NUMBERS = (
    "rows",
    "probes",
    "maps",
    "curves",
    "measurements",
    "removals",
    "agreements",
    "stability",
)
_LEFTOVERS = ("**/.*.tmp", "**/*orbax-checkpoint-tmp*", "**/.deleted-*", "**/traceback*")


def spoken(ended: Ended) -> list[str]:
    """Faults of what a command said: it speaks in lines of its own, never in a traceback."""
    faults = [] if ended.code in (0, 2) else [f"exit code {ended.code}"]
    strange = [line for line in ended.lines if not line.startswith("gpool: ")]
    if strange:
        faults.append(f"{len(ended.lines)} lines on stderr, among them {strange[-1][:200]!r}")
    if ended.code and not ended.lines:
        faults.append("not a word on stderr")
    return faults


def one_line(ended: Ended, code: int = 2) -> list[str]:
    """Faults of a command that must end with a code and one line."""
    faults = [] if ended.code == code else [f"exit code {ended.code}, not {code}"]
    if len(ended.lines) != 1 or not ended.err.startswith("gpool: "):
        faults.append(f"{len(ended.lines)} lines on stderr: {ended.err[-300:]!r}")
    return faults


def like(reference: Path, folder: Path, *, stopped: bool = False) -> list[str]:
    """Faults of a finished run that must be bit for bit the reference.

    A run that was told to stop logs the step at which it stopped, so that its means are over
    other steps: `stopped` compares the numbers of validations alone.
    """
    left = [path for pattern in _LEFTOVERS for path in folder.glob(pattern)]
    faults = [f"left {path.relative_to(folder)}" for path in left]
    for what, read in (
        ("checkpoints", _steps),
        ("arrays of the last checkpoint", _arrays),
        ("metrics.jsonl", lambda run: _events(run, stopped)),
        ("per_image.npz", per_image),
        ("notes", lambda run: _results(run)["notes"]),
        ("rows", lambda run: _results(run)["rows"]),
    ):
        try:
            same = _equal(read(reference), read(folder))
        except Exception as error:  # any: the file is not what it should be
            faults.append(f"{what} cannot be read: {error!r}"[:300])
        else:
            faults += [] if same else [f"{what} differ from the reference"]
    return faults


def honest(reference: Path, folder: Path, ended: Ended) -> list[str]:
    """Faults of results after damage: the same numbers, or a warning and a note."""
    wanted, found = _results(reference), _results(folder)
    changed = [n for n in NUMBERS if _timeless(wanted.get(n)) != _timeless(found.get(n))]
    if not _equal(per_image(reference), per_image(folder)):
        changed.append("per_image.npz")
    if not changed:
        return []
    faults = [] if ended.lines else [f"no warning, though {', '.join(changed)} differ"]
    if found["notes"] == wanted["notes"]:
        faults.append(f"no note, though {', '.join(changed)} differ")
    return faults


def per_image(folder: Path) -> dict[str, np.ndarray]:
    """Arrays of per_image.npz; `gpool rank` leaves none."""
    if not (folder / "per_image.npz").exists():
        return {}
    with np.load(folder / "per_image.npz") as arrays:
        return dict(arrays)


def _results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_bytes())


def _steps(run: Path) -> list[str]:
    """Names of the checkpoints and of their sums."""
    folders = (run / "checkpoints", run / "checkpoint_sums")
    return sorted(path.name for folder in folders for path in folder.iterdir())


def _arrays(run: Path) -> dict[str, np.ndarray]:
    import jax
    from orbax.checkpoint import v1 as ocp

    last = max(int(path.name) for path in (run / "checkpoints").iterdir())
    leaves = jax.tree.leaves_with_path(ocp.load(run / "checkpoints" / str(last)))
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def _events(run: Path, stopped: bool) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    events = [_timeless(json.loads(line)) for line in lines]
    return [e for e in events if not stopped or "val_loss" in e]


def _timeless(values: Any) -> Any:
    """Plain data without the speed of the machine."""
    if isinstance(values, dict):
        return {n: _timeless(v) for n, v in values.items() if n != "images_per_second"}
    return [_timeless(v) for v in values] if isinstance(values, list) else values


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[n], other[n]) for n in one)
    if isinstance(one, np.ndarray):
        same_kind = one.dtype == other.dtype and one.shape == other.shape
        return same_kind and one.tobytes() == other.tobytes()
    return one == other
