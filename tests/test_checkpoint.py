"""Checkpoints: saved whole, checked before one is chosen, never half deleted."""

import json
import resource
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from gpool_jax.errors import InputError, RunError
from gpool_jax.train import checkpoint_sums
from gpool_jax.train.checkpoint import Checkpoints

ABSTRACT = {"x": np.zeros(3, np.float32)}


def save(checkpoints, step, *score):
    checkpoints.save(step, {"x": np.full(3, step, np.float32)}, score or None)


@pytest.fixture
def run(tmp_path):
    """Checkpoints of steps 2 (the best), 4 and 5."""
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step, accuracy in ((1, 0.5), (2, 0.9), (3, 0.6), (4, 0.7), (5, 0.8)):
        save(checkpoints, step, accuracy, -1.0)
    assert checkpoints.steps == [2, 4, 5]
    return checkpoints


def best(checkpoints):
    """Step, notes and warnings of what is called best."""
    warnings = []
    step, state, notes = checkpoints.load_best(ABSTRACT, warnings.append)
    assert float(state["x"][0]) == step
    return step, notes, warnings


def newest(checkpoints):
    warnings = []
    step, state = checkpoints.load_latest(ABSTRACT, warnings.append)
    assert float(state["x"][0]) == step
    return step, warnings


def test_latest_best_and_milestones_are_kept_across_a_restart(tmp_path):
    first = Checkpoints(tmp_path / "c", keep=2, milestones=(2,))
    for step, accuracy in ((1, 0.9), (2, 0.1), (3, 0.9), (4, 0.3)):
        save(first, step, accuracy)
    second = Checkpoints(tmp_path / "c", keep=2, milestones=(2,))
    save(second, 5, 0.4)
    save(second, 6)  # between validations: never the best
    assert second.steps == [1, 2, 5, 6]
    assert best(second) == (1, [], [])
    assert newest(second) == (6, [])
    save(second, 7, 0.9)  # of equals the earliest stays the best
    assert best(second) == (1, [], [])


