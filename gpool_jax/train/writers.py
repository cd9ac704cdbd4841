"""Where metrics go beside metrics.jsonl: TensorBoard, Weights & Biases, MLflow.

A training that goes on after a stop goes on in the same record: its name there is kept in the
folder of the run.
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


class Writer(Protocol):
    """A place that metrics are written to."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Record the values of a step; steps grow."""

    def close(self) -> None:
        """Write what is pending."""


class TensorBoard:
    """Event files in the folder `tensorboard` of the run, by tensorboardX."""

    def __init__(self, folder: Path, first_step: int):
        from tensorboardX import SummaryWriter

        self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Record the values of a step."""
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush the event files."""
        self._events.close()


class WandB:
    """A run of the project `gpool_jax` at Weights & Biases; WANDB_MODE=offline keeps it here."""

    def __init__(self, folder: Path, first_step: int):
        import wandb

        name = _name(folder / "wandb_run", first_step, lambda: uuid.uuid4().hex[:8])
        self._run = wandb.init(
            project=PROJECT, name=folder.name, dir=str(folder), id=name, resume="allow"
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Record the values of a step."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


class MLflow:
    """A run of the experiment `gpool_jax`, where MLFLOW_TRACKING_URI says."""

    def __init__(self, folder: Path, first_step: int):
        from mlflow import MlflowClient

        self._client = client = MlflowClient()

        def create() -> str:
            known = client.get_experiment_by_name(PROJECT)
            experiment = client.create_experiment(PROJECT) if known is None else known.experiment_id
            return client.create_run(experiment, run_name=folder.name).info.run_id

        self._run = _name(folder / "mlflow_run", first_step, create)
        client.update_run(self._run, status="RUNNING")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Record the values of a step."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def close(self) -> None:
        """Mark the run as finished."""
        self._client.set_terminated(self._run)


# Field of `TrainConfig` to its writer and the package that it needs.
_WRITERS: dict[str, tuple[Callable[[Path, int], Writer], str]] = {
    "tensorboard": (TensorBoard, "tensorboardX"),
    "wandb": (WandB, "wandb"),
    "mlflow": (MLflow, "mlflow"),
}


def check_writers(config: TrainConfig) -> None:
    """Raise if a writer that is asked for is not installed."""
    for field, (_, package) in _WRITERS.items():
        if getattr(config, field) and importlib.util.find_spec(package) is None:
            raise InputError(f"`train.{field}` needs {package}; install it, or leave it out.")


def open_writers(config: TrainConfig, folder: Path, first_step: int) -> list[Writer]:
    """Open the writers that a configuration asks for; steps up to `first_step` are written."""
    return [
        make(folder, first_step) for field, (make, _) in _WRITERS.items() if getattr(config, field)
    ]


def _name(path: Path, first_step: int, create: Callable[[], str]) -> str:
    """The name in a file, if the run goes on; else a new one, which is kept there."""
    if first_step and path.is_file():
        return path.read_text().strip()
    name = create()
    files.write(path, name + "\n")
    return name
