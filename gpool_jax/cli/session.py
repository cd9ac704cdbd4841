"""What every command does around its work: start JAX, show the result, warn."""

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import Any

from gpool_jax.train.allocator import keep_freed_memory


def start_jax(options: argparse.Namespace) -> None:
    """Load JAX once nothing cheap is left to check, with its cache of compiled programs."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Orbax logs every save and load through absl.
    logging.getLogger("absl").setLevel(logging.ERROR)
    # Before JAX makes its threads.
    keep_freed_memory()
    import jax

    chosen = options.compilation_cache
    folder = chosen or os.environ.get("JAX_COMPILATION_CACHE_DIR") or "~/.cache/gpool_jax/xla"
    if chosen != "none":
        jax.config.update("jax_compilation_cache_dir", str(Path(folder).expanduser()))


def show(result: Any, folder: Path) -> int:
    """Print what was measured and where it is; the exit code."""
    from gpool_jax.report.table import format_table

    for note in result.notes:
        print(note)
    print(f"\n{format_table(result)}\n")
    for name in ("results.json", "report.html"):
        if (folder / name).exists():
            print(folder / name)
    return 0


def warn(message: str) -> None:
    """Say something that does not stop the command."""
    print(f"gpool: {message}", file=sys.stderr)
