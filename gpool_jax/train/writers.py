"""Where metrics go beside metrics.jsonl: TensorBoard, Weights & Biases, MLflow.

A training that goes on after a stop goes on in the same record: its name there is kept in the
folder of the run. Trouble with a writer ends its record, with a warning, and never the training.
"""

import importlib.util
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from gpool_jax import files
from gpool_jax.config import TrainConfig
from gpool_jax.errors import InputError

PROJECT = "gpool_jax"
Warn = Callable[[str], None]


class Writer(Protocol):
    """A place that metrics are written to."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Record values of a step; a step never falls, and may come again with other names."""

    def close(self, *, failed: bool) -> None:
        """Write what is pending, and say whether the training ended as it should."""


class TensorBoard:
    """Event files in the folder `tensorboard` of the run, by tensorboardX."""

    def __init__(self, folder: Path, first_step: int):
        from tensorboardX import SummaryWriter

        self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Record values of a step."""
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    def close(self, *, failed: bool) -> None:
        """Flush the event files."""
        del failed
        self._events.close()


class WandB:
    """A run of the project `gpool_jax` at Weights & Biases, which drops steps that it has."""

    def __init__(self, folder: Path, first_step: int):
        import wandb

        name = _record_id(folder / "wandb_run", first_step, lambda: uuid.uuid4().hex[:8])
        self._run = wandb.init(
            project=PROJECT, name=folder.name, dir=str(folder), id=name, resume="allow"
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Record values of a step."""
        self._run.log(dict(values), step=step)

    def close(self, *, failed: bool) -> None:
        """Finish the run."""
        self._run.finish(exit_code=int(failed))


class MLflow:
    """A run of the experiment `gpool_jax`, where MLFLOW_TRACKING_URI says."""

    def __init__(self, folder: Path, first_step: int):
        from mlflow import MlflowClient

        self._client = client = MlflowClient()

        def create() -> str:
            known = client.get_experiment_by_name(PROJECT)
            experiment = client.create_experiment(PROJECT) if known is None else known.experiment_id
            return client.create_run(experiment, run_name=folder.name).info.run_id

        self._run_id = _record_id(folder / "mlflow_run", first_step, create)
        client.update_run(self._run_id, status="RUNNING")
        # Of a run that was killed, steps after its last checkpoint are there already.
        self._resumed, self._last = first_step > 0, dict[str, int]()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Record values of a step, but those that are recorded."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [
            Metric(name, value, now, step)
            for name, value in values.items()
            if step > self._last_step(name)
        ]
        if metrics:
            self._client.log_batch(self._run_id, metrics=metrics)

    def close(self, *, failed: bool) -> None:
        """Mark the run as finished, or as failed."""
        self._client.set_terminated(self._run_id, status="FAILED" if failed else "FINISHED")

    def _last_step(self, name: str) -> int:
        if name not in self._last:
            known = self._client.get_metric_history(self._run_id, name) if self._resumed else []
            self._last[name] = max((metric.step for metric in known), default=-1)
        return self._last[name]


# Field of `TrainConfig` to its writer and the package that it needs.
_WRITERS: dict[str, tuple[Callable[[Path, int], Writer], str]] = {
    "tensorboard": (TensorBoard, "tensorboardX"),
    "wandb": (WandB, "wandb"),
    "mlflow": (MLflow, "mlflow"),
}


class Writers:
    """All writers that a configuration asks for; one that fails is left out from then on."""

    def __init__(self, config: TrainConfig, folder: Path, first_step: int, warn: Warn):
        self._warn = warn
        self._open: dict[str, Writer] = {}
        for field, (make, _) in _WRITERS.items():
            if getattr(config, field):
                try:
                    self._open[field] = make(folder, first_step)
                except Exception as error:
                    self._drop(field, error)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Record values of a step everywhere."""
        self._each(lambda writer: writer.write(step, values))

    def close(self, *, failed: bool) -> None:
        """Close every record."""
        self._each(lambda writer: writer.close(failed=failed))

    def _each(self, act: Callable[[Writer], None]) -> None:
        for field, writer in tuple(self._open.items()):
            try:
                act(writer)
            except Exception as error:  # theirs are of many kinds: networks, servers, disks
                self._drop(field, error)

    def _drop(self, field: str, error: Exception) -> None:
        self._open.pop(field, None)
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        self._warn(f"`train.{field}`: nothing more is logged there: {reason}")


def check_writers(config: TrainConfig) -> None:
    """Raise if a writer that is asked for is not installed."""
    for field, (_, package) in _WRITERS.items():
        if not getattr(config, field):
            continue
        found = importlib.util.find_spec(package)
        # A folder of that name, such as wandb makes, is no package.
        if found is None or found.loader is None:
            raise InputError(f"`train.{field}` needs {package}; install it, or leave it out.")


def _record_id(path: Path, first_step: int, create: Callable[[], str]) -> str:
    """The id of the record in a file, if the run goes on; else a new one, which is kept there."""
    if first_step and path.is_file():
        return path.read_text().strip()
    name = create()
    files.write(path, name + "\n")
    return name
