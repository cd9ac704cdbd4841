"""One folder per question: from a configuration to a measured result.

from gpool_jax.config import PositionConfig
from gpool_jax.experiments import run

result = run(PositionConfig(task="location"), "runs/location")
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpool_jax.report import Result


def run(
    config: Any, workdir: str | Path, *, warn: Callable[[str], None] = print
) -> "Result | None":
    """Train what a configuration asks for, measure it, and write both into a folder.

    Args:
      config: one of the classes of `gpool_jax.config.KINDS`.
      workdir: receives config.json, metrics.jsonl, checkpoints/, results.json and
        report.html; called again, the run goes on where it was.
      warn: receives one line per damaged file that was passed over.

    Returns:
      The result; None in a process that trains along but does not write
      (see `gpool_jax.train.processes`).

    Raises:
      InputError: for anything that cannot be used, before anything is written.
      RunError: if the run had to stop.
    """
    # Imported here, so that naming a configuration does not load JAX.
    from gpool_jax.experiments import driver

    return driver.run(config, Path(workdir), warn=warn)
