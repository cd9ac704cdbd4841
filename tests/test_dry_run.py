"""`--dry-run`: counted sizes are the run's, the prediction follows from what was measured."""

import dataclasses
import re

import jax
import pytest

from gpool_jax.cli import main as cli
from gpool_jax.errors import InputError, RunError
from gpool_jax.experiments import dry_run, measure_cost, registry, training
from gpool_jax.experiments.position import training as position
from gpool_jax.report import estimate
from tests.helpers import tiny, tiny_arms

CONFIG = tiny(train={"steps": 40, "eval_every": 10, "milestones": (5, 20)})


@pytest.fixture(scope="module")
def found(optimised):
    """Of `CONFIG` on eight devices; how long compiling takes is part of what is measured."""
    return dry_run.run(CONFIG)


@pytest.mark.slow
def test_sizes_are_those_of_the_run(found):
    (e,) = found
    state = position.prepare(CONFIG).init_state()
    assert sum(e.parameters.values()) == sum(x.size for x in jax.tree.leaves(state.params))
    assert set(e.parameters) == {"backbone", "head"}
    # The state on every device: parameters, two moments of Adam, statistics, step and key.
    moments = 2 * sum(x.nbytes for x in jax.tree.leaves(state.params))
    assert moments < e.state_bytes < 2 * moments
    # uint8 pixels and int32 labels, once.
    assert e.data_bytes == 160 * (8 * 8 * 1 + 4)
    assert (e.num_images, e.image_shape, e.input_shape) == (160, (8, 8, 1), (24, 24, 1))
    assert (e.devices, e.batch_size, e.steps) == (8, 16, 40)
    # After 5, 10, 20, 30, 40: a milestone that is a regular stop counts once.
    assert e.num_validations == 5


@pytest.mark.slow
def test_operations_are_near_a_count_by_hand(found):
    (e,) = found
    # Four 3x3 convolutions of VGG-5 and the head's: side, channels in and out.
    layers = [(24, 1, 4), (12, 4, 8), (6, 8, 16), (3, 16, 32), (3, 32, 9)]
    # Taps on the padding are left out: one in each outer row and column.
    by_hand = sum(2 * (3 * side - 2) ** 2 * into * out for side, into, out in layers)
    assert by_hand < e.forward_flops < 1.3 * by_hand
    # A step is the forward pass and two products of its size for the gradients, but for
    # the first layer's, of 16 images; shares of one or two images cost some more.
    assert 2 * 16 * by_hand < e.step_flops < 5 * 16 * by_hand


@pytest.mark.slow
def test_the_prediction_follows_from_what_was_measured(found):
    (e,) = found
    median, least, most = e.step_seconds
    assert 0 < least <= median <= most
    assert e.compile_seconds > 10 * median
    given = dataclasses.replace(
        e,
        compile_seconds=10.0,
        steps=1000,
        step_seconds=(0.1, 0.05, 0.3),
        num_validations=4,
        validation_seconds=2.5,
        measuring_seconds=30.0,
        num_runs=3,
        name="arm",
    )
    assert given.seconds == pytest.approx(10 + 100 + 10 + 30)
    text = estimate.describe(given)
    assert text.startswith("arm\n")
    for words in (
        "measurements 30 s",
        "predicted   2 min 30 s, 3 times",
        "160 images/s",
        "100 epochs",
    ):
        assert words in text
    assert "All 4 runs together: 10 min" in estimate.describe_total(
        [given, dataclasses.replace(given, num_runs=1)]
    )


@pytest.mark.slow
def test_runs_that_differ_in_their_seed_are_measured_once():
    told, cached = [], []

    def note(e):
        told.append(e)
        cached.append(jax.config.values["jax_enable_compilation_cache"])

    found = dry_run.run(tiny_arms(), report=note)
    assert told == found
    assert [(e.name, e.num_runs) for e in found] == [("baseline", 2), ("augshift", 2)]
    # What was compiled before would not say how long compiling takes.
    assert cached == [False, False]
    assert all(e.measuring_seconds > 0 for e in found)
    assert jax.config.values["jax_enable_compilation_cache"]


