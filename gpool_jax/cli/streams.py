"""What a command says: results on stdout, all else on stderr; nothing a terminal would obey."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

from gpool_jax.errors import RunError

# Sequences that colour or move, other control characters, and marks that turn text around.
_OBEYED = re.compile(
    "\x1b\\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


def prepare() -> None:
    """Make streams that take any text, whatever this process was started with."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Closed, as by cron: the next file that is opened would receive what is printed.
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))
        else:
            # Names of files and classes may be outside the terminal's encoding.
            stream.reconfigure(errors="replace")


def printable(text: str) -> str:
    """Return a text without characters that a terminal would obey; lines and tabs stay."""
    return _OBEYED.sub("", text)


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Write what is printed on stdout inside.

    Raises:
      RunError: if it cannot be written.
      BrokenPipeError: if its reader has left.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        discard(sys.stdout)
        raise RunError(f"stdout cannot be written to: {error.strerror}.") from None


def say(text: str) -> None:
    """Print on stdout; see `writing`."""
    with writing():
        print(printable(text))


def complain(text: str) -> None:
    """Print one line on stderr, if that can be written to."""
    line = " ".join(printable(part).strip() for part in text.splitlines())
    with contextlib.suppress(OSError):
        print(f"gpool: {line}", file=sys.stderr, flush=True)


def discard(stream: Any) -> None:
    """Send what is left in a stream nowhere: Python would try to write it again at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
