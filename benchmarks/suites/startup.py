"""How long commands take before they do anything, and what the second run of one saves."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.record import Row
from benchmarks.timing import Spread

_ROUNDS = 7
# Little to train, all there is to compile.
_DEMO = (
    "--train.steps", "4", "--train.eval-every", "4", "--train.num-val", "50",
    "--eval.num-images", "50", "--eval.permutations", "2", "--probe.num-images", "30",
)  # fmt: skip


def rows(quick: bool) -> list[Row]:
    """Whole processes, timed from outside."""
    rounds = 2 if quick else _ROUNDS
    found = [
        _row("gpool --help", ["-m", "gpool_jax", "--help"], rounds),
        _row("gpool --version", ["-m", "gpool_jax", "--version"], rounds),
        _row("import gpool_jax.ops", ["-c", "import gpool_jax.ops"], rounds),
    ]
    return found if quick else [*found, *_demo()]


def _run(words: list[str], **environment: str) -> float:
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, *words],
        check=True,
        capture_output=True,
        env={**os.environ, **environment},
    )
    return time.perf_counter() - started


def _row(name: str, words: list[str], rounds: int) -> Row:
    _run(words)
    return Row("startup", name, "ours", seconds=Spread.of([_run(words) for _ in range(rounds)]))


def _demo() -> list[Row]:
    """The demo with almost no training, with nothing compiled and with everything."""
    seconds: dict[str, list[float]] = {"first": [], "second": []}
    left = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            cache = Path(folder) / "xla"
            for name, values in seconds.items():
                before = len(list(cache.glob("*-cache"))) if cache.exists() else 0
                words = ["-m", "gpool_jax", "demo", "--workdir", f"{folder}/{name}", *_DEMO]
                values.append(_run(words, JAX_COMPILATION_CACHE_DIR=str(cache)))
                after = len(list(cache.glob("*-cache")))
            left.append(after - before)
    note = f"programs that the second run still had to compile and keep: {max(left)}"
    case = "gpool demo, 4 steps"
    return [
        Row("startup", f"{case}, nothing compiled before", "ours", Spread.of(seconds["first"])),
        Row("startup", f"{case}, again", "ours", Spread.of(seconds["second"]), note=note),
    ]
