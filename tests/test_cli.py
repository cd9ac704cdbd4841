"""The command line as a person uses it: real commands, bad input, one line, exit code 2."""

import importlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import gpool_jax.__main__
from gpool_jax.cli import main as cli
from tests.test_torch_weights import state_dict

CONFIG = """
from gpool_jax.config import *
config = PositionConfig(
    data=DataConfig(source="digits", side=8, num_train=160),
    model=ModelConfig(name="vgg5", width=1 / 8, head="linear"),
    train=TrainConfig(steps=6, batch_size=16, eval_every=3, num_val=40, log_every=2),
    eval=EvalConfig(num_images=24, permutations=2, bootstrap=50),
    probe=ProbeConfig(num_images=24, folds=3, kinds=("ridge",), untrained=1),
)
"""


@pytest.fixture
def gpool(capsys, tmp_path):
    """Run a command here: (exit code, stdout, stderr without the progress bar)."""
    (tmp_path / "config.py").write_text(CONFIG)

    def run(*words):
        code = cli.main([str(w) for w in words])
        captured = capsys.readouterr()
        lines = re.split(r"[\r\n]+", captured.err)
        errors = [line for line in lines if line.strip() and not re.search(r"img/s|s/img", line)]
        return code, captured.out, errors

    return run


def test_train_evaluate_and_what_they_leave(gpool, tmp_path, monkeypatch):
    run = tmp_path / "run"
    code, out, errors = gpool(
        "train", tmp_path / "config.py", "--workdir", run, "--train.steps", "3", "--seed", "4"
    )
    assert (code, errors) == (0, [])
    for text in ("linear head, permuted at test", "95 % interval", "11.1", "report.html"):
        assert text in out
    assert json.loads((run / "config.json").read_text())["train"]["steps"] == 3
    result = json.loads((run / "results.json").read_text())
    assert result["config"]["seed"] == 4
    assert {r["arm"] for r in result["rows"]} == {"linear head", "linear head, permuted at test"}
    for key in ("packages", "device", "cpu", "wall_seconds", "command"):
        assert result["environment"][key]
    page = (run / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert page.count('<div class="heats">') == 3
    assert not re.search(r"(src|href)=\"(?!data:|#|[a-z_]+\.(json|npz)\")", page)
    assert page.count("<script") == 1  # the one that sorts tables

    before = (run / "results.json").read_bytes()
    words = ["--eval.num-images", "12", "--probe.stages", "all", "--json"]
    code, out, errors = gpool("evaluate", run, *words)
    assert (code, errors) == (0, [])
    evaluation = json.loads((run / "evaluation" / "results.json").read_text())
    assert json.loads(out) == evaluation
    assert {r["num_images"] for r in evaluation["rows"]} == {12}
    assert (run / "results.json").read_bytes() == before
    stages = {p["stage"] for p in evaluation["probes"]}
    assert stages == {"stem", "stage1", "stage2", "stage3", "stage4", "gap"}
    words = ["--workdir", tmp_path / "out", "--probe.no-enabled", "--quiet"]
    monkeypatch.setenv("TQDM_DISABLE", "")  # what --quiet sets goes with the test
    code, out, errors = gpool("evaluate", run, *words)
    assert out.split() == [str(tmp_path / "out" / f"{n}") for n in ("results.json", "report.html")]
    assert (code, errors) == (0, [])

    code, _, errors = gpool("train", tmp_path / "config.py", "--workdir", run, "--seed", "5")
    assert code == 2
    assert "holds a run of another config" in errors[0]
    assert "seed: 4 -> 5" in errors[0]
    code, _, errors = gpool("evaluate", run, "--train.steps", "9")
    assert code == 2
    assert "a finished run can be measured with other" in errors[0]
    assert "got --train.steps" in errors[0]


@pytest.mark.slow
def test_evaluate_imported_weights(gpool, tmp_path):
    from safetensors.numpy import save_file

    save_file(state_dict("reference_resnet18_gapnet"), tmp_path / "w.safetensors")
    rng = np.random.default_rng(0)
    content = {}
    for split, count in (("train", 40), ("test", 16)):
        content[f"images_{split}"] = rng.integers(0, 256, (count, 8, 8, 3), np.uint8)
        content[f"labels_{split}"] = np.arange(count) % 4
    np.savez(tmp_path / "set.npz", **content)
    words = ["evaluate", "--weights", tmp_path / "w.safetensors", "--model", "resnet18"]
    data = ["--data.source", "npz", "--data.path", tmp_path / "set.npz"]
    small = ["--probe.num-images", "12", "--probe.folds", "3", "--probe.kinds", "ridge"]
    out = tmp_path / "out"
    code, text, errors = gpool(*words, *data, *small, "--workdir", out)
    assert (code, errors) == (0, [])
    assert "gapnet head with 9 outputs, width 0.0625, stem conv7" in text
    result = json.loads((out / "results.json").read_text())
    assert [r["arm"] for r in result["rows"]] == ["GAPNet"]
    assert len(result["probes"]) == 56  # with controls, and those of untrained networks

    code, text, _ = gpool(*words, *data, *small, "--task", "recognition", "--workdir", out)
    assert code == 0
    assert "has 9 outputs and recognition needs 4: only the probes" in text
    assert json.loads((out / "results.json").read_text())["rows"] == []

    content |= {k: np.tile(v, (1, 2, 2, 1)) for k, v in content.items() if "images" in k}
    larger = tmp_path / "larger.npz"  # than the network's stride
    np.savez(larger, **content)
    shifted = ["--consistency", "--consistency.num-pairs", "2", "--consistency.max-shift", "1"]
    code, _, errors = gpool(
        *words, *data, *small, *shifted, "--data.path", larger, "--workdir", tmp_path / "no"
    )
    assert (code, len(errors)) == (2, 1)
    assert "has 9 outputs and recognition needs 4" in errors[0]
    assert not (tmp_path / "no").exists()

    code, _, errors = gpool(*words[:3], "--model", "vgg11", *data, "--workdir", tmp_path / "no")
    assert code == 2
    assert len(errors) == 1
    assert "do not fit this network" in errors[0]
    assert not (tmp_path / "no").exists()
    code, _, errors = gpool(*words, "--workdir", tmp_path / "no")
    assert (code, len(errors)) == (2, 1)
    assert "imported networks take 3 colour channels; got 1" in errors[0]
    assert not (tmp_path / "no").exists()


BAD = {
    "unknown field": (
        ["--train.stps", "3"],
        r"unknown config field --train.stps. Did you mean --train.steps\?",
    ),
    "unknown flag": (["--sed", "3"], r"unknown config field --sed. Did you mean --seed\?"),
    "wrong type": (["--train.steps", "many"], r"--train.steps.*invalid literal for int"),
    "wrong choice": (
        ["--data.source", "disk"],
        r"invalid choice 'disk' for argument '--data.source'",
    ),
    "n": (["--n", "1"], r"`n` must be at least 2; got 1"),
    "batch 0": (["--train.batch-size", "0"], r"`train.batch_size` must be at least 1; got 0"),
    "indivisible": (["--train.batch-size", "12"], r"multiple of the 8 devices; got 12"),
    "too large": (["--train.batch-size", "480"], r"at most the 160 training images; got 480"),
    "model": (["--model.name", "resnet20"], r"`model.name` must be one of .*got 'resnet20'"),
    "padding": (["--model.padding", "mirror"], r"`model.padding` must be one of .*got 'mirror'"),
    "head": (["--model.head", "gapnets"], r"`model.head` must be .*Did you mean 'gapnet'\?"),
    "canvas": (
        ["--model.name", "vgg11", "--n", "2"],
        r"a canvas of `n` = 2 images a side is 16 pixels wide; .* needs at least 32",
    ),
    "no data": (
        ["--data.source", "tfds", "--data.dir", "/none", "--data.side", "None"],
        r"no prepared data set 'cifar10' in /none",
    ),
    "no file": (
        ["--data.source", "npz", "--data.path", "/none.npz"],
        r"there is no file /none.npz",
    ),
    "stage": (["--probe.stages", "stage9"], r"`probe.stages` must be among stem"),
    "folds": (["--probe.folds", "40"], r"`probe.folds` must be at most the 24 probed images"),
    "missing value": (["--workdir"], r"Missing value for argument '--workdir'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_exit_code_2_and_nothing_written(gpool, tmp_path, case):
    words, message = BAD[case]
    run = tmp_path / "run"
    code, out, errors = gpool("train", tmp_path / "config.py", "--workdir", run, *words)
    assert code == 2
    assert out == ""
    assert len(errors) == 1, errors
    assert re.search(message, errors[0]), errors[0]
    assert not run.exists()


COMPARISON = """
from gpool_jax.config import ComparisonConfig
one = config
config = ComparisonConfig(
    data=one.data, model=one.model, train=one.train, eval=one.eval, probe=one.probe
)
"""


@pytest.mark.parametrize("case", BAD)
def test_bad_input_to_a_comparison_writes_nothing_either(gpool, tmp_path, case):
    words, message = BAD[case]
    (tmp_path / "comparison.py").write_text(CONFIG + COMPARISON)
    run = tmp_path / "run"
    if case == "head":
        words = ["--heads", "gapnets"]
    code, _, errors = gpool("train", tmp_path / "comparison.py", "--workdir", run, *words)
    assert (code, len(errors)) == (2, 1)
    assert re.search(message, errors[0]), errors[0]
    assert not run.exists()


def test_workdirs_that_cannot_be_used(gpool, tmp_path):
    (tmp_path / "file").write_text("precious")
    for where in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nothing/run")):
        code, _, errors = gpool("train", tmp_path / "config.py", "--workdir", where)
        assert (code, len(errors)) == (2, 1)
        assert errors[0].startswith("gpool: `workdir`:")
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], r"`command` must be one of .*Did you mean train\?"),
        (["train", "--seed", "3", "c.py"], "`c.py` must come first, right after the command"),
        (["train", "--workdr", "x"], r"unknown config field --workdr. Did you mean --workdir"),
        (["train"], "train needs a config file"),
        (["train", "none.py", "--workdir", "x"], "there is no file none.py"),
        (["evaluate"], "evaluate needs the folder of a run"),
        (["evaluate", "/none"], "/none is not the folder of a training run"),
        (["evaluate", "--weights", "w.safetensors"], "`--model` must name the network"),
        (
            ["evaluate", "--weights", "none.safetensors", "--model", "vgg5", "--workdir", "x"],
            "no file",
        ),
    ],
)
def test_bad_commands(gpool, words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, errors = gpool(*words)
    assert (code, len(errors)) == (2, 1)
    assert re.search(message, errors[0])
    assert not (tmp_path / "x").exists()


def test_config_files_that_are_none(gpool, tmp_path):
    for text, message in (
        ("import nothing_of_the_kind", "cannot be loaded: ModuleNotFoundError"),
        ("x = 1", "must define `config`.*got NoneType"),
        ("config = 3", "must define `config`.*got int"),
    ):
        (tmp_path / "bad.py").write_text(text)
        code, _, errors = gpool("train", tmp_path / "bad.py", "--workdir", tmp_path / "run")
        assert (code, len(errors)) == (2, 1)
        assert re.search(message, errors[0])


def test_a_run_without_a_readable_checkpoint(gpool, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{cut")
    code, _, errors = gpool("evaluate", run)
    assert (code, len(errors)) == (2, 1)
    assert "config.json cannot be read" in errors[0]


def test_help_names_every_field_with_its_default(gpool, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train", "--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    for text in (
        "--train.steps",
        "--data.source",
        "--seed",
        "(default: 1000)",
        "Number of optimiser steps",
    ):
        assert text in out


def test_python_m_and_the_script_are_the_same_program():
    out = subprocess.run(
        [sys.executable, "-m", "gpool_jax", "--version"], capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"\d+\.\d+\.\d+", out.stdout.strip())
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    module, _, name = project["project"]["scripts"]["gpool"].partition(":")
    assert getattr(importlib.import_module(module), name) is gpool_jax.__main__.run


INVARIANCE = """
from tests.helpers import tiny_arms
config = tiny_arms(num_seeds=1)
"""


@pytest.mark.slow
def test_invariance_and_consistency_from_the_command_line(gpool, tmp_path):
    from safetensors.numpy import save_file

    config, run = tmp_path / "arms.py", tmp_path / "run"
    config.write_text(INVARIANCE)
    small = ["--train.steps", "2", "--probe.num-images", "12"]
    code, out, errors = gpool("invariance", config, "--workdir", run, "--tables", *small)
    assert (code, errors) == (0, [])
    assert "protocol zeros: difference from baseline" in out
    assert (run / "report.html").exists()

    code, out, errors = gpool(
        "evaluate", run, "--consistency.protocols", "circular", "--probe.no-enabled"
    )
    assert (code, errors) == (0, [])
    assert "not guaranteed" in out
    found = json.loads((run / "evaluation" / "results.json").read_text())["measurements"]
    assert {m["protocol"] for m in found} == {"circular"}

    # An imported network whose head answers the classes of the data.
    weights = state_dict("reference_resnet18_gapnet")
    weights["pre_classifier.weight"] = weights["pre_classifier.weight"][:4]
    weights["pre_classifier.bias"] = weights["pre_classifier.bias"][:4]
    save_file(weights, tmp_path / "w.safetensors")
    rng = np.random.default_rng(0)
    content = {}
    for split, count in (("train", 40), ("test", 16)):
        content[f"images_{split}"] = rng.integers(0, 256, (count, 16, 16, 3), np.uint8)
        content[f"labels_{split}"] = np.arange(count) % 4
    np.savez(tmp_path / "set.npz", **content)
    words = ["evaluate", "--weights", tmp_path / "w.safetensors", "--model", "resnet18"]
    words += ["--data.source", "npz", "--data.path", tmp_path / "set.npz"]
    words += ["--probe.num-images", "12", "--probe.folds", "3", "--probe.kinds", "ridge"]
    words += ["--consistency", "--consistency.protocols", "zeros", "--consistency.num-pairs", "2"]
    code, _, errors = gpool(*words, "--task", "location", "--workdir", tmp_path / "no")
    assert (code, len(errors)) == (2, 1)
    assert "leave --task out" in errors[0]
    code, out, errors = gpool(*words, "--workdir", tmp_path / "out")
    assert (code, errors) == (0, [])
    assert "gapnet head with 4 outputs" in out
    assert "consistency, %" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shift.max-shift", "16"], "must be smaller than the image side 16; got 16"),
        (["--shift.weight", "-1"], "`shift.weight` must be at least 0"),
        (["--shift.views", "1"], "`shift.views` must be at least 2 for an invariance loss"),
        (["--shift.norm", "l3"], "invalid choice 'l3' for argument '--shift.norm'"),
        (["--num-seeds", "0"], "`num_seeds` must be at least 1; got 0"),
        (["--arms", "basline"], "invalid choice 'basline'"),
        (["--consistency.protocols", "roll"], "invalid choice 'roll'"),
        (["--consistency.crop", "40"], r"must be in .1, 16., the side of the images; got 40"),
        (["--train.batch-size", "480"], "at most the 160 training images"),
    ],
)
def test_bad_input_to_invariance_is_one_line(gpool, tmp_path, words, message):
    (tmp_path / "arms.py").write_text(INVARIANCE)
    run = tmp_path / "run"
    if words[0] == "--consistency.crop":
        words = ["--consistency.protocols", "crop", *words]
    code, out, errors = gpool("invariance", tmp_path / "arms.py", "--workdir", run, *words)
    assert (code, out, len(errors)) == (2, "", 1), errors
    assert re.search(message, errors[0]), errors[0]
    assert not run.exists()


def test_invariance_refuses_the_config_of_another_question(gpool, tmp_path):
    code, _, errors = gpool("invariance", tmp_path / "config.py", "--workdir", tmp_path / "run")
    assert (code, len(errors)) == (2, 1)
    assert "one of InvarianceComparisonConfig, InvarianceConfig; got PositionConfig" in errors[0]


@pytest.mark.slow
def test_a_field_of_consistency_switches_it_on_for_a_position_run(gpool, tmp_path):
    run = tmp_path / "run"
    assert gpool("train", tmp_path / "config.py", "--workdir", run, "--probe.no-enabled")[0] == 0
    words = ["--consistency.protocols", "circular", "--consistency.num-pairs", "2"]
    for number, extra in enumerate((["--consistency"], words)):
        out = tmp_path / f"out{number}"
        code, text, errors = gpool("evaluate", run, *extra, "--workdir", out, "--tables")
        assert (code, errors) == (0, [])
        assert "Under shift" in text
    found = json.loads((out / "results.json").read_text())["measurements"]
    assert {m["protocol"] for m in found} == {"circular"}


@pytest.mark.parametrize("words", [["demo", "--dry-run"], ["evaluate", "--distributed"]])
def test_an_option_of_another_command_is_said_to_be_one(words, capsys):
    assert cli.main(words) == 2
    assert f"`{words[-1]}` does not belong to this command" in capsys.readouterr().err
