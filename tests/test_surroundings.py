"""A command in strange surroundings: what it is given, where it runs, what it can write to."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from gpool_jax.cli import main as cli
from gpool_jax.cli import parse, session, streams
from gpool_jax.cli import train as cli_train
from gpool_jax.config import checks, paths, plain
from gpool_jax.data.images import locate
from gpool_jax.errors import InputError
from gpool_jax.report import read_result
from tests.helpers import TINY, tiny, tiny_invariance


@pytest.fixture
def gpool(capsys):
    """Run a command here: (exit code, stdout, lines of stderr)."""

    def run(*words):
        code = cli.main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err.splitlines()

    return run


def child(*words, **options):
    """Run `python -m gpool_jax` as a process of its own."""
    command = [sys.executable, "-m", "gpool_jax", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


# What fails unexpectedly


def failing(error):
    def demo(_words):
        raise error

    return demo


def test_a_fault_of_the_program_is_one_line_and_its_traceback_a_file(gpool, tmp_path, monkeypatch):
    monkeypatch.setattr(cli_train, "demo", failing(KeyError("lost\nsecond line")))
    code, out, errors = gpool("demo", "--workdir", tmp_path)
    file = tmp_path / "traceback.txt"
    assert (code, out, len(errors)) == (1, "", 1)
    assert errors[0].startswith("gpool: KeyError: ")
    assert errors[0].endswith(f"please report it with {file}")
    assert "in demo\n    raise error\n" in file.read_text()


def test_without_a_workdir_the_traceback_is_in_the_cache_or_temporary(gpool, tmp_path, monkeypatch):
    monkeypatch.setattr(cli_train, "demo", failing(ValueError()))
    monkeypatch.setenv("GPOOL_CACHE_DIR", str(tmp_path))
    assert gpool("demo")[2] == [
        "gpool: ValueError; a fault of the program, please report it with "
        f"{tmp_path / 'traceback.txt'}"
    ]
    monkeypatch.setenv("GPOOL_CACHE_DIR", str(tmp_path / "none"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (line,) = gpool("demo", "--workdir", tmp_path / "none")[2]
    assert "Traceback" in Path(line.split()[-1]).read_text()
    assert not (tmp_path / "none").exists()


def test_a_traceback_is_printed_where_it_is_asked_for(gpool, tmp_path, monkeypatch):
    monkeypatch.setattr(cli_train, "demo", failing(KeyError("lost")))
    monkeypatch.setenv("GPOOL_TRACEBACK", "1")
    code, _, errors = gpool("demo", "--workdir", tmp_path)
    assert (code, errors[0]) == (1, "Traceback (most recent call last):")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "out of memory (MemoryError). A smaller --train.batch-size"),
        (
            jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory\nmore"),
            "--dry-run` prints",
        ),
        (OSError(36, "File name too long", "x" * 999), "cannot be used: File name too long."),
    ],
)
def test_what_a_user_can_mend_is_one_line(gpool, monkeypatch, error, message):
    monkeypatch.setattr(cli_train, "demo", failing(error))
    code, _, errors = gpool("demo")
    assert (code, len(errors)) == (2, 1)
    assert message in errors[0]
    assert len(errors[0]) < 400


# What is asked for


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--workdir", ""], "`--workdir` must not be empty"),
        (["--workdir", "gs://bucket/run"], "`--workdir`: addresses are not supported"),
        (["--workdir", "x", "--data.path", ""], "`data.path` must not be empty"),
        (["--workdir", "x", "--data.path", "s3://bucket"], "`data.path`: addresses are not"),
        (["--workdir", "\udcff"], "'\\udcff' is not UTF-8"),
        (["--workdir", "y" * 300], "cannot be used: File name too long"),
        (["--workdir", "x", "--data.mean", "nan"], "`data.mean` must be in [0, 1]"),
        (["--workdir", "x", "--train.weight-decay", "inf"], "at least 0 and finite; got inf"),
        (["--workdir", "x", "--heads", "gapnet", "gapnet"], "`heads` names one twice"),
        (["--workdir", "x", "--n", "9" * 5000], "--n"),
        (["--workdir", "x", "--seed", "9" * 30], "`seed` must be below 2**31"),
        (["--workdir", "x", "--train.warmup-steps", "999"], "at most train.steps = 200; got 999"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(gpool, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "_cache_of_programs", lambda _: os.environ[CACHE])
    code, out, errors = gpool("demo", *words)
    assert (code, out, len(errors)) == (2, "", 1)
    assert message in errors[0]
    assert len(errors[0]) < 700
    assert list(tmp_path.iterdir()) == []


CACHE = "JAX_COMPILATION_CACHE_DIR"


def every(config, kind, value):
    """The config with each of its fields of a kind in turn given a value."""
    for name, old in plain.leaves(config):
        if type(old) is not kind:
            continue
        section, _, field = name.rpartition(".")
        yield name, tiny(**({section: {field: value}} if section else {field: value}))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_every_number_is_finite(value):
    found = dict(every(TINY, float, value))
    assert len(found) > 8
    for name, config in found.items():
        with pytest.raises(InputError, match=f"`{name}` must be .*; got -?(nan|inf)"):
            checks.check(config)


def test_every_count_is_one_that_jax_can_count_to():
    found = dict(every(TINY, int, 2**64))
    assert len(found) > 20
    for name, config in found.items():
        with pytest.raises(InputError, match=rf"`{name}` must be (below 2\*\*31|0, .*, 5); got"):
            checks.check(config)


def test_nothing_is_named_twice():
    for changes in ({"attack": {"counts": (5, 5)}}, {"probe": {"kinds": ("ridge", "ridge")}}):
        with pytest.raises(InputError, match="names one twice"):
            checks.check(tiny(**changes))
    checks.check(tiny(data={"mean": (0.5, 0.5, 0.5)}))


def test_the_weight_of_shifts_is_reached_within_the_training():
    checks.check(tiny_invariance(shift={"warmup_steps": 4}))
    with pytest.raises(InputError, match="`shift.warmup_steps` must be at most train.steps = 4"):
        checks.check(tiny_invariance(shift={"warmup_steps": 5}))


def test_a_section_of_another_class_is_refused_where_the_config_is_made():
    with pytest.raises(InputError, match="`train` must be a TrainConfig; got ModelConfig"):
        tiny(train=TINY.model)
    with pytest.raises(InputError, match="`data` must be a DataConfig; got int"):
        plain.from_dict({"kind": "PositionConfig", "data": 3})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"kind": ["x"]}', "`kind` must be one of PositionConfig.*; got \\['x'\\]"),
        ("[1]", "config.json holds no JSON object"),
        ('{"kind": "PositionConfig", "n": {"x": 1}}', "`n` must be int; got {'x': 1}"),
        ("[" * 100_000, "config.json cannot be read: maximum recursion depth"),
    ],
)
def test_a_config_json_that_is_none(gpool, tmp_path, content, message):
    (tmp_path / "config.json").write_text(content)
    code, _, errors = gpool("evaluate", tmp_path)
    assert (code, len(errors)) == (2, 1)
    assert re.search(message, errors[0])


def test_results_that_are_nested_without_end_are_no_results(tmp_path):
    (tmp_path / "results.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="holds no result: maximum recursion"):
        read_result(tmp_path)


@pytest.mark.parametrize("stop", ["import sys; sys.exit(0)", "raise SystemExit('enough')"])
def test_a_config_file_that_ends_the_program_is_refused(gpool, tmp_path, stop):
    (tmp_path / "c.py").write_text(f"{stop}\n")
    code, _, errors = gpool("train", tmp_path / "c.py", "--workdir", tmp_path / "run")
    assert (code, len(errors)) == (2, 1)
    assert "c.py cannot be loaded: SystemExit(" in errors[0]


def test_numbers_that_are_none_are_no_difference():
    nan = float("nan")
    assert plain.differences({"a": [nan, 1], "b": nan}, {"a": [float("nan"), 1.0], "b": nan}) == []
    assert plain.differences({"a": [nan]}, {"a": [1]}) == ["a: [nan] -> [1]"]


def test_a_config_of_another_kind_differs_in_its_kind_alone():
    found = plain.differences(plain.to_dict(TINY), plain.to_dict(tiny_invariance()))
    assert found == ["kind: 'PositionConfig' -> 'InvarianceConfig'"]


def test_a_class_whose_folder_is_not_utf8_is_refused(tmp_path):
    for name in (b"cat", b"dog\xff"):
        os.mkdir(os.path.join(os.fsencode(tmp_path), name))
    with pytest.raises(InputError, match=r"class 'dog\\udcff' in .* is not UTF-8; rename it"):
        locate.folder_classes({"train": tmp_path})


def test_a_home_folder_is_put_for_its_sign(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    read = parse.read("attack", ["--workdir=~/x", "--ranking", "~/r", "s~"], TINY)
    assert (read.workdir, read.ranking) == ("/home/somebody/x", ("/home/somebody/r", "s~"))


def test_no_cache_of_programs_is_none(monkeypatch):
    monkeypatch.setenv(CACHE, "/somewhere")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert session._cache_of_programs("none") is None
    assert session._cache_of_programs(None) == "/somewhere"
    assert session._cache_of_programs("gs://bucket/xla") == "gs://bucket/xla"
    monkeypatch.delenv(CACHE)
    assert session._cache_of_programs(None) == "/home/somebody/.cache/gpool_jax/xla"


# Where there is nothing


@pytest.fixture
def homeless(monkeypatch):
    """No $HOME and no entry of the user, as in a container with `--user 12345`."""
    import pwd

    def unknown(_uid):
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.delenv(CACHE)
    monkeypatch.delenv("GPOOL_CACHE_DIR")
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def test_without_a_home_nothing_is_kept(homeless):
    assert session._cache_of_programs(None) is None
    with pytest.raises(InputError, match="~/x: there is no home folder"):
        paths.expand("~/x")


NOWHERE = """
import pwd, runpy, sys
def unknown(uid):
    raise KeyError(uid)
