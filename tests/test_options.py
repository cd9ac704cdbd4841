"""Options as they are read: each command its own, config files by path and by name."""

import dataclasses
import json
import re
import subprocess
import sys

import pytest

from gpool_jax import models
from gpool_jax.cli import main as cli
from gpool_jax.cli import options, parse
from gpool_jax.cli import train as cli_train
from gpool_jax.config import (
    DEMO,
    KINDS,
    ComparisonConfig,
    PositionConfig,
    SegmentationConfig,
    files,
    plain,
)
from gpool_jax.errors import InputError
from gpool_jax.models.segmenter import SEGMENTERS
from tests.helpers import TINY

ALL = tuple(KINDS.values())


def help_of(capsys, *words):
    with pytest.raises(SystemExit) as stopped:
        cli.main([*words, "--help"])
    assert stopped.value.code == 0
    return capsys.readouterr().out


def names_in(text: str) -> set[str]:
    """Options that a help text shows, without those that only its sentences name."""
    return set(re.findall(r"^[│ ] (--[\w.-]+)", text, re.MULTILINE))


def sections_in(text: str) -> set[str]:
    return {name[2:].partition(".")[0] for name in names_in(text) if "." in name}


@pytest.mark.parametrize(
    ("command", "sections", "own"),
    [
        ("train", {f.name for f in dataclasses.fields(PositionConfig)}, "--dry-run"),
        ("rank", {"data", "model", "rank"}, "--authors-format"),
        ("attack", {"data", "model", "rank", "attack"}, "--ranking"),
        ("evaluate", {"data", "model", "eval", "probe", "consistency"}, "--consistency"),
    ],
)
def test_help_shows_the_fields_of_the_command_alone(capsys, command, sections, own):
    text = help_of(capsys, command)
    assert sections_in(text) == sections - {"task", "n", "seed", "cells"}
    assert {own, "--workdir", "--quiet", "--json", "--seed"} <= names_in(text)
    assert not {"--target", "--config"} & names_in(text)
    assert text.count("usage:") == 1
    assert options.COMMANDS[command].__doc__ in text
    if own != "--ranking":
        assert "--ranking" not in names_in(text)


def test_help_of_a_run_shows_its_values_and_where_its_data_lie(capsys, tmp_path):
    config = dataclasses.replace(TINY, rank=dataclasses.replace(TINY.rank, grid=7))
    (tmp_path / "config.json").write_text(json.dumps(plain.to_dict(config)))
    text = help_of(capsys, "rank", str(tmp_path))
    data = {name for name in names_in(text) if name.startswith("--data.")}
    assert data == {"--data.dir", "--data.path", "--data.cache-dir", "--data.workers"}
    assert sections_in(text) == {"data", "rank"}
    assert "(default: 7)" in text


