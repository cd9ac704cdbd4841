"""A comparison over networks, paddings and n, some of whose runs are asked for at a time."""

import dataclasses
import shutil

import pytest

from gpool_jax.config import ModelConfig, checks
from gpool_jax.errors import InputError
from gpool_jax.experiments import driver, training, workdir
from gpool_jax.experiments.position.comparison import members
from gpool_jax.report import read_result
from tests.helpers import TINY_COMPARISON

SMALL = dataclasses.replace(
    TINY_COMPARISON,
    heads=("gapnet",),
    ns=(2, 3),
    train=dataclasses.replace(TINY_COMPARISON.train, steps=2, eval_every=2, milestones=()),
    eval=dataclasses.replace(TINY_COMPARISON.eval, num_images=6, reference=True),
    probe=dataclasses.replace(TINY_COMPARISON.probe, enabled=False),
)


def test_what_varies_is_in_the_names_and_nothing_else():
    assert list(members(TINY_COMPARISON)) == ["location-linear-seed0", "location-permutenet-seed0"]
    table = dataclasses.replace(
        SMALL, networks=("vgg5", "resnet18"), paddings=("zeros", "circular"), num_seeds=2
    )
    runs = members(table)
    assert len(runs) == 2 * 2 * 2 * 2
    run = runs["location-gapnet-resnet18-circular-n3-seed1"]
    assert (run.model.name, run.model.padding, run.n, run.seed) == ("resnet18", "circular", 3, 1)
    assert len({dataclasses.astuple(run) for run in runs.values()}) == len(runs)


def test_some_runs_at_a_time_fill_one_table(tmp_path, monkeypatch):
    result = driver.run(dataclasses.replace(SMALL, only=("*n2*",)), tmp_path, warn=pytest.fail)
    assert [path.name for path in tmp_path.glob("location*")] == ["location-gapnet-n2-seed0"]
    assert result.notes[0] == "1 of 2 runs are finished."
    assert [note.startswith("Location: ") for note in result.notes[1:]] == [True]
    assert [len(line) for line in result.maps["table"]] == [4] * 4
    assert result.maps["table"][0] == ["task", "arm", "n = 2", "n = 3"]
    assert result.maps["table"][1] == ["location", "chance", "25.0", ""]
    assert [line[3] for line in result.maps["table"][2:]] == ["", ""]
    assert result.title.endswith(" digits")
    assert result.maps["per_cell_of"] == "GAPNet, location, n = 2"

    # What is finished is measured again, whatever was asked for last.
    again = dataclasses.replace(SMALL, eval=dataclasses.replace(SMALL.eval, num_images=5))
    found = driver.evaluate(SMALL, again, tmp_path, tmp_path / "evaluation", warn=pytest.fail)
    assert found.notes[0] == "1 of 2 runs are finished."
    assert {(row.arm.split(", ")[-1], row.num_images) for row in found.rows} == {("n = 2", 5)}
    shutil.rmtree(tmp_path / "evaluation")

    train = driver.train
    trained = []

    def counted(setup, folder, **options):
        trained.append(folder.name)
        return train(setup, folder, **options)

    monkeypatch.setattr(driver, "train", counted)
    result = driver.run(dataclasses.replace(SMALL, only=("*n3*",)), tmp_path, warn=pytest.fail)
    assert trained == ["location-gapnet-n3-seed0"]
    assert [note.startswith("Location: ") for note in result.notes] == [True]
    arms = [row.arm for row in result.rows if row.checkpoint == "best"]
    names = ("GAPNet", "GAPNet, tested as the reference")
    assert arms == [f"{name}, n = {n}" for n in (2, 3) for name in names]
    assert [row.chance for row in result.rows if row.arm == "GAPNet, n = 2"] == [1 / 4]
    table = read_result(tmp_path).maps["table"]
    assert [line[:2] for line in table[2:]] == [["location", name] for name in names]
    assert table[1] == ["location", "chance", "25.0", "11.1"]
    assert all(cell.endswith("; images only)") for line in table[2:] for cell in line[2:])
    assert workdir.read_config(tmp_path).only == ()
    assert "Accuracy by n" in (tmp_path / "report.html").read_text()

    monkeypatch.setattr(training, "train", lambda *a, **k: pytest.fail("trained again"))
    assert driver.run(SMALL, tmp_path, warn=pytest.fail).rows == result.rows


def test_patterns_that_fit_no_run_and_values_that_are_none_are_refused(tmp_path):
    wrong = dataclasses.replace(SMALL, only=("*n5*", "*vgg*"))
    with pytest.raises(InputError, match=r"`only`: '\*n5\*' fits none of the 2 runs, such as loc"):
        driver.run(wrong, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match=r"`only`: '\*n4\*' fits none of the 2 runs"):
        driver.run(dataclasses.replace(SMALL, only=("*n2*", "*n4*")), tmp_path / "run")
    for field, value in (("ns", (1,)), ("ns", (3, 3)), ("only", ("",))):
        with pytest.raises(InputError, match=f"`{field}`"):
            checks.check(dataclasses.replace(SMALL, **{field: value}))
    plain = dataclasses.replace(SMALL, model=ModelConfig(width=1 / 16))
    for field, named in (("networks", "name"), ("paddings", "padding")):
        with pytest.raises(InputError, match=f"`model.{named}`.*got 'other'"):
            driver.run(dataclasses.replace(plain, **{field: ("other",)}), tmp_path / "run")
