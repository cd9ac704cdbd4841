"""The networks that are measured: a run's checkpoints, or weights that were imported."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from gpool_jax.config import TrainConfig
from gpool_jax.errors import InputError
from gpool_jax.train.checkpoint import Checkpoints
from gpool_jax.train.events import read_events
from gpool_jax.train.optimizer import evaluated_variables
from gpool_jax.train.state import TrainState


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """Weights, as `model.apply` takes them: "best", "step N" or "imported", and their steps."""

    name: str
    step: int
    variables: Any


@dataclasses.dataclass(frozen=True)
class Snapshots:
    """One network's weights, and where they come from.

    Attributes:
      entries: milestones of the training and, last, the best checkpoint.
      notes: where the weights come from, in sentences.
      events: the training's metrics.jsonl; empty for imported weights.
      mismatch: why the head does not predict the configuration's task; empty if it does.
    """

    entries: list[Snapshot]
    notes: list[str]
    events: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    mismatch: str = ""

    @property
    def best(self) -> Snapshot:
        """The best checkpoint, or the imported weights."""
        return self.entries[-1]

    def curves(self, name: str) -> dict[str, list[dict[str, Any]]]:
        """Training curves under the network's name; none of imported weights."""
        return {name: self.events} if self.events else {}


# What picks the best checkpoint, in words.
_WORDS = {"miou": "mean IoU"}


def open_checkpoints(config: TrainConfig, folder: Path) -> Checkpoints:
    """The checkpoints of a run."""
    milestones = (*config.milestones, config.steps)
    return Checkpoints(folder / "checkpoints", keep=config.keep, milestones=milestones)


def load(setup: Any, run: Path, select_by: str, warn: Callable[[str], None]) -> Snapshots:
    """Read the checkpoints of a run that are measured: the milestones and the best.

    `setup` is a `training.Setup`; `select_by` is the number that picked the best.

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
        entries = [*_milestones(checkpoints, config, state, warn), ("best", *best)]
        last_step = checkpoints.steps[-1]
    finally:
        checkpoints.close()
    num_val = len(setup.dataset.val)
    notes = [
        f"The checkpoint of step {best[0]} was picked by the {_WORDS.get(select_by, select_by)} of "
        f"{min(config.num_val or num_val, num_val):,} validation images."
    ]
    if last_step < config.steps:
        notes.append(f"The training is not finished: {last_step} of {config.steps} steps.")
    measured = [Snapshot(name, step, evaluated_variables(at)) for name, step, at in entries]
    return Snapshots(measured, notes, read_events(run))


def _milestones(
    checkpoints: Checkpoints, config: TrainConfig, state: TrainState, warn: Callable
) -> list[tuple[str, int, TrainState]]:
    """The checkpoints at the stated lengths that can be read."""
    entries = []
    stated = {*config.milestones, config.steps} if config.milestones else set()
    for step in sorted(stated & set(checkpoints.steps)):
        try:
            entries.append((f"step {step}", step, checkpoints.load(step, state)))
        except InputError as error:
            warn(f"{error}; its rows are left out.")
    return entries
