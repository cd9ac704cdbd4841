"""The networks that are measured: a run's checkpoints, or weights that were imported."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from gpool_jax import ops
from gpool_jax.config import TrainConfig, plain
from gpool_jax.errors import InputError
from gpool_jax.experiments import workdir
from gpool_jax.train.checkpoint import Checkpoints
from gpool_jax.train.events import digest, read_events
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
      caveats: those of the notes that say what is not as it should be.
    """

    entries: list[Snapshot]
    notes: list[str]
    events: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    mismatch: str = ""
    caveats: list[str] = dataclasses.field(default_factory=list)

    @property
    def best(self) -> Snapshot:
        """The best checkpoint, or the imported weights."""
        return self.entries[-1]

    def curves(self, name: str) -> dict[str, list[dict[str, Any]]]:
        """Training curves under the network's name; none of imported weights."""
        return {name: self.events} if self.events else {}


# A moving average of which less than this is of its start has settled.
_SETTLED = 0.05
# What picks the best checkpoint, in words.
_WORDS = {"miou": "mean IoU"}


def open_checkpoints(setup: Any, folder: Path) -> Checkpoints:
    """The checkpoints of a run of a `training.Setup`; each knows what it was trained from."""
    config = setup.config.train
    origin = {
        "config": plain.to_dict(setup.config),
        "data": setup.dataset.fingerprint,
        "mean": list(setup.dataset.mean),
        "std": list(setup.dataset.std),
    }
    milestones = (*config.milestones, config.steps)
    return Checkpoints(folder / "checkpoints", config.keep, milestones, origin)


def load(
    setup: Any, run: Path, select_by: str, warn: Callable[[str], None]
) -> tuple[Any, Snapshots]:
    """Read the checkpoints of a run that are measured: the milestones and the best.

    `setup` is a `training.Setup`; `select_by` is the number that picked the best.

    Returns:
      The setup, normalising with the mean and std that the run was trained with, and the
      snapshots. Notes say where the folder, the data or the setup are not those of the
      training.

    Raises:
      InputError: if the run has no readable checkpoint.
    """
    config = setup.config.train
    checkpoints = open_checkpoints(setup, run)
    state = jax.eval_shape(setup.init_state)
    best = checkpoints.load_best(state, warn)
    if best is None:
        raise InputError(f"`run`: {run} has no checkpoints yet.")
    step, best_state, damaged = best
    origin = checkpoints.describe(step).get("origin") or {}
    last_step = checkpoints.steps[-1]
    events = read_events(run, warn)
    strange = _strange(setup, run, origin)
    if not _is_whole(events, last_step, checkpoints.describe(last_step).get("log")):
        strange.append(f"{run}/metrics.jsonl is not as it was written: curves may be wrong.")
    for note in strange:
        warn(note)
    num_val = len(setup.dataset.val)
    notes = [
        f"The checkpoint of step {step} was picked by the {_WORDS.get(select_by, select_by)} of "
        f"{min(config.num_val or num_val, num_val):,} validation images.",
    ]
    caveats = [*damaged, *strange]
    caveats += _unsettled(config, step, getattr(setup.model.backbone, "norm_momentum", None))
    if last_step < config.steps:
        caveats.append(f"The training is not finished: {last_step} of {config.steps} steps.")
    notes += [*caveats, *setup.dataset.notes]
    setup = _as_trained(setup, origin)
    mean, std = (" ".join(f"{v:.4g}" for v in vs) for vs in (setup.dataset.mean, setup.dataset.std))
    whose = "the training" if "mean" in origin else "the data"
    notes.append(f"Images are normalised with the mean {mean} and std {std} of {whose}.")
    entries = [*_milestones(checkpoints, config, state, warn), ("best", step, best_state)]
    measured = [_snapshot(name, at, loaded, config.ema_decay) for name, at, loaded in entries]
    return setup, Snapshots(measured, notes, events, caveats=caveats)


def _is_whole(events: list[dict[str, Any]], step: int, log: int | None) -> bool:
    """Tell whether the events up to a checkpoint are those with the digest that it knows."""
    return log is None or digest([event for event in events if event["step"] <= step]) == log


def _unsettled(config: TrainConfig, step: int, momentum: float | None) -> list[str]:
    """Sentences on moving averages that are still of the start of a short training.

    `momentum` is that of the batch statistics; None: of a user's own encoder, unknown.
    """
    found = []
    share = 0.0 if momentum is None else momentum**step
    if share > _SETTLED:
        found.append(
            f"After {step} steps {100 * share:.0f} % of the batch statistics are still their "
            "initial values: a network may do far worse in evaluation than in training."
        )
    decay = config.ema_decay
    if decay is not None and decay**step > _SETTLED:
        found.append(
            f"`train.ema_decay` {decay:g} averages over about {1 / (1 - decay):.0f} steps, and the "
            f"training had {step}: the average is over all of it."
        )
    return found


def _snapshot(name: str, step: int, state: TrainState, decay: float | None) -> Snapshot:
    variables = evaluated_variables(state, decay)
    bad = ops.first_nonfinite(variables)
    if bad:
        raise InputError(f"`run`: {bad} of the checkpoint of step {step} is not finite.")
    return Snapshot(name, step, variables)


def _as_trained(setup: Any, origin: dict[str, Any]) -> Any:
    """The setup with the normalisation of the training, whatever data are measured."""
    if "mean" not in origin or "std" not in origin:
        return setup  # a run of an earlier version: its data's
    dataset = dataclasses.replace(
        setup.dataset, mean=tuple(origin["mean"]), std=tuple(origin["std"])
    )
    return dataclasses.replace(setup, dataset=dataset)


def _strange(setup: Any, run: Path, origin: dict[str, Any]) -> list[str]:
    """Sentences on what is not as it was when the run was trained."""
    found = []
    if "config" in origin:
        # Through the dataclass: a field added since then has its default.
        then = plain.to_dict(plain.from_dict(origin["config"]))
        changed = plain.differences(then, plain.to_dict(workdir.read_config(run)))
        changed = [field for field in changed if not field.startswith(workdir.MACHINE_FIELDS)]
        if changed:
            found.append(f"{run}/config.json is not that of the training: {'; '.join(changed)}.")
    known = origin.get("data") or workdir.read_data(run)
    if not known:
        found.append(f"{run}/data.json is missing: whether the data are the same is unknown.")
    elif changed := plain.differences(known, setup.dataset.fingerprint):
        found.append(f"The data are not those of the training: {'; '.join(changed)}.")
    return found


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
