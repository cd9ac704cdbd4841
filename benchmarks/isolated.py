"""One contender in a process of its own: its memory, and what compiling it costs.

python -m benchmarks.isolated SUITE CASE CONTENDER    (names as the table has them)
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gpool_jax.train.allocator import keep_freed_memory

ROOT = Path(__file__).parent.parent


def measure(suite: str, case: str, contender: str, *, quick: bool, compiles: bool) -> dict:
    """Run a contender twice in fresh processes, the second with what the first compiled.

    Args:
      suite: its name.
      case: its name.
      contender: its name.
      quick: whether the case is one of the quick ones.
      compiles: whether there is anything to compile; else it is run once.

    Returns:
      `memory_mib`, and `compile_cold` and `compile_cached` in seconds if it compiles.
    """
    words = [sys.executable, "-m", "benchmarks.isolated", suite, case, contender]
    words += ["--quick"] if quick else []
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache}
        found = []
        for _ in range(2 if compiles else 1):
            done = subprocess.run(
                words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise RuntimeError(f"{contender} at {case}: {done.stderr.strip()[-500:]}")
            found.append(json.loads(done.stdout.strip().splitlines()[-1]))
    result = {"memory_mib": found[-1]["memory"] / 2**20}
    if compiles:
        names = ("compile_cold", "compile_cached")
        result |= {n: max(0.0, f["first"] - f["second"]) for n, f in zip(names, found, strict=True)}
    return result


def main(words: list[str]) -> None:
    """Print what one process measures, as JSON."""
    keep_freed_memory()
    from benchmarks.machine import peak_memory, reset_peak_memory
    from benchmarks.suites import load

    suite, case, contender = words[:3]
    cases = {c.name: c for c in load(suite).cases("--quick" in words)}
    build = {c.name: c.build for c in cases[case].contenders}[contender]
    if contender.startswith("torch"):
        import torch  # noqa: F401  its import is not the work
    before = reset_peak_memory()
    call = build()
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    found = {"first": seconds[0], "second": seconds[1], "memory": peak_memory() - before}
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
