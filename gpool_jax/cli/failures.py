"""What went wrong, as one line and an exit code."""

import contextlib
import os
import tempfile
import traceback
from pathlib import Path

from gpool_jax import files
from gpool_jax.config import paths
from gpool_jax.errors import InputError, RunError


def explain(error: Exception, workdir: str, name: str = "traceback.txt") -> tuple[int, str]:
    """Return the exit code and the line to end with.

    The code is 2 for what a user can mend. Anything else is a fault of the program: 1, and
    the traceback goes to a file of this name, in the workdir if there is one. With
    GPOOL_TRACEBACK=1 it is printed instead.
    """
    if isinstance(error, InputError | RunError):
        return 2, str(error)
    lines = str(error).strip().splitlines()
    first = lines[0][:200] if lines else ""
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return 2, (
            f"out of memory ({first or type(error).__name__}). A smaller --train.batch-size, or "
            "the batch_size of what was measured, needs less; `gpool train ... --dry-run` prints "
            "what a training needs."
        )
    if isinstance(error, OSError) and error.filename is not None:
        return 2, f"{str(error.filename)[:200]!r} cannot be used: {error.strerror}."
    what = f"{type(error).__name__}: {first}" if first else type(error).__name__
    if os.environ.get("GPOOL_TRACEBACK") == "1":
        traceback.print_exception(error)
        return 1, what
    return 1, f"{what}; a fault of the program, please report it{_keep(error, workdir, name)}"


def _keep(error: Exception, workdir: str, name: str) -> str:
    """Write the traceback where there is room; return the words that say where."""
    text = "".join(traceback.format_exception(error))
    cache = os.environ.get("GPOOL_CACHE_DIR") or paths.home_cache()
    for folder in (Path(given) for given in (workdir, cache) if given):
        with contextlib.suppress(OSError, RunError):
            if folder.is_dir():
                files.write(folder / name, text.encode(errors="replace"))
                return f" with {folder / name}"
    with contextlib.suppress(OSError):
        _, path = tempfile.mkstemp(f"_{name}", "gpool_")
        Path(path).write_text(text, encoding="utf-8", errors="replace")
        return f" with {path}"
    return "; GPOOL_TRACEBACK=1 prints where it happened"
