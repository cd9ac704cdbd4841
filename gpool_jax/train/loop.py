"""The training loop: dispatch, log, validate, save; stop cleanly and go on exactly."""

import bisect
import contextlib
import logging
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

from gpool_jax.config import TrainConfig
from gpool_jax.errors import RunError
from gpool_jax.train import parallel, processes
from gpool_jax.train.checkpoint import Checkpoints
from gpool_jax.train.events import Events, Progress
from gpool_jax.train.signals import note_signals
from gpool_jax.train.state import TrainState
from gpool_jax.train.writers import Writers

_log = logging.getLogger("gpool_jax")


class Feed(Protocol):
    """A source of training data."""

    data: Any
    """Arrays put on every device once and handed to every step."""
    steps_per_dispatch: int
    """Steps in one call, unless the config says it."""

    def fetch(self, data: Any, inputs: Any) -> Any:
        """Return the device's batch, inside the step."""

    def inputs_at(self, step: int, count: int) -> Any:
        """Return the inputs [count, B, ...] of `count` steps from `step` on, on the host."""

    def state(self) -> dict[str, Any] | None:
        """Return the position in the data as plain JSON; None if it follows from the step."""

    def restore(self, state: dict[str, Any] | None, step: int) -> None:
        """Go on exactly from the checkpoint of a step, or raise."""

    def close(self) -> None:
        """Close what is open."""


def steps_of_dispatch(config: TrainConfig, feed: Feed) -> int:
    """Steps in one call at most: one on a CPU, where XLA's convolutions are slow in a loop."""
    on_cpu = jax.default_backend() == "cpu"
    return config.steps_per_dispatch or (1 if on_cpu else feed.steps_per_dispatch)


class Stopped(Exception):
    """The run was asked to stop by a `signal` (SIGTERM or SIGINT); its state is saved."""

    def __init__(self, signal_number: int, step: int):
        super().__init__(
            f"stopped by {signal.Signals(signal_number).name} at step {step}; the checkpoint is "
            "saved, and the same command goes on from there."
        )
        self.signal = signal_number


def fit(
    *,
    state: TrainState,
    train_step: parallel.Program,
    feed: Feed,
    validate: Callable[[TrainState], dict[str, float]],
    config: TrainConfig,
    folder: Path,
    checkpoints: Checkpoints | None,
    select_by: str = "accuracy",
    title: str = "train",
    warn: Callable[[str], None] = _log.warning,
) -> TrainState:
    """Train up to `config.steps`, going on from the newest checkpoint; return the last state.

    Args:
      state: freshly initialised; also the structure of the checkpoints.
      train_step: from `parallel.map_train_step`.
      feed: the training data; its position is saved, so that a resumed run is identical.
      validate: `state -> numbers` to log, `select_by` among them.
      config: lengths and intervals.
      folder: the run's folder, for metrics.jsonl.
      checkpoints: the run's; None in every process but the first, which alone logs and saves.
      select_by: the validation number whose highest value marks the best checkpoint.
      title: the progress bar's title.
      warn: receives one line per checkpoint that cannot be read.

    Raises:
      Stopped: after SIGTERM or SIGINT from the first step on, with the state saved.
      RunError: if the loss is not finite or a checkpoint cannot be written.
    """
    first_step, state = _restore(state, feed, checkpoints, warn)
    # A copy: the step donates its state, and the caller keeps the one it gave.
    state = parallel.replicate(jax.tree.map(np.array, state))
    data = parallel.replicate(feed.data)
    chunk, planned = steps_of_dispatch(config, feed), stops(config)
    log = None
    if checkpoints is not None:
        log = _Log(folder, config, first_step, title, checkpoints, select_by, warn)
    step = first_step
    try:
        with contextlib.ExitStack() as stack:
            received: list[int] = []
            newest = 0
            while step < config.steps:
                count = min(chunk, planned[bisect.bisect(planned, step)] - step)
                inputs = parallel.shard(feed.inputs_at(step, count), axis=1)
                state, metrics = train_step(state, data, inputs)
                if step == first_step:
                    # Until it is compiled there is nothing to save: a signal ends all at once.
                    received = stack.enter_context(note_signals())
                step += count
                at_stop = step in planned
                if log is not None:
                    log.add(step, count, metrics, flush=at_stop)
                if at_stop:
                    values = validate(parallel.local(state))
                    if log is not None:
                        log.save(step, parallel.local(state), feed.state(), values)
                    processes.meet()
                # All processes stop after the same step. Each compares its signals with the others'
                # while the next step runs: waiting at once would leave the devices idle.
                before, newest = newest, parallel.largest(max(received, default=0))
                signal_number = int(newest if at_stop or jax.process_count() == 1 else before)
                if signal_number:
                    if log is not None and not at_stop:
                        log.save(step, parallel.local(state), feed.state(), {})
                    raise Stopped(signal_number, step)
    except BaseException:
        if log is not None:
            log.close(failed=True)
        raise
    if log is not None:
        log.close(failed=False)
    return parallel.local(state)


