"""The two exceptions that the command line turns into one line and exit code 2."""

from collections.abc import Iterable


class InputError(ValueError):
    """A value, file or folder from outside that cannot be used.

    The message is one line: the name of the field or file, the bad value, what is allowed. Every
    exception but this and `RunError` is a bug in the program and keeps its traceback.
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
