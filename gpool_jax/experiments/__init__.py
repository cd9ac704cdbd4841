"""One file per question: from a config to a measured result.

from gpool_jax.config import PositionConfig
from gpool_jax.experiments import run

result = run(PositionConfig(task="location"), "runs/location")
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpool_jax.config import (
    ComparisonConfig,
    InvarianceComparisonConfig,
    InvarianceConfig,
    PositionConfig,
    SegmentationConfig,
)


def run(config: Any, workdir: str | Path, *, warn: Callable[[str], None] = print):
    """Train what a config asks for, measure it, and write both into a folder.

    Args:
      config: one of the classes of `gpool_jax.config.KINDS`.
      workdir: gets config.json, metrics.jsonl, checkpoints/, results.json and
        report.html; called again, the run goes on where it was.
      warn: receives one line per damaged file that was passed over.

    Returns:
      The `report.Result`; None in a process that trains along but does not write
      (see `gpool_jax.train.processes`).

    Raises:
      InputError: for anything that cannot be used, before anything is written.
      RunError: if the run had to stop.
    """
    # Imported here, so that naming a config does not load JAX.
    from gpool_jax.experiments.invariance import comparison as invariance_comparison
    from gpool_jax.experiments.invariance import measure as invariance_measure
    from gpool_jax.experiments.position import comparison, measure
    from gpool_jax.experiments.segmentation import measure as segmentation_measure
    from gpool_jax.train import parallel

    runners: dict[type, Callable] = {
        PositionConfig: measure.run,
        ComparisonConfig: comparison.run,
        InvarianceConfig: invariance_measure.run,
        InvarianceComparisonConfig: invariance_comparison.run,
        SegmentationConfig: segmentation_measure.run,
    }
    if type(config) not in runners:
        names = ", ".join(kind.__name__ for kind in runners)
        raise TypeError(f"`config` must be one of {names}; got {type(config).__name__}.")
    with parallel.use(config.train.parallel):
        return runners[type(config)](config, Path(workdir), warn)
