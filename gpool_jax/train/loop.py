"""The loop: dispatch, log, validate, save; stop cleanly and go on exactly."""

import math
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gpool_jax.config import TrainConfig
from gpool_jax.errors import RunError
from gpool_jax.train import parallel
from gpool_jax.train.checkpoint import Checkpoints
from gpool_jax.train.events import Events, Progress
from gpool_jax.train.state import TrainState


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
    data: Any,
    inputs_at: Callable[[int, int], Any],
    validate: Callable[[TrainState], dict[str, float]],
    config: TrainConfig,
    folder: Path,
    checkpoints: Checkpoints,
    title: str = "train",
    warn: Callable[[str], None] = print,
) -> TrainState:
    """Train up to `config.steps`, going on from the newest readable checkpoint.

    Args:
      state: freshly initialised; also the structure of the checkpoints.
      train_step: from `parallel.map_train_step`.
      data: replicated resident data, passed to every step.
      inputs_at: `(step, count) -> inputs` [count, B, ...] on the host, a function
        of the step alone: this is what makes a resumed run identical.
      validate: state to `accuracy` and whatever else is to be logged.
      config: lengths and intervals.
      folder: of the run, for metrics.jsonl.
      checkpoints: of the run.
      title: of the progress bar.
      warn: receives one line per checkpoint that cannot be read.

    Returns:
      The state after the last step.

    Raises:
      Stopped: after SIGTERM or SIGINT, with the state saved.
      RunError: if the loss is not finite or a checkpoint cannot be written.
    """
    found = checkpoints.load_latest(state, warn)
    first_step = 0
    if found is not None:
        first_step, state = found
    # A copy: the step donates its state, and the caller keeps the one it gave.
    state = parallel.replicate(jax.tree.map(np.array, state))
    chunk = config.steps_per_dispatch or (1 if jax.default_backend() == "cpu" else 50)
    events = Events(folder, first_step=first_step, tensorboard=config.tensorboard)
    progress = Progress(config.steps, first_step, config.batch_size, title)
    pending: list[dict[str, Any]] = []
    step, started = first_step, time.perf_counter()
    try:
        with StopRequest() as stop:
            while step < config.steps:
                count = min(chunk, _next_stop(step, config) - step)
                inputs = parallel.shard(inputs_at(step, count), axis=1)
                state, metrics = train_step(state, data, inputs)
                pending.append(metrics)
                step += count
                progress.advance(count)
                at_stop = step == _next_stop(step - 1, config)
                if at_stop or step // config.log_every > (step - count) // config.log_every:
                    values = _summarise(pending, config.batch_size, started)
                    pending, started = [], time.perf_counter()
                    _check_finite(values["loss"], step, checkpoints)
                    events.write(step, values)
                    progress.note(loss=values["loss"], accuracy=values["accuracy"])
                if at_stop:
                    values = validate(state)
                    events.write(step, {f"val_{k}": v for k, v in values.items()})
                    checkpoints.save(step, state, values["accuracy"])
                    started = time.perf_counter()
                if stop.received is not None:
                    if not at_stop:
                        checkpoints.save(step, state, None)
                    raise Stopped(stop.received, step)
    finally:
        progress.close()
        events.close()
    return state


def _next_stop(step: int, config: TrainConfig) -> int:
    """The next step after which the run is validated and saved."""
    regular = (step // config.eval_every + 1) * config.eval_every
    later = [m for m in config.milestones if m > step]
    return min([regular, config.steps, *later])


def _summarise(pending: list[dict], batch_size: int, started: float) -> dict[str, float]:
    """Mean of (sum, count) pairs and of plain scalars over the pending steps."""
    host = jax.device_get(pending)
    seconds = time.perf_counter() - started
    values, num_steps = {}, 0
    for name, first in host[0].items():
        if isinstance(first, tuple):
            total, count = (sum(float(m[name][i].sum()) for m in host) for i in (0, 1))
            values[name] = total / count
        else:
            stacked = np.concatenate([m[name] for m in host])
            num_steps = len(stacked)
            values[name] = float(stacked.mean())
    values["images_per_second"] = num_steps * batch_size / seconds
    return values


def _check_finite(loss: float, step: int, checkpoints: Checkpoints) -> None:
    if not math.isfinite(loss):
        last = f"step {checkpoints.steps[-1]}" if checkpoints.steps else "none"
        raise RunError(
            f"the loss is {loss} by step {step}; the run stops. Last checkpoint: {last}. A lower "
            "`train.learning_rate` is the usual cure."
        )
