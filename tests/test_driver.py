"""The driver: one way to run, resume, evaluate and write, for kinds that it has never seen."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from gpool_jax import ops
from gpool_jax.config import (
    KINDS,
    DataConfig,
    ModelConfig,
    PositionConfig,
    TrainConfig,
)
from gpool_jax.config.plain import to_dict
from gpool_jax.data import resident
from gpool_jax.data.images.load import load
from gpool_jax.errors import InputError
from gpool_jax.experiments import classifier, driver, programs, registry, training
from gpool_jax.experiments.experiment import Comparison, Experiment, Measured
from gpool_jax.report import Result
from tests.helpers import TINY, TINY_COMPARISON, tiny

MODEL = dataclasses.replace(TINY.model, head="linear")


@pytest.mark.slow
def test_programs_are_those_of_the_run_not_of_the_first_that_made_them(tmp_path):
    """Seed and statistics of the data reach a shared program as data."""
    config = tiny(model={"head": "permutenet", "permutation": "fixed"}, train={"steps": 3})
    programs.forget()
    driver.run(dataclasses.replace(config, seed=1), tmp_path / "other", warn=pytest.fail)
    shared = driver.run(config, tmp_path / "shared", warn=pytest.fail)
    programs.forget()
    alone = driver.run(config, tmp_path / "alone", warn=pytest.fail)
    assert shared.rows == alone.rows
    assert shared.curves["PermuteNet"][0]["loss"] == alone.curves["PermuteNet"][0]["loss"]


@dataclasses.dataclass(frozen=True)
class BrightnessConfig:
    """A sixth kind: predict whether an image is brighter than the mean."""

    threshold: float = 0.0
    seed: int = 0
    data: DataConfig = TINY.data
    model: ModelConfig = MODEL
    train: TrainConfig = TINY.train


@dataclasses.dataclass(frozen=True)
class BrightnessComparisonConfig:
    """Two thresholds side by side."""

    only: tuple[str, ...] = ()
    seed: int = 0
    data: DataConfig = TINY.data
    model: ModelConfig = TINY.model
    train: TrainConfig = TINY.train


def _prepare(config, *, dataset=None, warn=print):
    dataset = dataset or load(config.data, seed=config.seed, warn=warn)
    return classifier.make_setup(config, dataset, num_outputs=2)


def _labels(images, threshold):
    return (images.mean((1, 2, 3)) > threshold).astype(jnp.int32)


def _make_loss_fn(design, axis_name):
    model = design.model(axis_name)

    def loss_fn(params, batch_stats, batch, key):
        images = ops.normalise(batch["images"], batch["mean"], batch["std"])
        (logits, _), updates = model.apply(
            {"params": params, "batch_stats": batch_stats},
            images,
            train=True,
            mutable=["batch_stats"],
        )
        labels = _labels(images, design.config.threshold)
        losses = ops.cross_entropy(logits, labels)
        metrics = {
            "loss": ops.masked_sum(losses),
            "accuracy": ops.masked_sum(logits.argmax(-1) == labels),
        }
        return losses.mean(), {"batch_stats": updates["batch_stats"], "metrics": metrics}

    return loss_fn


def _make_program(design):
    model = design.model()

    def validate_batch(variables, data, inputs):
        images = resident.fetch(data["resident"], inputs)["images"]
        images = ops.normalise(images, data["mean"], data["std"])
        labels = _labels(images, design.config.threshold)
        logits, _ = model.apply(variables, images)
        accuracy = logits.argmax(-1) == labels
        return {"loss": ops.cross_entropy(logits, labels), "accuracy": accuracy}

    return validate_batch


def _measure(setup, snapshots):
    images = ops.normalise(setup.dataset.test.images, setup.dataset.mean, setup.dataset.std)
    logits, _ = setup.model.apply(snapshots.best.variables, images)
    right = np.asarray(logits.argmax(-1) == _labels(images, setup.config.threshold))
    notes = [f"accuracy {right.mean():.3f}", *snapshots.notes]
    return Measured(Result("Brightness", to_dict(setup.config), notes=notes), {"right": right})


BRIGHTNESS = Experiment(
    prepare=_prepare,
    recipe=lambda setup: training.Recipe(
        _make_loss_fn, lambda s: training.make_validate(s, _make_program, 64)
    ),
    measure=_measure,
    load_weights=lambda *_: pytest.fail("not used"),
)
BRIGHTNESS_COMPARISON = Comparison(
    members=lambda config: {
        f"above{t}": BrightnessConfig(t, config.seed, config.data) for t in (0.0, 0.5)
    },
    combine=lambda config, members: Measured(
        Result(
            "Both",
            to_dict(config),
            notes=[f"{name} {m.arrays['right'].mean():.3f}" for name, m in members.items()],
        )
    ),
)


@pytest.fixture
def sixth(monkeypatch):
    """The kind, entered in the registry and among the configurations: nothing else."""
    monkeypatch.setitem(registry.EXPERIMENTS, BrightnessConfig, BRIGHTNESS)
    monkeypatch.setitem(registry.COMPARISONS, BrightnessComparisonConfig, BRIGHTNESS_COMPARISON)
    for kind in (BrightnessConfig, BrightnessComparisonConfig):
        monkeypatch.setitem(KINDS, kind.__name__, kind)


@pytest.mark.usefixtures("sixth")
def test_a_sixth_kind_needs_its_functions_and_an_entry_no_more(tmp_path):
    config = BrightnessConfig(
        train=dataclasses.replace(TINY.train, steps=90, eval_every=30, learning_rate=3e-3)
    )
    result = driver.run(config, tmp_path / "run", warn=pytest.fail)
    assert float(result.notes[0].split()[1]) > 0.65  # half the images are on either side
    assert "was picked by the accuracy of 40 validation images" in result.notes[1]
    stored = json.loads((tmp_path / "run" / "results.json").read_text())
    assert stored["config"]["kind"] == "BrightnessConfig"
    assert {"wall_seconds", "device"} <= stored["environment"].keys()
    again = driver.evaluate(config, config, tmp_path / "run", tmp_path / "again", warn=pytest.fail)
    assert again.notes == result.notes
    changed = dataclasses.replace(config, threshold=0.25)
    with pytest.raises(InputError, match="threshold: 0.0 -> 0.25"):
        driver.evaluate(config, changed, tmp_path / "run", tmp_path / "no", warn=pytest.fail)
    assert not (tmp_path / "no").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("sixth")
def test_a_comparison_of_it_is_resumed_run_by_run(tmp_path, monkeypatch):
    config = BrightnessComparisonConfig()
    result = driver.run(config, tmp_path, warn=pytest.fail)
    assert [note.split()[0] for note in result.notes] == ["above0.0", "above0.5"]
    assert result.environment["seconds_per_run"].keys() == {"above0.0", "above0.5"}
    # A run whose results are gone is measured again, and not trained again.
    (tmp_path / "above0.5" / "results.json").unlink()
    trained = []
    fit = training.loop.fit
    monkeypatch.setattr(
        training.loop, "fit", lambda **options: trained.append(options["folder"]) or fit(**options)
    )
    before = (tmp_path / "above0.5" / "metrics.jsonl").read_text()
    assert driver.run(config, tmp_path, warn=pytest.fail).notes == result.notes
    assert trained == [tmp_path / "above0.5"]
    assert (tmp_path / "above0.5" / "metrics.jsonl").read_text() == before


def test_runs_of_equal_data_share_them():
    setups = driver.prepare_all(dataclasses.replace(TINY_COMPARISON, num_seeds=2))
    assert len(setups) == 4
    assert len({id(setup.dataset) for setup in setups.values()}) == 2
    assert len({setup.design for setup in setups.values()}) == 2


def test_what_is_no_experiment_is_refused():
    with pytest.raises(TypeError, match=r"`config` must be one of .*PositionConfig.*; got dict"):
        driver.prepare_all({})
    assert registry.comparison(PositionConfig()) is None
