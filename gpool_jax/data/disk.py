"""Files and folders of a data set, with one line that says what is wrong with one."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from gpool_jax.config import paths
from gpool_jax.errors import InputError, RunError

Warn = Callable[[str], None]

# Where a system does not say how much memory it has.
_MEMORY = 64 * 2**30


def stat(path: str | Path) -> tuple[int, int]:
    """Size in bytes and time of change in nanoseconds; an InputError if it cannot be read."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise InputError(f"`data`: {path} cannot be read: {error.strerror}.") from None
    return found.st_size, found.st_mtime_ns


def find(config: Any, what: Literal["file", "folder"], kind: str) -> Path:
    """The `path` of a config; an InputError says that `kind` is needed, or that it is not there."""
    if not config.path:
        given = "none" if config.path is None else repr(config.path)
        raise InputError(
            f"`data.path` must name {kind} for data.source {config.source}; got {given}."
        )
    path = paths.expand(config.path)
    if not (path.is_file() if what == "file" else path.is_dir()):
        raise InputError(f"`data.path`: there is no {what} {path}.")
    return path


def is_plain(name: str) -> bool:
    """Whether a name that a file gives for another one stays in the folder it is looked up in."""
    return name not in ("", ".", "..") and not set(name) & {"/", "\\", "\0"}


def several(names: Iterable[Any]) -> str:
    """The first of some names, and the number of the others."""
    first, *others = names
    return f"{first} (and {len(others)} more)" if others else str(first)


def check_memory(num_bytes: int, what: str) -> None:
    """Raise an InputError if arrays cannot fit into this machine's memory, before they are made."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        memory = _MEMORY
    if num_bytes > memory:
        raise InputError(
            f"`data`: {what} would take {num_bytes / 2**30:,.1f} GiB, more than the "
            f"{memory / 2**30:,.1f} GiB of memory of this machine."
        )


def in_threads(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Map over items in threads: Pillow decodes and resizes outside the interpreter's lock."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(function, items))


@contextlib.contextmanager
def run_errors() -> Iterator[None]:
    """Turn the `InputError` of a bad file into a `RunError`: the run is already going."""
    try:
        yield
    except InputError as error:
        raise RunError(str(error)) from None
