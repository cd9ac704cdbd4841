"""Stop anywhere, by any means: the same command ends with the same bits."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import chex
import jax
import numpy as np
import pytest

from gpool_jax.config import TrainConfig
from gpool_jax.data import resident
from gpool_jax.errors import InputError, RunError
from gpool_jax.experiments import driver
from gpool_jax.experiments.position import training as position
from gpool_jax.train import loop
from gpool_jax.train.checkpoint import Checkpoints
from gpool_jax.train.events import Events, read_events
from tests.helpers import tiny


def train(folder, **sections):
    warnings: list[str] = []
    state = driver.train(position.prepare(tiny(**sections)), folder, warn=warnings.append)
    return state, warnings


def bits(state) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of six steps that nothing disturbed."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    state, warnings = train(folder)
    assert warnings == []
    return folder, state


def test_a_run_leaves_what_it_promises(finished):
    folder, state = finished
    assert int(state.step) == 6
    events = read_events(folder)
    trained = [e for e in events if "loss" in e]
    assert [e["step"] for e in trained] == [2, 3, 4, 6]
    wanted = {"accuracy", "gradient_norm", "parameter_norm", "update_norm", "images_per_second"}
    assert all(wanted <= set(e) for e in trained)
    assert [e["step"] for e in events if "val_accuracy" in e] == [3, 6]
    assert json.loads((folder / "config.json").read_text())["kind"] == "PositionConfig"


def test_the_metrics_are_those_of_the_parameters(finished):
    folder, state = finished
    norm = np.sqrt(sum(float((np.asarray(p) ** 2).sum()) for p in jax.tree.leaves(state.params)))
    last = [e for e in read_events(folder) if "loss" in e][-1]
    # The mean over steps 5 and 6: parameters move little in a step.
    assert abs(last["parameter_norm"] - norm) < 0.02 * norm


def test_the_same_command_again_trains_no_further(finished):
    folder, state = finished
    again, _ = train(folder)
    assert bits(again) == bits(state)


# The child kills itself, hard, at the worst moments; the parent runs the command again.
CHILD = """
import os, signal, sys
from pathlib import Path
import jax
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_compilation_cache_dir", {cache!r})
from gpool_jax.data import resident
from gpool_jax.experiments import driver
from gpool_jax.experiments.position import training as position
from gpool_jax.train import checkpoint
from tests.helpers import tiny

setup = position.prepare(tiny())
moment, number = sys.argv[2], int(sys.argv[3])
original = setup.dataset
if moment == "step":
    inputs_at = resident.inputs_at
    def dying(step, count, **kwargs):
        if step == 4:
            os.kill(os.getpid(), number)
        return inputs_at(step, count, **kwargs)
    resident.inputs_at = dying
if moment == "save":
    save = checkpoint.Checkpoints.save
    def dying_save(self, step, state, accuracy, **kwargs):
        if step == 6:
            os.kill(os.getpid(), number)
        save(self, step, state, accuracy, **kwargs)
    checkpoint.Checkpoints.save = dying_save
if moment == "sums":
    write = checkpoint.sums.write
    def dying_write(path, folder, score):
        if folder.name == "6":
            os.kill(os.getpid(), number)
        write(path, folder, score)
    checkpoint.sums.write = dying_write
