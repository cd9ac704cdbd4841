"""A folder belongs to one command and one subject; one process writes to it at a time."""

import contextlib
import dataclasses
import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from gpool_jax.config import plain
from gpool_jax.errors import InputError
from gpool_jax.experiments import driver, saved, workdir
from gpool_jax.experiments.experiment import Measured
from gpool_jax.experiments.position import training as position
from gpool_jax.report import Result, read_result
from tests.helpers import tiny, tiny_arms

HOLDER = """
import sys
from pathlib import Path
from gpool_jax.experiments import workdir
with workdir.hold(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def held_by_another(folder):
    words = [sys.executable, "-c", HOLDER, str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, text=True, **pipes) as child:
        assert child.stdout.readline() == "held\n"
        yield child
        child.kill()


def test_one_process_writes_at_a_time_and_death_lets_go(tmp_path):
    with held_by_another(tmp_path) as child:
        message = rf"process {child.pid} on \S+ is writing to .*; wait for its end"
        with pytest.raises(InputError, match=message), workdir.hold(tmp_path):
            pytest.fail("held twice")
        child.kill()
        child.wait()
        with workdir.hold(tmp_path), workdir.hold(tmp_path):
            pass
    assert workdir._held == set()


def test_a_training_does_not_begin_in_a_folder_that_another_trains_in(tmp_path):
    folder = tmp_path / "run"
    with held_by_another(folder), pytest.raises(InputError, match="is writing to"):
        driver.train(position.prepare(tiny()), folder, warn=pytest.fail)
    assert [path.name for path in folder.iterdir()] == [".lock"]


def put_run(folder, config, data="1 images, aa"):
    workdir.open_run(folder, config, {"train": data}, warn=pytest.fail)
    (folder / "checkpoints" / "1").mkdir(parents=True)
    return folder


def put_results(folder, owner):
    driver.write(Measured(Result("tiny", {})), driver.Output(folder, owner, pytest.fail))


@pytest.fixture
def runs(tmp_path):
    return put_run(tmp_path / "a", tiny()), put_run(tmp_path / "b", tiny(seed=1))


def test_results_are_replaced_by_the_same_command_on_the_same_run_only(tmp_path, runs):
    a, b = runs
    out = tmp_path / "out"
    put_results(out, workdir.own(a, "rank"))
    for _ in range(2):
        workdir.check_owner(out, workdir.own(a, "rank"))
    message = r"out holds results of gpool rank on the run .*a; use another folder for gpool "
    for other in (workdir.own(b, "rank"), workdir.own(a, "attack")):
        with pytest.raises(InputError, match=message + other.command):
            workdir.check_owner(out, other)
    with pytest.raises(InputError, match="holds results of gpool rank on .*for the training"):
        workdir.check_run(out, tiny())
    for run in runs:
        with pytest.raises(InputError, match="is the folder of a training run; gpool evaluate"):
            workdir.check_owner(run, workdir.own(a, "evaluate"))


def test_a_run_is_the_same_wherever_it_lies_and_however_it_is_measured(tmp_path, runs):
    a, b = runs
    moved = a.rename(tmp_path / "moved")
    known = workdir.own(moved, "rank").digest
    assert workdir.own(b, "rank").digest != known
    measured = tiny(eval={"num_images": 3}, data={"cache_dir": "elsewhere"})
    assert workdir.own(put_run(tmp_path / "c", measured)).digest == known
    assert workdir.own(put_run(tmp_path / "d", tiny(), "1 images, bb")).digest != known
    assert workdir.own(put_run(tmp_path / "e", tiny_arms())).digest != known


def test_weights_are_known_by_their_content(tmp_path):
    path, copy = tmp_path / "a.pth", tmp_path / "b.pth"
    path.write_bytes(b"x")
    copy.write_bytes(b"x")
    digest = workdir.own_weights(path, "resnet18", "rank").digest
    assert workdir.own_weights(copy, "resnet18", "rank").digest == digest
    copy.write_bytes(b"y")
    assert workdir.own_weights(copy, "resnet18", "rank").digest != digest


@pytest.mark.parametrize("name", ["lr[0.1]", "what?", "a*", "back\\slash"])
def test_a_path_that_orbax_takes_for_a_pattern_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="checkpoints cannot be read again"):
        workdir.check_writable(tmp_path / name / "run")
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["results.json", "report.html", "per_image.npz"])
def test_a_folder_where_a_result_goes_is_found_before_any_work(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=f"{name} is a folder; a file is needed there"):
        workdir.check_run(tmp_path, tiny())


def test_a_run_that_lost_its_fingerprint_goes_on_with_a_warning(tmp_path, runs):
    (runs[0] / "data.json").unlink()
    warnings = []
    workdir.open_run(runs[0], tiny(), {"train": "2 images, cc"}, warn=warnings.append)
    assert "data.json is missing" in warnings[0]


@pytest.mark.parametrize("content", ["", "[1]", "5", "{", "[" * 100_000])
def test_a_damaged_config_or_fingerprint_is_one_line(runs, content):
    for name, read in (("config.json", workdir.read_config), ("data.json", workdir.read_data)):
        (runs[0] / name).write_text(content)
        with pytest.raises(InputError, match=rf"{name} (cannot be read|holds no JSON object)"):
            read(runs[0])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    setup = position.prepare(tiny(train={"steps": 2, "eval_every": 2, "num_val": 8}))
    driver.train(setup, folder, warn=pytest.fail)
    return setup, folder


def load(setup, folder):
    warnings = []
    setup, snapshots = driver.load(setup, folder, warnings.append)
    return setup, snapshots, warnings


def test_an_undisturbed_run_is_loaded_without_a_word(trained):
    setup, snapshots, warnings = load(*trained)
    assert warnings == []
    assert snapshots.notes[-1].startswith("Images are normalised with the mean 0.3")
    assert setup.dataset == trained[0].dataset


def test_the_normalisation_is_that_of_the_training_on_whatever_data(trained):
    setup, folder = trained
    images = np.full_like(setup.dataset.test.images, 7)
    test = dataclasses.replace(setup.dataset.test, images=images)
    data = dataclasses.replace(setup.dataset, test=test, mean=(0.9,), std=(0.01,))
    found, snapshots, (warning,) = load(dataclasses.replace(setup, dataset=data), folder)
    assert (found.dataset.mean, found.dataset.std) == (setup.dataset.mean, setup.dataset.std)
    assert found.constants["mean"] == np.float32(setup.dataset.mean)
    assert warning.startswith("The data are not those of the training: test: ")
    assert warning in snapshots.notes


@pytest.fixture
def copied(trained, tmp_path):
    setup, folder = trained
    return setup, shutil.copytree(folder, tmp_path / "run")


def test_a_config_that_was_changed_afterwards_is_warned_of_and_noted(copied):
    setup, folder = copied
    changed = dataclasses.replace(
        setup.config,
        model=dataclasses.replace(setup.config.model, padding="circular"),
        eval=dataclasses.replace(setup.config.eval, num_images=2),
        rank=dataclasses.replace(setup.config.rank, grid=9),
        data=dataclasses.replace(setup.config.data, cache_dir="elsewhere"),
    )
    (folder / "config.json").write_text(json.dumps(plain.to_dict(changed)))
    _, snapshots, (warning,) = load(dataclasses.replace(setup, config=changed), folder)
    assert warning.endswith(
        "config.json is not that of the training: eval.num_images: 24 -> 2; "
        "model.padding: 'zeros' -> 'circular'; rank.grid: 4 -> 9."
    )
    assert warning in snapshots.notes


def test_measuring_with_other_settings_is_no_change_of_the_config(copied):
    setup, folder = copied
    other = dataclasses.replace(setup.config.eval, num_images=2)
    setup = dataclasses.replace(setup, config=dataclasses.replace(setup.config, eval=other))
    assert load(setup, folder)[2] == []


def test_a_field_that_a_run_is_older_than_is_no_change_of_its_config(copied, monkeypatch):
    setup, folder = copied
    describe = saved.Checkpoints.describe

    def older(self, step):
        about = describe(self, step)
        del about["origin"]["config"]["rank"]["grid"]
        return about

    monkeypatch.setattr(saved.Checkpoints, "describe", older)
    assert load(setup, folder)[2] == []


@pytest.mark.parametrize("harm", ["deleted", "emptied", "cut", "changed"])
def test_a_log_that_is_not_as_it_was_written_is_warned_of_and_noted(copied, harm):
    setup, folder = copied
    path = folder / "metrics.jsonl"
    text = path.read_text()
    if harm == "deleted":
        path.unlink()
    else:
        damaged = {"emptied": "", "cut": text[:-20], "changed": text.replace("0.", "1.", 1)}
        path.write_text(damaged[harm])
    for _ in range(2):
        _, snapshots, warnings = load(setup, folder)
        assert warnings[-1].endswith("metrics.jsonl is not as it was written: curves may be wrong.")
        assert warnings[-1] in snapshots.notes
        # Going on does not make the log whole again.
        driver.train(setup, folder, warn=lambda line: None)


def test_a_run_whose_checkpoints_know_no_log_is_not_warned_of(copied, monkeypatch):
    setup, folder = copied
    describe = saved.Checkpoints.describe
    without = {"log": None}
    monkeypatch.setattr(saved.Checkpoints, "describe", lambda s, n: describe(s, n) | without)
    (folder / "metrics.jsonl").unlink()
    assert load(setup, folder)[2] == []


DAMAGED = ["null", "[]", "5", "{", '{"rows": [5]}', '{"rows": 5}', "{}", "[" * 100_000]
WHOLE = {"title": "", "config": {}}
DAMAGED += [json.dumps(WHOLE | change) for change in ({"environment": 5}, {"config": None})]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_result_is_one_that_is_not_there(tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(ValueError, match=r"."):
        read_result(tmp_path)
    owner = workdir.Owner("rank", "a run", "1")
    workdir.check_owner(tmp_path, owner)
    result = Result("tiny", plain.to_dict(tiny()))
    driver.write(Measured(result), driver.Output(tmp_path, owner, pytest.fail))
    assert read_result(tmp_path).title == "tiny"


def test_any_changed_byte_of_an_archive_is_found_without_an_error(tmp_path):
    path = tmp_path / "per_image.npz"
    np.savez_compressed(path, scores=np.arange(20.0))
    whole = path.read_bytes()
    assert driver._is_archive(path)
    found = 0
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 0x55
        path.write_bytes(changed)
        found += not driver._is_archive(path)
    assert found > len(whole) / 2  # not those that say when it was packed


def test_weights_that_are_not_finite_are_refused_by_name(trained, monkeypatch):
    setup, folder = trained
    variables = saved.evaluated_variables

    def broken(state, decay):
        found = variables(state, decay)
        head = jax.tree.map(lambda leaf: np.full(leaf.shape, np.nan), found["params"]["head"])
        return {**found, "params": {**found["params"], "head": head}}

    monkeypatch.setattr(saved, "evaluated_variables", broken)
    with pytest.raises(InputError, match=r"params/head/\S+ of the checkpoint .* 2 is not finite"):
        load(setup, folder)


def test_results_hold_null_where_there_is_no_number(tmp_path):
    maps = {"per_cell_of": "x", "per_cell": [[np.nan, 1.0]]}
    result = Result("tiny", plain.to_dict(tiny()), maps=maps)
    owner = workdir.Owner("rank", "a run", "1")
    driver.write(Measured(result), driver.Output(tmp_path, owner, pytest.fail))

    def refuse(name):
        raise AssertionError(name)

    values = json.loads((tmp_path / "results.json").read_text(), parse_constant=refuse)
    assert values["maps"]["per_cell"] == [[None, 1.0]]
    assert np.isnan(read_result(tmp_path).maps["per_cell"][0][0])
