"""The folder of a command: made once, written by one, never another command's or subject's."""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpool_jax import files, imports
from gpool_jax.config import plain
from gpool_jax.errors import InputError

# Fields that say where things lie, what is shown, or how much is done this time.
MACHINE_FIELDS = (
    "data.cache_dir",
    "data.dir",
    "data.path",
    "data.workers",
    "only",
    "train.mlflow",
    "train.parallel",
    "train.tensorboard",
    "train.wandb",
)
# Sections of later commands; no training depends on them.
LATER_SECTIONS = ("rank.", "attack.")
# Sections and fields that say how a finished run is measured.
MEASUREMENTS = ("eval.", "probe.", "consistency.", "data.cluster")
# Files that every command leaves.
_OUTPUTS = ("results.json", "audit.json", "network.json", "report.html", "per_image.npz")
# Files that say whose folder it is.
_OWNED = ("audit.json", "network.json", "results.json")
# Orbax takes a path for a pattern, and then cannot read what it has written.
_PATTERN = "[]*?\\"


@dataclasses.dataclass(frozen=True)
class Owner:
    """The command that writes a folder, and its subject; kept in results.json.

    Attributes:
      command: such as "rank".
      name: the subject in words, such as "the run runs/demo".
      digest: tells the subject from any other, wherever it lies.
    """

    command: str
    name: str
    digest: str


def own(folder: Path, command: str = "train") -> Owner:
    """The owner of what a command finds out about the run in a folder.

    A run is known by its data and by the fields of its config that are not defaults, without
    those that say how it is measured.
    """
    config = read_config(folder)
    default = plain.to_dict(type(config)())
    changed = differences(default, plain.to_dict(config))
    known = [field for field in changed if not field.startswith(MEASUREMENTS)]
    return Owner(command, f"the run {folder}", digest([default["kind"], known, read_data(folder)]))


def own_weights(path: Path, model: str, command: str) -> Owner:
    """The owner of what a command finds out about a file of weights of a network."""
    content = ""  # of a file that is not there, which is refused when it is read
    if path.is_file():
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    return Owner(command, f"{model} of {path}", digest([model, content]))


def digest(values: Any) -> str:
    """A short checksum of plain data."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def check_owner(folder: Path, owner: Owner) -> None:
    """Raise if a folder holds the results of another command or subject, or a training run."""
    if owner.command == "train":
        return
    if (folder / "config.json").exists() or (folder / "checkpoints").exists():
        raise InputError(
            f"`workdir`: {folder} is the folder of a training run; gpool {owner.command} needs "
            "another one for its results."
        )
    found = _read_owner(folder)
    if found is None or (found.command, found.digest) == (owner.command, owner.digest):
        return
    raise InputError(
        f"`workdir`: {folder} holds results of gpool {found.command} on {found.name}; "
        f"use another folder for gpool {owner.command} on {owner.name}."
    )


def _read_owner(folder: Path) -> Owner | None:
    names = [name for name in _OWNED if (folder / name).exists()]
    try:
        return Owner(**json.loads((folder / names[0]).read_bytes())["environment"]["owner"])
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None  # none there, of an earlier version, or damaged


_held: set[Path] = set()


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to a folder, which is made; death lets go of it.

    What writers left that were killed is removed. Within the block, it may be held again.

    Raises:
      InputError: if another process writes to it.
    """
    make(folder)
    place = folder.resolve()
    if place in _held:
        yield
        return
    path = folder / ".lock"
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    try:
        lock = os.open(path, flags, 0o666)
    except OSError as error:
        raise InputError(f"`workdir`: {path} cannot be opened: {error.strerror}.") from None
    try:
        _lock(lock, folder)
        _held.add(place)
        files.remove_leftovers(folder)
        yield
    finally:
        _held.discard(place)
        os.close(lock)


def _lock(lock: int, folder: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: nothing keeps two processes apart
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        who = os.pread(lock, 100, 0).decode(errors="replace").strip() or "another process"
        raise InputError(
            f"`workdir`: {who} is writing to {folder}; wait for its end, or use another folder."
        ) from None
    except OSError:
        return  # a file system without locks
    with contextlib.suppress(OSError):
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)


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
    if any(sign in str(folder.absolute()) for sign in _PATTERN):
        raise InputError(
            f"`workdir`: {folder.absolute()} has one of {' '.join(_PATTERN)} in it, with which "
            "checkpoints cannot be read again; use another folder."
        )
    for name in _OUTPUTS:
        if (folder / name).is_dir():
            raise InputError(f"`workdir`: {folder / name} is a folder; a file is needed there.")


def make(folder: Path) -> None:
    """Make the folder, if it is not there."""
    check_writable(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"`workdir`: {folder} cannot be made: {error.strerror}.") from None


def open_run(
    folder: Path, config: Any, data: dict[str, Any] | None = None, *, warn: Any = print
) -> None:
    """Make the folder of a run, or check that it is this config's and this data's.

    Writes config.json and, if the data's fingerprint is given, data.json.

    Raises:
      InputError: naming the fields in which the configs or the data differ.
    """
    check_run(folder, config)
    if data is not None and _has_results(folder):
        known = read_data(folder)
        if not known:
            warn(f"{folder / 'data.json'} is missing: whether the data are the same is unknown.")
        changed = plain.differences(known, data) if known else []
        if changed:
            raise InputError(
                f"`data`: {folder} was trained on other data ({'; '.join(changed)}); use another "
                "folder, or the same data."
            )
    make(folder)
    files.write(folder / "config.json", files.to_json(plain.to_dict(config)))
    if data is not None:
        files.write(folder / "data.json", files.to_json(data))


def check_run(folder: Path, config: Any) -> None:
    """Raise if the folder holds a run of another config or another command's results."""
    check_writable(folder)
    found = _read_owner(folder)
    if found is not None and found.command != "train":
        raise InputError(
            f"`workdir`: {folder} holds results of gpool {found.command} on {found.name}; use "
            "another folder for the training."
        )
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


def check_trusted(config: Any, folder: Path, *, trust_code: bool) -> None:
    """Raise if the network of a run is code of its maker's, and nobody said that it may run."""
    names = (config.model.name, *getattr(config, "networks", ()))
    name = next((name for name in names if name.startswith(imports.PREFIX)), None)
    if name is not None and not trust_code:
        raise InputError(
            f"`run`: the network of {folder} is {name}, whose code would be run; if you trust it, "
            "say --trust-code (from Python, trust_code=True)."
        )


def read_data(folder: Path) -> dict[str, Any]:
    """Read the fingerprint of a run's data; empty if it is not there."""
    return _read_json(folder / "data.json") if (folder / "data.json").exists() else {}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no JSON object.")
    return values