def test_help_and_version_and_lists(capsys):
    assert cli.main([]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err[:6]) == ("", "usage:")
    for words in (["--help"], ["-h"], ["help"]):
        assert cli.main(words) == 0
        assert capsys.readouterr().out == captured.err
    for name, kind in options.COMMANDS.items():
        assert re.search(rf"^  {name} .*{re.escape(kind.__doc__)}$", captured.err, re.MULTILINE)
    assert max(map(len, captured.err.splitlines())) <= 80
    with pytest.raises(SystemExit):
        cli.main(["help", "rank"])
    assert capsys.readouterr().out == help_of(capsys, "rank")
    assert cli.main(["-V"]) == cli.main(["--version"]) == 0
    first, second = capsys.readouterr().out.split()
    assert first == second
    assert cli.main(["--list-models"]) == 0
    listed = capsys.readouterr().out.split()
    assert set(listed) == {*models.MODELS, *SEGMENTERS}
    assert cli.main(["configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} == set(files.catalog())


def test_completion_offers_commands_and_their_options(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--tyro-print-completion", "bash"])
    assert not stopped.value.code
    script = capsys.readouterr().out
    words = ["gpool", "attack", "--ran"]
    script += f"COMP_WORDS=({' '.join(words)}); COMP_CWORD=2\n"
    script += "f=$(complete -p gpool | sed 's/.*-F \\([^ ]*\\) .*/\\1/'); $f gpool --ran attack\n"
    script += "printf '%s\\n' \"${COMPREPLY[@]}\"\n"
    found = subprocess.run(["bash"], input=script, capture_output=True, text=True, check=True)
    offered = found.stdout.split()
    assert "--ranking" in offered
    assert {"--rank.methods", "--rank.grid"} <= set(offered)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rank", "--train.steps", "9"], "`--train.steps` does not belong to this command, but to"),
        (["rank", "--attack.counts", "9"], "but to demo, train, invariance, attack; see"),
        (["rank", "--ranking", "f"], "`--ranking` does not belong to this command, but to attack;"),
        (["attack", "--authors-format"], "does not belong to this command, but to rank;"),
        (["evaluate", "--dry-run"], "does not belong to this command, but to train, invariance;"),
        (["demo", "--attack.counts", "3"], "`--attack.counts` is no field of a ComparisonConfig"),
        (["train", "deeplab_voc", "--n", "3"], "`--n` is no field of a SegmentationConfig"),
        (["train", "demo", "--no-quiet"], "unknown config field --no-quiet"),
        (["demo", "runs/x"], "unexpected word 'runs/x'"),
        (["train", "demo", "again"], "unexpected word 'again'"),
        (["train", "demo", "--json", "--dry-run"], "`--json` prints results"),
        (["train", "compare_digit"], "no file compare_digit. Did you mean compare_digits?"),
        (["train", "elsewhere/compare_digits.py"], "no file elsewhere/compare_digits.py"),
        (["invariance", "compare_digits"], "got ComparisonConfig"),
        (["evaluat", "RUN"], "Did you mean evaluate?"),
        (["configs", "x"], "unexpected word 'x' after gpool configs"),
        (["help", "ran"], "Did you mean rank?"),
        (["--tyro-print-completion", "sh"], "must be bash, zsh or fish; got sh"),
        (["evaluate", "RUN", "--weights", "f", "--model", "vgg5"], "not both; got RUN"),
        (["rank", "--weights", "f", "--model", "vgg5"], "`--workdir` must name"),
    ],
)
def test_what_is_refused(capsys, words, message):
    assert cli.main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert message in captured.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--train.steps", "9"], "a finished run can be measured with other .* got --train.steps"),
        (["--n", "5"], "a finished run can be measured with other .* got --n"),
        (["--data.side", "8"], "got --data.side"),
        (["--model", "vgg5"], "`--model` names the network of --weights"),
        (["--rank.grid", "5"], "does not belong to this command, but to .* rank, attack"),
        (["--eval.permutation", "5"], "Did you mean --eval.permutations?"),
    ],
)
def test_what_is_refused_of_a_finished_run(capsys, tmp_path, words, message):
    (tmp_path / "config.json").write_text(json.dumps(plain.to_dict(TINY)))
    assert cli.main(["evaluate", str(tmp_path), *words]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_comparison_has_no_consistency_of_its_own(capsys, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(plain.to_dict(ComparisonConfig())))
    assert cli.main(["evaluate", str(tmp_path), "--consistency"]) == 2
    assert "`--consistency`: a ComparisonConfig has none" in capsys.readouterr().err


def test_fields_and_short_names_reach_the_config():
    words = ["--parallel", "shard_map", "--tensorboard", "--n=5", "--model.permute_at", "stage2"]
    words += ["--data.no-flip", "--train.milestones", "3", "4", "--train.ema-decay", "None"]
    read = parse.read("train", [*words, "--dry-run"], TINY, target="file.py")
    assert (read.dry_run, read.distributed, read.target) == (True, False, "file.py")
    assert type(read.config) is PositionConfig
    changed = plain.differences(plain.to_dict(TINY), plain.to_dict(read.config))
    assert sorted(change.partition(":")[0] for change in changed) == [
        "data.flip",
        "model.permute_at",
        "n",
        "train.milestones",
        "train.parallel",
        "train.tensorboard",
    ]
    assert parse.read("train", [], TINY).config == TINY
    assert parse.read("attack", ["--ranking", "a", "b", "--seed", "3"], TINY).ranking == (
        "a",
        "b",
    )


def test_milestones_beyond_a_shorter_training_are_dropped_with_a_note():
    def shortened(*words):
        said = []
        config = parse.read("train", words, default).config
        return cli_train._without_late_milestones(config, default, said.append), said

    train = dataclasses.replace(TINY.train, steps=900, milestones=(20, 300, 900))
    default = dataclasses.replace(TINY, train=train)
    config, said = shortened("--train.steps", "20")
    assert config.train.milestones == (20,)
    assert said == ["train.milestones 300, 900 dropped: the training ends after 20 steps."]
    assert shortened("--train.steps", "901")[1] == []
    # What was asked for is not dropped in silence: the check refuses it.
    config, said = shortened("--train.steps", "20", "--train.milestones", "30")
    assert (config.train.milestones, said) == ((30,), [])


def test_configs_are_found_by_path_and_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    by_name = files.load("deeplab_camvid_cpu", (SegmentationConfig,))
    assert files.load("configs/deeplab_camvid_cpu.py", (SegmentationConfig,)) == by_name
    thin = files.load("configs/cifar10_vgg11_permutenet_location_cpu.py", ALL)
    assert (thin.model.name, thin.model.head, thin.task) == ("vgg11", "permutenet", "location")
    assert (thin.model.width, thin.train.steps) == (0.125, 1600)
    assert files.load("demo", ALL) == DEMO
    # A file goes before a name.
    own = "from gpool_jax.config import PositionConfig\nconfig = PositionConfig(n=9)\n"
    (tmp_path / "demo").write_text("")
    with pytest.raises(InputError, match="demo is not a Python file"):
        files.load("demo", ALL)
    (tmp_path / "demo.py").write_text(own)
    assert files.load("demo.py", ALL).n == 9
    table = files._FOLDER / "cifar10.py"
    with pytest.raises(InputError, match="holds several; name one: cifar10_resnet18_gapnet_loc"):
        files.load(table, ALL)


def test_every_config_says_what_it_is_in_one_line():
    for name, (what, config) in files.catalog().items():
        assert re.fullmatch(r"\S.{20,100}\.", what), name
        assert type(config) in ALL


def test_help_comes_at_once():
    code = "import sys; from gpool_jax.cli.main import main; main(['--help']); "
    code += "assert not {'jax', 'tyro', 'numpy', 'gpool_jax.config'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
