"""The loop: dispatch, log, validate, save; stop cleanly and go on exactly."""

import signal
import threading
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
from gpool_jax.train.state import TrainState


class Feed(Protocol):
    """Where the training data come from.

    Attributes:
      data: put on every device once and handed to every step.
      steps_per_dispatch: steps whose inputs are gathered for one call, where the
        config leaves it open.
    """

    data: Any
    steps_per_dispatch: int

    def fetch(self, data: Any, inputs: Any) -> Any:
        """The device's batch, inside the step."""

    def inputs_at(self, step: int, count: int) -> Any:
        """Inputs [count, B, ...] of `count` steps from `step` on, on the host."""

    def state(self) -> dict[str, Any] | None:
        """Where the data stand, as plain JSON; None if the step alone says it."""

    def restore(self, state: dict[str, Any] | None, step: int) -> None:
        """Go on from the checkpoint of a step, exactly, or raise."""

    def close(self) -> None:
        """End what is open."""


def steps_of_dispatch(config: TrainConfig, feed: Feed) -> int:
    """Steps in one call, at most: on a CPU one, where XLA's convolutions are slow in a loop."""
    on_cpu = jax.default_backend() == "cpu"
    return config.steps_per_dispatch or (1 if on_cpu else feed.steps_per_dispatch)


class Stopped(Exception):
    """The run was asked to stop (SIGTERM, or SIGINT); its state is saved.

    Attributes:
      signal: the signal's number.
    """

    def __init__(self, signal_number: int, step: int):
        super().__init__(
            f"stopped by {signal.Signals(signal_number).name} at step {step}; the checkpoint is "
            "saved, and the same command goes on from there."
        )
        self.signal = signal_number


class StopRequest:
    """Context in which SIGTERM and SIGINT are noted instead of obeyed at once."""

    def __init__(self):
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        """Install the handlers; only the main thread may."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: Any) -> None:
        """Put the previous handlers back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: Any) -> None:
        self.received = number


def fit(
    *,
    state: TrainState,
    train_step: Callable[..., tuple[TrainState, dict[str, Any]]],
    feed: Feed,
    validate: Callable[[TrainState], dict[str, float]],
    config: TrainConfig,
    folder: Path,
    checkpoints: Checkpoints,
    select_by: str = "accuracy",
    title: str = "train",
    warn: Callable[[str], None] = print,
) -> TrainState:
    """Train up to `config.steps`, going on from the newest readable checkpoint.

    Args:
      state: freshly initialised; also the structure of the checkpoints.
      train_step: from `parallel.map_train_step`.
      feed: of the training data. Its position is saved with every checkpoint and
        restored from it: this is what makes a resumed run identical.
      validate: state to what is to be logged, `select_by` among it.
      config: lengths and intervals.
      folder: of the run, for metrics.jsonl.
      checkpoints: of the run.
      select_by: the validation number whose highest value marks the best checkpoint.
      title: of the progress bar.
      warn: receives one line per checkpoint that cannot be read.

    Returns:
      The state after the last step.

    Raises:
      Stopped: after SIGTERM or SIGINT, with the state saved.
      RunError: if the loss is not finite or a checkpoint cannot be written.
    """
    first_step, state = _restore(state, feed, checkpoints, warn)
    # A copy: the step donates its state, and the caller keeps the one it gave.
    state = parallel.replicate(jax.tree.map(np.array, state))
    data = parallel.replicate(feed.data)
    chunk = steps_of_dispatch(config, feed)
    make_log = _Log if processes.is_first() else _NoLog
    log = make_log(folder, config, first_step, title, checkpoints)
    step = first_step
    try:
        with StopRequest() as stop:
            agreed = _Agreed(stop)
            while step < config.steps:
                count = min(chunk, _next_stop(step, config) - step)
                inputs = parallel.shard(feed.inputs_at(step, count), axis=1)
                state, metrics = train_step(state, data, inputs)
                step += count
                at_stop = step == _next_stop(step - 1, config)
                log.add(step, count, metrics, flush=at_stop)
                if at_stop:
                    values = validate(parallel.local(state))
                    log.validation(step, values)
                    accuracy = values[select_by]
                    checkpoints.save(step, parallel.local(state), accuracy, feed=feed.state())
                signal_number = agreed.signal(now=at_stop)
                if signal_number:
                    if not at_stop:
                        log.flush(step)
                        checkpoints.save(step, parallel.local(state), None, feed=feed.state())
                    raise Stopped(signal_number, step)
    finally:
        log.close()
    return parallel.local(state)


