"""Files of a run: written whole or not at all, and never through a link.

A file is written aside, flushed to the disk and renamed, so that a reader, or a run that was
killed, finds the old content or the new one. The name aside is made exclusively, and renaming
replaces a symbolic link instead of following it.
"""

import contextlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from gpool_jax.errors import RunError

_ASIDE = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Open a file to be written whole: what is at `path` changes when the block ends.

    Raises:
      RunError: if it cannot be written; what was there is unchanged.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        try:
            # The mode is the umask's, as of any new file.
            with open(os.open(aside, flags, 0o666), "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error}.") from error


def write(path: Path, content: str | bytes) -> None:
    """Write a file whole; see `writing`."""
    with writing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def append(path: Path, line: str) -> None:
    """Append to a log; a line that a kill cuts short is the last one.

    Raises:
      RunError: if it cannot be written, or is a symbolic link.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
    try:
        with open(os.open(path, flags, 0o666), "ab") as file:
            file.write(line.encode())
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error}.") from error


def remove_leftovers(folder: Path, *, older_than: float = 0.0) -> None:
    """Remove what writers that were killed left aside.

    Args:
      folder: where they wrote.
      older_than: seconds since the last change, after which no writer is at work any more; 0
        where none can be.
    """
    for path in folder.iterdir():
        if _ASIDE.fullmatch(path.name) and time.time() - path.stat().st_mtime >= older_than:
            path.unlink(missing_ok=True)


def to_json(values: Any, *, indent: int | None = 1) -> str:
    """Format plain data as JSON, which has no NaN and no infinity, and an end of line.

    Raises:
      RunError: naming the first number that is not finite.
    """
    try:
        return json.dumps(values, indent=indent, allow_nan=False) + "\n"
    except ValueError:
        where, value = next(_not_finite(values, ""))
        raise RunError(f"the number {where.lstrip('.')} is {value}; it cannot be stored.") from None


def _not_finite(values: Any, where: str) -> Iterator[tuple[str, float]]:
    if isinstance(values, dict):
        for name, value in values.items():
            yield from _not_finite(value, f"{where}.{name}")
    elif isinstance(values, list | tuple):
        for place, value in enumerate(values):
            yield from _not_finite(value, f"{where}[{place}]")
    elif isinstance(values, float) and not (abs(values) < float("inf")):
        yield where, values
