"""Metrics beside metrics.jsonl: each writer offline, by what it leaves."""

import dataclasses
import importlib.util
import sys

import pytest

from gpool_jax.config import TrainConfig
from gpool_jax.errors import InputError
from gpool_jax.experiments import driver
from gpool_jax.experiments.position import training as position
from gpool_jax.train import writers
from gpool_jax.train.events import Events, read_events
from tests.helpers import tiny

TWO = ((2, {"loss": 3.0, "accuracy": 0.5}), (4, {"loss": 2.0, "accuracy": 0.75}))


def log(field, folder, *, first_step=0, events=TWO, failed=False, warn=pytest.fail):
    """What a training does: open, one line a step, close."""
    config = TrainConfig(**{field: True})
    told = writers.Writers(config, folder, first_step, warn)
    log = Events(folder, first_step=first_step, writers=told)
    for step, values in events:
        log.write(step, values)
    log.close(failed=failed)


def test_nothing_is_opened_that_is_not_asked_for(tmp_path):
    assert writers.Writers(TrainConfig(), tmp_path, 0, pytest.fail)._open == {}
    writers.check_writers(TrainConfig())


@pytest.mark.parametrize("field", ["tensorboard", "wandb", "mlflow"])
def test_a_writer_that_is_not_installed_is_named_before_the_training(field, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    config = TrainConfig(**{field: True})
    with pytest.raises(InputError, match=rf"`train\.{field}` needs .*; install it"):
        writers.check_writers(config)


def test_a_folder_that_wandb_has_made_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "notapackage").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(writers._WRITERS, "wandb", (writers.WandB, "notapackage"))
    with pytest.raises(InputError, match="needs notapackage"):
        writers.check_writers(TrainConfig(wandb=True))


def test_every_writer_is_a_field_of_the_config():
    fields = {field.name for field in dataclasses.fields(TrainConfig)}
    assert set(writers._WRITERS) <= fields


def test_tensorboard_holds_every_value_at_its_step(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    log("tensorboard", tmp_path)
    (path,) = (tmp_path / "tensorboard").glob("events.*")
    content, found = path.read_bytes(), {}
    while content:  # records: length (8 bytes) and its checksum (4), the event, its checksum (4)
        end = 12 + int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12:end])
        for value in event.summary.value:
            found.setdefault(event.step, {})[value.tag] = value.simple_value
        content = content[end + 4 :]
    assert found == dict(TWO)


class Recorder:
    """The part of wandb that is used."""

    def __init__(self):
        self.started, self.lines, self.codes = [], [], []

    def init(self, **options):
        self.started.append(options)
        return self

    def log(self, values, step):
        self.lines.append((step, values))

    def finish(self, exit_code):
        self.codes.append(exit_code)


def test_a_resumed_training_goes_on_in_its_run_of_wandb(tmp_path, monkeypatch):
    fake = Recorder()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    log("wandb", tmp_path, events=TWO[:1], failed=True)
    log("wandb", tmp_path, first_step=2, events=TWO[1:])
    assert [start["resume"] for start in fake.started] == ["allow"] * 2
    first, second = (start["id"] for start in fake.started)
    assert first == second
    assert fake.lines == list(TWO)
    assert fake.codes == [1, 0]
    log("wandb", tmp_path)
    assert fake.started[-1]["id"] != first


@pytest.mark.parametrize("bad", ["init", "log", "finish"])
def test_trouble_with_a_writer_is_one_warning_and_the_log_is_whole(bad, tmp_path, monkeypatch):
    fake = Recorder()
    monkeypatch.setitem(sys.modules, "wandb", fake)

    def fail(*args, **options):
        raise OSError("no network\nat all")

    setattr(fake, bad, fail)
    said = []
    log("wandb", tmp_path, warn=said.append)
    assert said == ["`train.wandb`: nothing more is logged there: no network"]
    assert [event["step"] for event in read_events(tmp_path)] == [2, 4]


def test_a_training_tells_its_writers_every_line_and_how_it_ended(tmp_path, monkeypatch):
    fake = Recorder()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setattr("gpool_jax.experiments.training.check_writers", lambda config: None)
    setup = position.prepare(tiny(train={"steps": 2, "eval_every": 1, "wandb": True}))
    driver.train(setup, tmp_path / "run")
    logged = [{"step": step, **values} for step, values in fake.lines]
    assert logged == read_events(tmp_path / "run")
    assert fake.codes == [0]


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
    # Killed after step 4, whose checkpoint was not written: it comes again.
    log("mlflow", folder, failed=True)
    log("mlflow", folder, first_step=2, events=[TWO[1], (4, {"val_loss": 1.0})])
    client = mlflow.MlflowClient()
    (experiment,) = (e for e in client.search_experiments() if e.name == "gpool_jax")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(2, 3.0), (4, 2.0)]
    assert len(client.get_metric_history(run.info.run_id, "val_loss")) == 1
