"""The folder of a run: made once, never mixed with another configuration's."""

import json
import os
from pathlib import Path
from typing import Any

from gpool_jax.config import plain
from gpool_jax.errors import InputError

# Fields that say where things lie and what is shown, not what the run computes.
MACHINE_FIELDS = (
    "data.cache_dir",
    "data.dir",
    "data.path",
    "data.workers",
    "train.parallel",
    "train.tensorboard",
)
# Sections of later commands; no training depends on them.
LATER_SECTIONS = ("rank.", "attack.")


def check_writable(folder: Path) -> None:
    """Raise if the folder could not be made or written, without making it."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"`workdir`: {folder} is a file; a folder is needed.")
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise InputError(f"`workdir`: {existing} is a file; {folder} cannot be made in it.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"`workdir`: {existing} cannot be written to.")


def make(folder: Path) -> None:
    """Make the folder, if it is not there."""
    check_writable(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"`workdir`: {folder} cannot be made: {error.strerror}.") from None


def open_run(folder: Path, config: Any, data: dict[str, Any] | None = None) -> None:
    """Make the folder of a run, or check that it is this config's and this data's.

    Writes config.json and, if the data's fingerprint is given, data.json.

    Raises:
      InputError: naming the fields in which the configs or the data differ.
    """
    check_run(folder, config)
    if data is not None and (folder / "data.json").exists() and _has_results(folder):
        changed = plain.differences(_read_json(folder / "data.json"), data)
        if changed:
            raise InputError(
                f"`data`: {folder} was trained on other data ({'; '.join(changed)}); use another "
                "folder, or the same data."
            )
    make(folder)
    _write_json(folder / "config.json", plain.to_dict(config))
    if data is not None:
        _write_json(folder / "data.json", data)


def _write_json(path: Path, values: dict[str, Any]) -> None:
    aside = path.with_suffix(".tmp")
    try:
        aside.write_text(json.dumps(values, indent=1) + "\n")
        os.replace(aside, path)
    except OSError as error:
        raise InputError(f"`workdir`: {path.parent} cannot be written: {error.strerror}.") from None


def check_run(folder: Path, config: Any) -> None:
    """Raise if the folder holds a run of another config, or cannot be written."""
    check_writable(folder)
    if not (folder / "config.json").exists() or not _has_results(folder):
        return
    changed = differences(plain.to_dict(read_config(folder)), plain.to_dict(config))
    if changed:
        raise InputError(
            f"`workdir`: {folder} holds a run of another config ({'; '.join(changed)}); "
            "use another folder, or the same config."
        )


def _has_results(folder: Path) -> bool:
    """Tell whether anything would be lost: a run that never saved may start again."""
    saved = folder.glob("**/checkpoints/[0-9]*")
    return (folder / "results.json").exists() or any(saved)


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Fields in which two plain configs ask for different results."""
    changed = plain.differences(old, new)
    return [
        d
        for d in changed
        if d.split(":")[0] not in MACHINE_FIELDS and not d.startswith(LATER_SECTIONS)
    ]


def read_config(folder: Path) -> Any:
    """Read the config of a run; an `InputError` if the folder is not that of a run."""
    if not (folder / "config.json").is_file():
        raise InputError(f"`run`: {folder} is not the folder of a training run (no config.json).")
    return plain.from_dict(_read_json(folder / "config.json"))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"`workdir`: {path} cannot be read: {error}.") from None