def test_of_equals_the_one_of_the_lower_loss_is_the_best(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c", keep=1)
    for step, loss in ((1, 0.5), (2, 0.3), (3, 0.3), (4, 0.4)):
        save(checkpoints, step, 1.0, -loss)
    assert best(checkpoints) == (2, [], [])
    assert checkpoints.steps == [2, 4]


def delete(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def put_a_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("harm", [delete, empty, flip, put_a_folder])
def test_damage_of_any_file_of_the_best_is_warned_of_and_noted(run, harm):
    folder = run.directory / "2"
    whole = run.directory.parent / "whole"
    shutil.copytree(folder, whole)
    paths = [p.relative_to(folder) for p in folder.rglob("*") if p.is_file() and p.stat().st_size]
    assert len(paths) > 5
    for path in paths:
        harm(folder / path)
        step, notes, warnings = best(run)
        assert step == 5
        assert f"its file {path} is missing, cut short or changed" in warnings[0]
        assert notes == [
            f"The checkpoint of step 2 cannot be used (its file {path} is missing, cut short or "
            "changed): another one may be called best in its place."
        ]
        assert newest(run)[0] == 5  # which moves the damaged one aside
        assert (run.directory.parent / "checkpoints_damaged" / "2").is_dir()
        shutil.copytree(whole, folder)
        assert best(run) == (2, [], [])


def test_a_best_checkpoint_that_is_gone_is_noted_and_a_lesser_one_only_warned_of(run):
    shutil.rmtree(run.directory / "4")
    step, notes, warnings = best(run)
    assert (step, notes) == (2, [])
    assert warnings == [
        f"checkpoint {run.directory}/4 cannot be read: it is missing; trying another."
    ]
    shutil.rmtree(run.directory / "2")
    step, notes, warnings = best(run)
    assert step == 5
    assert len(warnings) == 2
    assert "step 2 cannot be used (it is missing)" in notes[0]


@pytest.mark.parametrize("content", [None, "", "null", "[]", "5", "{"])
def test_checksums_that_are_gone_are_warned_of(run, content):
    record = run.directory.parent / "checkpoint_sums" / "2.json"
    record.unlink() if content is None else record.write_text(content)
    step, notes, (warning,) = best(run)
    assert (step, notes) == (2, [])
    assert "checkpoints 2 in" in warning
    assert "have no checksums" in warning
    shutil.rmtree(record.parent)
    assert "checkpoints 2, 4, 5 in" in best(run)[2][0]


def test_a_kill_between_a_checkpoint_and_its_sums_is_no_damage(run, monkeypatch):
    def dying(path, folder, score):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint_sums, "write", dying)
    with pytest.raises(KeyboardInterrupt):
        save(run, 6, 0.95, -1.0)
    monkeypatch.undo()
    assert best(run) == (6, [], [])
    assert newest(run) == (6, [])
    # And a kill before it was committed leaves nothing to miss.
    shutil.rmtree(run.directory / "6")
    assert best(run) == (2, [], [])


def test_what_a_kill_left_half_deleted_is_cleared_away_without_a_word(run):
    half = run.directory / "3"
    shutil.copytree(run.directory / "2", half)
    (half / "_CHECKPOINT_METADATA").unlink()
    (run.directory / "6.orbax-checkpoint-tmp").mkdir()
    (run.directory / ".deleted-1").mkdir()
    sums = run.directory.parent / "checkpoint_sums"
    shutil.copy(sums / "2.json", sums / "3.json")
    record = json.loads((sums / "3.json").read_text())
    (sums / "3.json").write_text(json.dumps(record | {"score": [0.1, -1.0]}))
    assert best(run) == (2, [], [])
    assert newest(run) == (5, [])
    assert sorted(path.name for path in run.directory.iterdir()) == ["2", "4", "5"]


def test_sums_of_what_was_never_saved_are_cleared_away(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c")
    folder = tmp_path / "checkpoint_sums"
    for steps in ([], [2]):  # killed before there was any checkpoint, and later
        for step in steps:
            save(checkpoints, step, 0.5)
        checkpoint_sums.begin(folder / "4.json", None)
        (folder / ".4.json.0123abcd.tmp").write_text("")
        assert checkpoints.load_latest(ABSTRACT, pytest.fail) is None or steps
        assert [path.name for path in folder.iterdir()] == [f"{step}.json" for step in steps]


def test_a_reader_looks_again_once_when_the_training_rotates_one_away(run, monkeypatch):
    load = Checkpoints.load

    def rotating(self, step, abstract):
        if step == 2:
            save(run, 6, 0.99, -1.0)
        return load(self, step, abstract)

    monkeypatch.setattr(Checkpoints, "load", rotating)
    assert best(run) == (6, [], [])


ROTATED = """
import gc, sys
from pathlib import Path
import numpy as np
from gpool_jax.errors import InputError
from gpool_jax.train import checkpoint_sums
from gpool_jax.train.checkpoint import Checkpoints

checkpoints = Checkpoints(Path(sys.argv[1]))
state = {f"x{i}": np.zeros(3, np.float32) for i in range(20)}
checkpoints.save(1, state, None)
checkpoint_sums.problem = lambda folder, record: ""
for path in Path(sys.argv[1]).rglob("d/*"):
    path.unlink()
try:
    checkpoints.load(1, state)
except InputError:
    gc.collect()
    print("one error")
"""


def test_a_checkpoint_that_goes_while_it_is_read_is_one_error(tmp_path):
    """And none of Orbax's on stderr, for every array that it had begun to read."""
    words = [sys.executable, "-c", ROTATED, str(tmp_path / "c")]
    child = subprocess.run(words, capture_output=True, text=True, check=True)
    assert (child.stdout, child.stderr) == ("one error\n", "")


def test_when_none_can_be_read_it_is_said_with_the_reason_and_nothing_is_moved(run):
    for step in run.steps:
        delete(run.directory / str(step) / "_CHECKPOINT_METADATA")
    message = r"none of the checkpoints in .* can be read: \[2, 4, 5\] \(2: its file _CHECK"
    for load in (run.load_latest, run.load_best):
        with pytest.raises(InputError, match=message):
            load(ABSTRACT, lambda line: None)
    assert run.steps == [2, 4, 5]


def test_a_checkpoint_of_another_width_is_named(run):
    with pytest.raises(InputError, match=r"'x'.*is \(3,\), not \(8,\)"):
        run.load(2, {"x": jax.ShapeDtypeStruct((8,), np.float32)})


def test_it_knows_its_feed_and_its_origin(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c", origin={"mean": [0.5]})
    checkpoints.save(1, ABSTRACT, None, feed={"next": 3})
    described = checkpoints.describe(1)
    assert (described["feed"], described["origin"]) == ({"next": 3}, {"mean": [0.5]})


def test_scores_of_earlier_versions_are_read(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c")
    for step, score in ((1, 0.5), (2, 0.9), (3, -1.0)):  # -1: between validations
        save(checkpoints, step)
        folder = checkpoints.directory / str(step)
        about = json.loads((folder / "_CHECKPOINT_METADATA").read_text())
        about["custom_metadata"] = {}
        (folder / "_CHECKPOINT_METADATA").write_text(json.dumps(about))
        (folder / "metrics").mkdir()
        (folder / "metrics" / "metrics").write_text(json.dumps({"accuracy": score, "step": step}))
        (tmp_path / "checkpoint_sums" / f"{step}.json").write_text("{}")
    shutil.rmtree(tmp_path / "checkpoint_sums")
    assert best(checkpoints)[0] == 2


def test_what_was_committed_but_cannot_be_opened_is_no_checkpoint(tmp_path):
    """Orbax takes brackets in its own path for a pattern, and loses the manifest."""
    checkpoints = Checkpoints(tmp_path / "lr[0.1]" / "c")
    with pytest.raises(RunError, match=r"step 1 could not be written .* last good .* is none"):
        save(checkpoints, 1, 0.5)


def test_a_disk_that_is_really_full_is_one_line_and_orbax_is_silent(tmp_path, capfd):
    checkpoints = Checkpoints(tmp_path / "c")
    big = {"x": np.random.default_rng(0).random(200_000), "y": np.ones(3)}
    checkpoints.save(1, big, None)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        with pytest.raises(RunError, match="step 2 could not .*last good checkpoint is step 1"):
            checkpoints.save(2, big, None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert capfd.readouterr() == ("", "")
    checkpoints.save(2, big, None)
    assert checkpoints.steps == [1, 2]


def test_a_full_disk_is_one_line_and_the_last_good_one_is_named(run, monkeypatch):
    from orbax.checkpoint import v1 as ocp

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ocp, "save", full)
    message = r"^the checkpoint of step 6 could not .*No space left.*last good checkpoint is step 5"
    with pytest.raises(RunError, match=message):
        save(run, 6, 0.1, -1.0)
    monkeypatch.undo()
    assert best(run) == (2, [], [])