def _restore(
    state: TrainState, feed: Feed, checkpoints: Checkpoints, warn: Callable[[str], None]
) -> tuple[int, TrainState]:
    """The newest checkpoint as (step, state), or (0, the state given); the feed stands there.

    Process 0 reads it, for the others may have another disk.
    """
    found = []

    def load() -> tuple[int, Any]:
        step, loaded = checkpoints.load_latest(state, warn) or (0, state)
        found.append(loaded)
        return step, checkpoints.load_feed(step) if step else None

    step, position = processes.from_first(load)
    if step == 0:
        return 0, state
    feed.restore(position, step)
    loaded = found[0] if found else jax.tree.map(np.asarray, state)
    return step, parallel.broadcast(loaded) if jax.process_count() > 1 else loaded


class _Agreed:
    """The signal at which all processes stop, after the same step.

    The numbers of a step are compared while the next one runs: waiting for them at
    once would leave the devices idle in between.
    """

    def __init__(self, stop: StopRequest):
        self._stop, self._before = stop, 0

    def signal(self, *, now: bool) -> int:
        """The number of the signal, the same in every process; 0 for none.

        Args:
          now: do not leave a signal to the next step.
        """
        before, self._before = self._before, parallel.largest(self._stop.received or 0)
        if now or jax.process_count() == 1:
            return int(self._before)
        return int(before)


class _Log:
    """Metrics of the steps done since the last line, fetched from the device at once."""

    def __init__(
        self, folder: Path, config: TrainConfig, first_step: int, title: str, saved: Checkpoints
    ):
        self._every, self._batch_size = config.log_every, config.batch_size
        self._events = Events(folder, first_step=first_step, tensorboard=config.tensorboard)
        self._progress = Progress(config.steps, first_step, config.batch_size, title)
        self._saved = saved
        self._pending: list[dict[str, Any]] = []
        self._started = time.perf_counter()

    def add(self, step: int, count: int, metrics: dict[str, Any], *, flush: bool) -> None:
        """Note the metrics of the `count` steps up to `step`."""
        self._pending.append(metrics)
        self._progress.advance(count)
        if flush or step // self._every > (step - count) // self._every:
            self.flush(step)

    def flush(self, step: int) -> None:
        """Write what is pending; stop the run if any of it is not finite."""
        if not self._pending:
            return
        host = jax.device_get(self._pending)
        seconds = time.perf_counter() - self._started
        self._pending, self._started = [], time.perf_counter()
        per_step = {}
        for name, first in host[0].items():
            if isinstance(first, tuple):  # (sum, count)
                total, count = (np.concatenate([m[name][i] for m in host]) for i in (0, 1))
                per_step[name] = total / count
            else:
                per_step[name] = np.concatenate([m[name] for m in host])
        _check_finite(per_step, step, self._saved)
        values = {name: float(np.mean(value)) for name, value in per_step.items()}
        num_steps = len(per_step["loss"])
        values["images_per_second"] = num_steps * self._batch_size / seconds
        self._events.write(step, values)
        self._progress.note(loss=values["loss"], accuracy=values["accuracy"])

    def validation(self, step: int, values: dict[str, float]) -> None:
        """Write validation numbers; their time does not count as training."""
        self._events.write(step, {f"val_{name}": value for name, value in values.items()})
        self._started = time.perf_counter()

    def close(self) -> None:
        """Finish the bar and the files."""
        self._progress.close()
        self._events.close()


class _NoLog(_Log):
    """Of the processes that do not write: their numbers are those of process 0."""

    def __init__(self, *_: Any):
        pass

    def add(self, step: int, count: int, metrics: dict[str, Any], *, flush: bool) -> None:
        """Nothing is noted."""

    def flush(self, step: int) -> None:
        """Nothing is written."""

    def validation(self, step: int, values: dict[str, float]) -> None:
        """Nothing is written."""

    def close(self) -> None:
        """Nothing is open."""


def stops(config: TrainConfig) -> list[int]:
    """Steps after which a run is validated and saved, ascending."""
    found = [0]
    while found[-1] < config.steps:
        found.append(_next_stop(found[-1], config))
    return found[1:]


def _next_stop(step: int, config: TrainConfig) -> int:
    """The next step after which the run is validated and saved."""
    regular = (step // config.eval_every + 1) * config.eval_every
    later = [m for m in config.milestones if m > step]
    return min([regular, config.steps, *later])


def _check_finite(per_step: dict[str, np.ndarray], step: int, checkpoints: Checkpoints) -> None:
    """Stop before anything that is not finite is saved, naming the first bad step."""
    bad = {name: np.flatnonzero(~np.isfinite(value)) for name, value in per_step.items()}
    found = [(rows[0], name) for name, rows in bad.items() if len(rows)]
    if not found:
        return
    row, _ = min(found)
    first = step - len(per_step["loss"]) + 1 + int(row)
    names = [f"{name} {per_step[name][row]}" for at, name in found if at == row]
    last = f"step {checkpoints.steps[-1]}" if checkpoints.steps else "none"
    raise RunError(
        f"step {first} is not finite ({', '.join(sorted(names))}); the run stops. The last good "
        f"checkpoint is {last}. A lower `train.learning_rate` is the usual cure."
    )