def _restore(
    state: TrainState, feed: Feed, checkpoints: Checkpoints | None, warn: Callable[[str], None]
) -> tuple[int, TrainState]:
    """Load the newest checkpoint as (step, state), or (0, the given state); move the feed there.

    Process 0 reads it, since the others may not see its disk.
    """
    found = []

    def load() -> tuple[int, Any]:
        newest = checkpoints.load_latest(state, warn) if checkpoints is not None else None
        if checkpoints is None or newest is None:
            return 0, None
        found.append(newest[1])
        return newest[0], checkpoints.describe(newest[0]).get("feed")

    step, position = processes.from_first(load)
    if step == 0:
        return 0, state
    feed.restore(position, step)
    loaded = found[0] if found else jax.tree.map(np.asarray, state)
    return step, parallel.broadcast(loaded) if jax.process_count() > 1 else loaded


class _Log:
    """Writes metrics, fetched from the device a line at a time, and checkpoints."""

    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        first_step: int,
        title: str,
        checkpoints: Checkpoints,
        select_by: str,
        warn: Callable[[str], None],
    ):
        self._every, self._batch_size = config.log_every, config.batch_size
        self._events = Events(
            folder,
            first_step=first_step,
            writers=Writers(config, folder, first_step, warn),
            warn=warn,
            known=checkpoints.describe(first_step).get("log") if first_step else 0,
        )
        self._progress = Progress(config.steps, first_step, config.batch_size, title)
        self._checkpoints, self._select_by = checkpoints, select_by
        self._pending: list[dict[str, Any]] = []
        self._started = time.perf_counter()

    def add(self, step: int, count: int, metrics: dict[str, Any], *, flush: bool) -> None:
        """Note the metrics of the `count` steps up to `step`."""
        self._pending.append(metrics)
        self._progress.advance(count)
        if flush or step // self._every > (step - count) // self._every:
            self._flush(step)

    def _flush(self, step: int) -> None:
        """Write what is pending; stop the run if any of it is not finite."""
        if not self._pending:
            return
        host = jax.device_get(self._pending)
        seconds = time.perf_counter() - self._started
        self._pending, self._started = [], time.perf_counter()
        per_step, counted = {}, {}
        for name, first in host[0].items():
            if isinstance(first, tuple):  # (sum, count)
                total, count = (np.concatenate([m[name][i] for m in host]) for i in (0, 1))
                # A batch without anything to count, such as pixels with a label, sums up to 0.
                per_step[name] = total / np.where(count == 0, 1, count)
                counted[name] = count != 0
            else:
                per_step[name] = np.concatenate([m[name] for m in host])
        _check_finite(per_step, step, self._checkpoints)
        values = {
            name: float(np.mean(value[counted.get(name, ...)]))
            for name, value in per_step.items()
            if np.any(counted.get(name, True))
        }
        num_steps = len(per_step["loss"])
        values["images_per_second"] = num_steps * self._batch_size / seconds
        self._events.write(step, values)
        self._progress.note(**{n: values[n] for n in ("loss", "accuracy") if n in values})

    def save(self, step: int, state: TrainState, position: Any, values: dict[str, float]) -> None:
        """Write what is pending, validation numbers if there are any, and a checkpoint."""
        self._flush(step)
        if values:
            self._events.write(step, {f"val_{name}": value for name, value in values.items()})
            self._started = time.perf_counter()  # validation does not count as training
        # Of equals the one with the lower loss is the best, of those the earliest.
        score = (values[self._select_by], -values["loss"]) if values else None
        self._checkpoints.save(step, state, score, feed=position, log=self._events.digest)

    def close(self, *, failed: bool) -> None:
        """Close the progress bar and the files."""
        self._progress.close()
        self._events.close(failed=failed)


def stops(config: TrainConfig) -> list[int]:
    """Steps after which a run is validated and saved, ascending."""
    regular = range(config.eval_every, config.steps, config.eval_every)
    return sorted({*regular, *config.milestones, config.steps})


def _check_finite(per_step: dict[str, np.ndarray], step: int, checkpoints: Checkpoints) -> None:
    """Raise before anything that is not finite is saved, naming the first bad step."""
    rows = np.flatnonzero(~np.all([np.isfinite(value) for value in per_step.values()], axis=0))
    if len(rows) == 0:
        return
    row = int(rows[0])
    first = step - len(per_step["loss"]) + 1 + row
    bad = {name: value[row] for name, value in per_step.items() if not np.isfinite(value[row])}
    names = [f"{name} {value}" for name, value in bad.items()]
    last = f"step {checkpoints.steps[-1]}" if checkpoints.steps else "none"
    raise RunError(
        f"step {first} is not finite ({', '.join(sorted(names))}); the run stops. The last good "
        f"checkpoint is {last}. A lower `train.learning_rate` is the usual cure."
    )
