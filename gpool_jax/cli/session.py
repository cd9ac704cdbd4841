"""The frame of every command: start JAX, show the result, warn."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpool_jax.cli.options import Options
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

    chosen = options.compilation_cache
    folder = chosen or os.environ.get("JAX_COMPILATION_CACHE_DIR") or "~/.cache/gpool_jax/xla"
    if chosen != "none":
        jax.config.update("jax_compilation_cache_dir", str(Path(folder).expanduser()))
        if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
            # JAX keeps what took a second; a command compiles dozens of programs in less.
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)


def show(result: Any, options: Options) -> int:
    """Print what was measured and where it is; return the exit code."""
    folder = Path(options.workdir or "")
    if options.json:
        print((folder / "results.json").read_text(), end="")
        return 0
    if not options.quiet:
        from gpool_jax.report.table import format_table

        print(*result.notes, f"\n{format_table(result)}\n", sep="\n")
    for name in ("results.json", "report.html"):
        if (folder / name).exists():
            print(folder / name)
    return 0


def warn(message: str) -> None:
    """Say something that does not stop the command."""
    print(f"gpool: {message}", file=sys.stderr)


def warner(options: Options, *, speaks: bool = True) -> Callable[[str], None]:
    """`warn`; with --quiet, or in a process that does not speak, a function that says nothing."""
    return warn if speaks and not options.quiet else lambda _message: None
