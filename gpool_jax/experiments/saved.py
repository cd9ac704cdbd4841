"""The checkpoints of a run that are measured: the best, and those of stated lengths."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from gpool_jax.config import TrainConfig
from gpool_jax.errors import InputError
from gpool_jax.train.checkpoint import Checkpoints
from gpool_jax.train.state import TrainState

Entry = tuple[str, int, TrainState]


def open_checkpoints(config: TrainConfig, folder: Path) -> Checkpoints:
    """The checkpoints of a run."""
    milestones = (*config.milestones, config.steps)
    return Checkpoints(folder / "checkpoints", keep=config.keep, milestones=milestones)


def load(setup: Any, run: Path, warn: Callable[[str], None]) -> tuple[list[Entry], int]:
    """Read what is to be measured.

    Args:
      setup: a `training.Setup`.
      run: the run's folder.
      warn: receives one line per checkpoint that cannot be read.

    Returns:
      (name, step, state) of each stated length and, last, of the best; and the
      last step saved.

    Raises:
      InputError: if the run has no readable checkpoint.
    """
    config = setup.config.train
    if not (run / "checkpoints").is_dir():
        raise InputError(f"`run`: {run} has no checkpoints yet.")
    checkpoints = open_checkpoints(config, run)
    try:
        state = jax.eval_shape(setup.init_state)
        best = checkpoints.load_best(state, warn)
        if best is None:
            raise InputError(f"`run`: {run} has no checkpoints yet.")
        entries = _load_milestones(checkpoints, config, state, warn)
        return [*entries, ("best", *best)], checkpoints.steps[-1]
    finally:
        checkpoints.close()


def _load_milestones(
    checkpoints: Checkpoints, config: TrainConfig, state: TrainState, warn: Callable
) -> list[Entry]:
    """The checkpoints at the stated lengths that can be read."""
    entries = []
    stated = {*config.milestones, config.steps} if config.milestones else set()
    for step in sorted(stated & set(checkpoints.steps)):
        try:
            entries.append((f"step {step}", step, checkpoints.load(step, state)))
        except InputError as error:
            warn(f"{error}; its rows are left out.")
    return entries
