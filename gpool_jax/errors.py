"""The two exceptions that the command line turns into exit code 2, and parts of messages."""

from collections.abc import Iterable, Sequence
from typing import Any

# Most characters of a value, and most items of a list, in a message.
_SHOWN, _LISTED = 100, 8


class InputError(ValueError):
    """A value, file or folder from outside that cannot be used.

    The message is one line: the name of the field or file, the bad value, what is allowed.
    """


class RunError(RuntimeError):
    """A run that had to stop: a checkpoint that cannot be written, a loss that is not finite.

    The message is one line and says what is safe and how to go on.
    """


def nearest(word: str, known: Iterable[str]) -> str:
    """A "did you mean" hint for a message, or an empty string."""
    import difflib  # slow to import, and seldom needed

    near = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {near[0]}?" if near else ""


def first_line(error: BaseException) -> str:
    """An exception's kind and the first line of its message, at most 200 characters."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:200].rstrip(": ")


def shown(value: Any) -> str:
    """Return a bad value as Python writes it, or its beginning."""
    try:
        text = repr(value)
    except ValueError:  # too many digits for Python to write
        return "a number of thousands of digits"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def listed(items: Sequence[str]) -> str:
    """Join the first items of a list for a message, and count the others."""
    more = [f"and {len(items) - _LISTED} more"] if len(items) > _LISTED else []
    return "; ".join([*items[:_LISTED], *more])