def test_each_measurement_is_predicted_from_two_parts_of_the_test_images(monkeypatch):
    config = tiny(eval={"num_images": None}, probe={"num_images": 50})
    setup = position.prepare(config)
    whole = len(setup.dataset.test)
    assert whole > 100
    timed = []

    def take(part, state):
        # A second and a hundredth for each image; of a probe, two and a tenth.
        images, probed = len(part.dataset.test), part.config.probe.enabled
        timed.append((images, probed))
        return 1.0 + 0.01 * images + (2.0 + 0.1 * images if probed else 0.0)

    monkeypatch.setattr(measure_cost, "_time", take)
    found = measure_cost.predict_seconds(setup, None)
    assert timed == [(32, False), (96, False), (32, True), (96, True)]
    assert found == pytest.approx(1.0 + 0.01 * whole + 2.0 + 0.1 * 50)


def test_of_few_test_images_all_are_measured_once(monkeypatch):
    setup = measure_cost._with_images(position.prepare(tiny()), 20)
    timed = []
    monkeypatch.setattr(measure_cost, "_time", lambda part, state: timed.append(part) or 7.0)
    assert measure_cost.predict_seconds(setup, None) == 7.0
    assert [len(part.dataset.test) for part in timed] == [20]


@pytest.mark.slow
def test_what_is_timed_are_the_checkpoints_that_a_training_leaves(monkeypatch):
    setup = measure_cost._with_images(position.prepare(tiny(train={"milestones": (1,)})), 20)
    seen = []
    experiment = registry.experiment(setup.config)
    real = experiment.measure

    def measure(given, snapshots):
        seen.append([snapshot.name for snapshot in snapshots.entries])
        return real(given, snapshots)

    fake = dataclasses.replace(experiment, measure=measure)
    monkeypatch.setattr(registry, "experiment", lambda config: fake)
    assert measure_cost.predict_seconds(setup, setup.init_state()) > 0
    assert seen == [["step 1", f"step {setup.config.train.steps}", "best"]] * 2


@pytest.fixture
def config_file(tmp_path):
    """A file with `CONFIG`."""
    path = tmp_path / "config.py"
    path.write_text("from tests.test_dry_run import CONFIG as config\n")
    return path


def test_the_command_prints_it_and_keeps_nothing(config_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(measure_cost, "predict_seconds", lambda setup, state: 61.0)
    run = tmp_path / "run"
    code = cli.main(["train", str(config_file), "--dry-run", "--workdir", str(run)])
    out = capsys.readouterr().out
    assert code == 0
    names = ("data", "network", "operations", "devices", "memory", "steps", "measured", "predicted")
    assert re.findall(r"^(\w+) ", out, re.MULTILINE)[: len(names)] == list(names)
    assert "40 of 16 images: 640 images, 4 epochs; 5 validations" in out
    assert "measurements 61 s" in out
    assert {p.name for p in tmp_path.iterdir()} == {"config.py"}


def test_what_training_would_refuse_is_refused(config_file, capsys):
    words = ["train", str(config_file), "--dry-run", "--train.batch-size", "12"]
    assert cli.main(words) == 2
    assert "`train.batch_size` must be a multiple of the 8 devices" in capsys.readouterr().err
    # Of the measurements after the training, too.
    with pytest.raises(InputError, match="`probe.folds` must be at most the 2 probed images"):
        dry_run.run(tiny(probe={"num_images": 2}))


def test_a_step_that_does_not_fit_is_said_so(monkeypatch):
    def full(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating")

    monkeypatch.setattr(training, "make_step", full)
    with pytest.raises(RunError, match="a step of 16 images does not fit"):
        dry_run.run(CONFIG)
    monkeypatch.setattr(training, "make_step", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        dry_run.run(CONFIG)
