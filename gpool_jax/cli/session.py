"""The frame of every command: start JAX, show the result, warn."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpool_jax.cli.options import Options, Reporting
from gpool_jax.cli.streams import complain, say
from gpool_jax.config import paths
from gpool_jax.errors import InputError
from gpool_jax.train.allocator import keep_freed_memory


def start(options: Options) -> None:
    """Start JAX and its compilation cache; call after all cheap checks."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Orbax logs every save and load through absl.
    logging.getLogger("absl").setLevel(logging.ERROR)
    if options.quiet:
        os.environ["TQDM_DISABLE"] = "1"
    # Before JAX makes its threads.
    keep_freed_memory()
    import jax

    jax.config.update("jax_compilation_cache_dir", _cache_of_programs(options.compilation_cache))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        # JAX keeps what took a second; a command compiles dozens of programs in less.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
    if not getattr(options, "distributed", False):  # else once the processes have met
        find_devices()


def find_devices() -> None:
    """Let JAX look for its devices, or raise an `InputError` that says which it looked for."""
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # JAX asserts that there is one
        asked = os.environ.get("JAX_PLATFORMS", "")
        raise InputError(
            f"JAX finds no device to run on; JAX_PLATFORMS is {asked!r}, which cpu always fits: "
            f"{' '.join(str(error).split())[:200] or type(error).__name__}"
        ) from None


def _cache_of_programs(chosen: str | None) -> str | None:
    """Where JAX keeps compiled programs: a folder, or an address; None: nowhere."""
    if chosen == "none":
        return None
    folder = chosen or os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if folder:
        return folder if "://" in folder else str(paths.expand(folder))
    home = paths.home_cache()
    return None if home is None else str(home / "xla")


def show(result: Any, options: Reporting) -> int:
    """Print what was measured and where it is; return the exit code."""
    folder = Path(options.workdir or "")
    if options.json:
        say((folder / "results.json").read_text(encoding="utf-8").rstrip("\n"))
        return 0
    if not options.quiet:
        from gpool_jax.report.summary import format_summary
        from gpool_jax.report.table import format_table

        full = "\n".join((*result.notes, f"\n{format_table(result)}"))
        say(f"{full if options.tables else format_summary(result)}\n")
    for name in ("results.json", "report.html"):
        if (folder / name).exists():
            say(str(folder / name))
    return 0


def warner(options: Options, *, speaks: bool = True) -> Callable[[str], None]:
    """`complain`; with --quiet, or in a process that does not speak, a function that does not."""
    return complain if speaks and not options.quiet else lambda _message: None