pwd.getpwuid = unknown
sys.argv[0] = "gpool"
runpy.run_module("gpool_jax", run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
def test_a_run_in_an_empty_environment_without_streams(tmp_path):
    """As cron or a container starts it: no variable, no home, stdout and stderr closed."""
    words = ["train", str(tmp_path / "c.py"), "--workdir", str(tmp_path / "run")]
    (tmp_path / "c.py").write_text("from tests.helpers import TINY as config\n")
    command = [sys.executable, "-c", NOWHERE, *words]
    env = {"PYTHONPATH": os.environ["PYTHONPATH"]}
    closed = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command]
    assert subprocess.run(closed, env=env, check=False).returncode == 0
    assert json.loads((tmp_path / "run" / "results.json").read_text())["rows"]


def test_closed_streams_are_not_the_next_file():
    program = (
        "import os\nfrom gpool_jax.cli import streams\nstreams.prepare()\n"
        "assert os.open('/etc/passwd', os.O_RDONLY) > 2\nstreams.complain('lost')\n"
    )
    words = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", sys.executable, "-c", program]
    assert subprocess.run(words, check=False).returncode == 0


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["--version"], ["configs"]])
def test_a_full_disk_behind_stdout_is_said_so(words):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "gpool_jax", *words]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "gpool: stdout cannot be written to: No space left on device.\n",
    )