driver.train(setup, Path(sys.argv[1]))
"""


def run_child(folder: Path, moment: str, number: int) -> subprocess.CompletedProcess:
    code = CHILD.format(cache=jax.config.jax_compilation_cache_dir)
    arguments = [sys.executable, "-c", code, str(folder), moment, str(int(number))]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize(
    "moment", [pytest.param(m, marks=pytest.mark.slow) for m in ("step", "sums", "save")]
)
def test_killed_hard_and_run_again_ends_with_the_same_bits(tmp_path, finished, moment):
    folder = tmp_path / "run"
    child = run_child(folder, moment, signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL, child.stderr
    saved = [3, 6] if moment == "sums" else [3]
    assert Checkpoints(folder / "checkpoints").steps == saved
    state, warnings = train(folder)
    assert warnings == []
    assert bits(state) == bits(finished[1])
    steps = [e["step"] for e in read_events(folder) if "loss" in e]
    assert steps == sorted(set(steps))


@pytest.mark.slow
def test_sigterm_through_the_command_line_saves_first_and_the_command_goes_on(tmp_path):
    (tmp_path / "config.py").write_text(
        "from tests.helpers import tiny\n"
        "config = tiny(train={'steps': 3000, 'eval_every': 3000, 'num_val': 8})\n"
    )
    folder = tmp_path / "run"
    words = [sys.executable, "-m", "gpool_jax", "train", str(tmp_path / "config.py")]
    words += ["--workdir", str(folder)]
    child = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(read_events(folder)) < 3:
        time.sleep(0.1)
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 128 + signal.SIGTERM, errors
    (step,) = Checkpoints(folder / "checkpoints").steps
    assert f"gpool: stopped by SIGTERM at step {step}; the checkpoint is saved" in errors
    assert "Traceback" not in errors


def test_stopped_between_validations_and_run_again_ends_with_the_same_bits(
    tmp_path, finished, monkeypatch
):
    folder = tmp_path / "run"
    original = resident.inputs_at

    def stopping(step, count, **kwargs):
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(step, count, **kwargs)

    monkeypatch.setattr(resident, "inputs_at", stopping)
    with pytest.raises(loop.Stopped, match="stopped by SIGTERM at step 5"):
        train(folder)
    monkeypatch.undo()
    assert 5 in Checkpoints(folder / "checkpoints").steps
    state, _ = train(folder)
    assert bits(state) == bits(finished[1])


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with loop.note_signals() as received:
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(100):
            if received:
                break
            time.sleep(0.01)
        assert received == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before


def truncate(folder: Path, step: int) -> None:
    """Cut every array file of a checkpoint, as a full disk or a bad copy would."""
    cut = 0
    for path in (folder / "checkpoints" / str(step)).rglob("*"):
        if path.is_file() and path.stat().st_size > 200 and "metadata" not in path.name.lower():
            path.write_bytes(path.read_bytes()[:20])
            cut += 1
    assert cut


def test_a_truncated_checkpoint_is_named_and_the_one_before_is_used(tmp_path, finished):
    folder = tmp_path / "run"
    train(folder)
    truncate(folder, 6)
    state, warnings = train(folder)
    assert len(warnings) == 1
    assert "checkpoints/6 cannot be read" in warnings[0]
    assert "is missing, cut short or changed" in warnings[0]
    assert bits(state) == bits(finished[1])
    # And step 6 was written again, whole.
    state, warnings = train(folder)
    assert warnings == []
    assert bits(state) == bits(finished[1])


def test_when_no_checkpoint_can_be_read_the_run_stops(tmp_path):
    folder = tmp_path / "run"
    train(folder)
    for step in (3, 6):
        truncate(folder, step)
    with pytest.raises(InputError, match=r"none of the checkpoints in .* can be read: \[3, 6\]"):
        train(folder)


def test_a_failing_write_stops_the_run_and_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    save = Checkpoints._load_smallest

    def full_disk(self, step, host):
        if step == 6:
            raise OSError(28, "No space left on device")
        save(self, step, host)

    monkeypatch.setattr(Checkpoints, "_load_smallest", full_disk)
    with pytest.raises(RunError, match=r"step 6 could not be .*No space.*last good .* is step 3"):
        train(folder)
    monkeypatch.undo()
    assert Checkpoints(folder / "checkpoints").steps == [3]
    state, _ = train(folder)
    assert int(state.step) == 6


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    message = r"step \d is not finite \(.*norm.*last good checkpoint is none.*`train.learning_rate`"
    with pytest.raises(RunError, match=message):
        train(tmp_path / "run", train={"learning_rate": 1e30})
    assert Checkpoints(tmp_path / "run" / "checkpoints").steps == []


def test_the_first_bad_step_and_what_is_bad_in_it_are_named(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c")
    per_step = {"loss": np.array([1.0, 2.0, np.nan]), "gradient_norm": np.array([1.0, np.inf, 1.0])}
    with pytest.raises(RunError, match=r"^step 8 is not finite \(gradient_norm inf\)"):
        loop._check_finite(per_step, 9, checkpoints)
    loop._check_finite({"loss": np.array([1.0])}, 9, checkpoints)


def test_a_batch_that_counts_nothing_is_left_out_of_the_logged_mean(tmp_path):
    saved_scores = []
    checkpoints = SimpleNamespace(
        steps=[], save=lambda step, state, score, feed, log: saved_scores.append(score)
    )
    config = TrainConfig(steps=6, log_every=2)
    log = loop._Log(tmp_path, config, 0, "train", checkpoints, "miou", pytest.fail)

    def add(step, loss, number):
        pairs = {n: (np.array([loss]), np.array([number])) for n in ("loss", "accuracy")}
        log.add(step, 1, pairs | {"gradient_norm": np.array([1.0])}, flush=False)

    for step, (loss, number) in enumerate([(0.0, 0.0), (6.0, 3.0), (0.0, 0.0), (0.0, 0.0)], 1):
        add(step, loss, number)
    log.save(4, None, None, {})
    log.close(failed=False)
    first, second = read_events(tmp_path)
    assert (first["loss"], first["accuracy"]) == (2.0, 2.0)
    assert "loss" not in second
    assert second["gradient_norm"] == 1.0
    assert saved_scores == [None]
    for loss, number in ((np.nan, 0.0), (np.nan, 3.0)):
        with pytest.raises(RunError, match="step 5 is not finite .*loss nan"):
            add(5, loss, number) or add(6, 1.0, 1.0)


def test_a_folder_of_other_data_is_refused(finished):
    folder, _ = finished
    setup = position.prepare(tiny())
    images = setup.dataset.test.images.copy()
    images[0, 0, 0] ^= 1
    test = dataclasses.replace(setup.dataset.test, images=images)
    other = dataclasses.replace(setup, dataset=dataclasses.replace(setup.dataset, test=test))
    with pytest.raises(InputError, match=r"was trained on other data \(test: .359 images, "):
        driver.train(other, folder)


def test_a_folder_of_another_config_is_refused_with_the_fields(finished):
    folder, _ = finished
    before = (folder / "config.json").read_text()
    with pytest.raises(InputError) as error:
        train(folder, seed=3, train={"learning_rate": 0.5})
    assert "seed: 0 -> 3" in str(error.value)
    assert "train.learning_rate: 0.001 -> 0.5" in str(error.value)
    assert (folder / "config.json").read_text() == before


def test_a_folder_that_saved_nothing_blocks_no_corrected_command(tmp_path):
    with pytest.raises(RunError):
        train(tmp_path / "run", train={"learning_rate": 1e30})
    state, _ = train(tmp_path / "run")
    assert int(state.step) == 6


def test_a_resumed_log_has_no_step_twice(tmp_path):
    events = Events(tmp_path)
    for step in (2, 4, 6):
        events.write(step, {"loss": 1.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')  # killed in mid-line
    Events(tmp_path, first_step=4).write(6, {"loss": 2.0})
    found = [(e["step"], e["loss"]) for e in read_events(tmp_path)]
    assert found == [(2, 1.0), (4, 1.0), (6, 2.0)]


def test_chunks_stop_where_the_run_is_validated():
    config = dataclasses.replace(tiny().train, steps=10, eval_every=4, milestones=(5,))
    assert loop.stops(config) == [4, 5, 8, 10]


@pytest.mark.slow
def test_many_steps_per_dispatch_end_with_the_same_parameters(tmp_path):
    # Under Adam a bias before BatchNorm follows the rounding.
    sgd = {"optimizer": "sgd", "learning_rate": 0.05}
    singly, _ = train(tmp_path / "singly", train=sgd)
    together, _ = train(tmp_path / "together", train=sgd | {"steps_per_dispatch": 2})
    chex.assert_trees_all_close(singly.params, together.params, atol=1e-3)
    start = position.prepare(tiny()).init_state().params
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), start, singly.params)
    assert max(jax.tree.leaves(moved)) > 0.05
