"""Write what ranking or attacking measured."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

from gpool_jax.experiments import workdir
from gpool_jax.experiments.experiment import Measured
from gpool_jax.report import Result, write_report, write_result
from gpool_jax.report.environment import environment


def measure_and_write(
    measure: Callable[[], Measured], out: Path, warn: Callable[[str], None]
) -> Result:
    """Measure, and write the result in place of what an earlier run left in the folder."""
    started = time.perf_counter()
    workdir.check_writable(out)
    measured = measure()
    seconds = time.perf_counter() - started
    result = dataclasses.replace(measured.result, environment=environment(seconds))
    workdir.make(out)
    for old in out.glob("ranking_*.json"):
        old.unlink()
    for name, text in measured.files.items():
        (out / name).write_text(text)
    write_result(result, out, measured.arrays)
    write_report(result, out, warn, overlays=measured.overlays)
    return result