def test_names_outside_the_encoding_of_the_terminal_are_printed_all_the_same():
    program = "from gpool_jax.cli import streams\nstreams.prepare()\nstreams.say('\\N{SNOWMAN} x')"
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    words = [sys.executable, "-c", program]
    assert subprocess.run(words, env=env, capture_output=True, check=True).stdout == b"? x\n"


def test_nothing_that_a_terminal_would_obey_is_printed(capsys):
    streams.say("\x1b[31mred\x1b[0m\r\x9b2Jcat\u202e\x07\n\tdog")
    streams.complain("a\nfile\x1b]0;title\x07 \x85name")
    captured = capsys.readouterr()
    assert captured.out == "red2Jcat\n\tdog\n"
    assert captured.err == "gpool: a file]0;title name\n"


def test_jax_platforms_without_such_a_device(tmp_path):
    config = tmp_path / "c.py"
    config.write_text("from tests.helpers import TINY as config\n")
    env = os.environ | {"JAX_PLATFORMS": "cuda"}
    done = child("train", config, "--workdir", tmp_path / "run", env=env)
    assert done.returncode == 2
    message = r"gpool: JAX finds no device to run on; JAX_PLATFORMS is 'cuda', .*\n"
    assert re.fullmatch(message, done.stderr)
    assert not (tmp_path / "run").exists()


def test_modules_in_the_working_folder_are_not_imported(tmp_path):
    for name in ("numpy", "jax", "tyro", "dataclasses", "typing"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken from the working folder')\n")
    done = child("train", "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    # From a checkout, the package itself lies there.
    checkout = Path(__file__).parents[1]
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    assert child("--version", cwd=checkout, env=env).returncode == 0


def test_a_grid_that_a_network_of_canvases_does_not_use_is_said_so(gpool, tmp_path, monkeypatch):
    from gpool_jax.experiments import driver

    def measure(*_args, **_options):
        raise InputError("enough")

    monkeypatch.setattr(driver, "measure", measure)
    (tmp_path / "config.json").write_text(json.dumps(plain.to_dict(TINY)))
    words = ["--compilation-cache", os.environ[CACHE]]
    assert gpool("rank", tmp_path, *words)[2] == ["gpool: enough"]
    assert gpool("rank", tmp_path, *words, "--rank.grid", "5")[2] == [
        "gpool: `rank.grid` 5 is not used: the network has its own `n` = 3.",
        "gpool: enough",
    ]
