"""Metrics beside metrics.jsonl: each writer offline, by what it leaves."""

import dataclasses
import importlib.util
import json
import sys

import pytest

from gpool_jax.config import TrainConfig
from gpool_jax.errors import InputError
from gpool_jax.train import writers
from gpool_jax.train.events import Events

TWO = ((2, {"loss": 3.0, "accuracy": 0.5}), (4, {"loss": 2.0, "accuracy": 0.75}))


def log(field, folder, *, first_step=0, events=TWO):
    """What a training does: open, one line a step, close."""
    config = TrainConfig(**{field: True})
    log = Events(
        folder,
        first_step=first_step,
        writers=writers.open_writers(config, folder, first_step),
    )
    for step, values in events:
        log.write(step, values)
    log.close()


def test_nothing_is_opened_that_is_not_asked_for(tmp_path):
    assert writers.open_writers(TrainConfig(), tmp_path, 0) == []
    writers.check_writers(TrainConfig())


@pytest.mark.parametrize("field", ["tensorboard", "wandb", "mlflow"])
def test_a_writer_that_is_not_installed_is_named_before_the_training(field, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    config = TrainConfig(**{field: True})
    with pytest.raises(InputError, match=rf"`train\.{field}` needs .*; install it"):
        writers.check_writers(config)


def test_every_writer_is_a_field_of_the_config():
    fields = {field.name for field in dataclasses.fields(TrainConfig)}
    assert set(writers._WRITERS) <= fields


def test_tensorboard_holds_every_value_at_its_step(tmp_path):
    pytest.importorskip("tensorboardX")
    log("tensorboard", tmp_path)
    (path,) = (tmp_path / "tensorboard").glob("events.*")
    content = path.read_bytes()
    assert content.count(b"accuracy") == content.count(b"loss") == len(TWO)


class Recorder:
    """The part of wandb that is used."""

    def __init__(self):
        self.started, self.lines, self.finished = [], [], 0

    def init(self, **options):
        self.started.append(options)
        return self

    def log(self, values, step):
        self.lines.append((step, values))

    def finish(self):
        self.finished += 1


def test_a_resumed_training_goes_on_in_its_run_of_wandb(tmp_path, monkeypatch):
    fake = Recorder()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    log("wandb", tmp_path, events=TWO[:1])
    log("wandb", tmp_path, first_step=2, events=TWO[1:])
    first, second = (start["id"] for start in fake.started)
    assert first == second
    assert fake.lines == list(TWO)
    assert fake.finished == 2
    log("wandb", tmp_path)
    assert fake.started[-1]["id"] != first


@pytest.mark.slow
def test_wandb_offline_keeps_the_run_in_the_folder(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    log("wandb", tmp_path)
    (stored,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    assert b"accuracy" in stored.read_bytes()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_holds_every_value_at_its_step_and_a_resumed_run_goes_on(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    folder = tmp_path / "run"
    folder.mkdir()
    log("mlflow", folder, events=TWO[:1])
    log("mlflow", folder, first_step=2, events=TWO[1:])
    client = mlflow.MlflowClient()
    (experiment,) = (e for e in client.search_experiments() if e.name == "gpool_jax")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(2, 3.0), (4, 2.0)]
    assert json.loads((folder / "metrics.jsonl").read_text().splitlines()[1])["loss"] == 2.0
