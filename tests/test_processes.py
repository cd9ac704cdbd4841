"""Several processes train as one: the same numbers, one writer, and none outlives another."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from gpool_jax.cli import main as cli
from gpool_jax.data import resident
from gpool_jax.errors import InputError
from gpool_jax.experiments import saved, workdir
from gpool_jax.experiments.position import training as position
from gpool_jax.train import processes, watchdog
from tests.helpers import tiny

_QUICK = {"eval": {"num_images": 8, "bootstrap": 10}, "probe": {"enabled": False}}
SHORT = tiny(
    model={"head": "permutenet"},
    train={"optimizer": "sgd", "learning_rate": 0.05, "num_val": 23},
    **_QUICK,
)
# Long enough to be killed in the middle of it.
LONG = tiny(
    train={"optimizer": "sgd", "learning_rate": 0.05, "steps": 600, "eval_every": 40, "num_val": 8},
    **_QUICK,
)


class Process:
    """`gpool train` as a process of its own, on two virtual devices."""

    def __init__(self, name: str, run: Path, *words: str, devices: int = 2, prelude: str = ""):
        config = run.parent / f"{name}.py"
        config.write_text(f"from tests.test_processes import {name} as config\n")
        program = (
            f"import sys\n{prelude}\n"
            "from gpool_jax.cli.main import main\nsys.exit(main(sys.argv[1:]))"
        )
        command = [sys.executable, "-c", program, "train", str(config), "--workdir", str(run)]
        flags = f"--xla_force_host_platform_device_count={devices}"
        paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        env = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
        env["PYTHONPATH"] = os.pathsep.join(p for p in paths if p)
        self.log = (run.parent / f"log{time.monotonic_ns()}", run.parent / f"err{id(self)}")
        with self.log[0].open("w") as out, self.log[1].open("w") as err:
            self.popen = subprocess.Popen([*command, *words], env=env, stdout=out, stderr=err)

    def end(self, timeout: float = 240.0) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        try:
            code = self.popen.wait(timeout)
        finally:
            self.popen.kill()
            self.popen.wait()
        out, err = (path.read_text() for path in self.log)
        return code, out, err


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def pair(name: str, run: Path, *words: str, **options) -> list[Process]:
    """Two processes of one run."""
    where = ["--distributed", "--coordinator", f"127.0.0.1:{free_port()}", "--num-processes", "2"]
    return [Process(name, run, *where, "--process-id", str(i), *words, **options) for i in range(2)]


def final_state(run: Path):
    """Step and state of the latest checkpoint."""
    config = workdir.read_config(run)
    abstract = jax.eval_shape(position.prepare(config).init_state)
    with contextlib.closing(saved.open_checkpoints(config.train, run)) as checkpoints:
        return checkpoints.load_latest(abstract, print)


def assert_same_run(run: Path, other: Path, rel: float = 1e-5) -> None:
    """The same last state to 1e-6, curves to `rel`, and result."""
    (step, state), (other_step, other_state) = final_state(run), final_state(other)
    assert step == other_step
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(other_state), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5, atol=1e-6)
    curves = [
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (run, other)
    ]
    for a, b in zip(*curves, strict=True):
        a.pop("images_per_second", None), b.pop("images_per_second", None)
        assert a == pytest.approx(b, rel=rel)
    rows = [json.loads((f / "results.json").read_text())["rows"] for f in (run, other)]
    assert rows[0] == rows[1]


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """One process with four devices."""
    run = tmp_path_factory.mktemp("alone") / "run"
    code, _, err = Process("SHORT", run, devices=4).end()
    assert code == 0, err
    return run


@pytest.mark.processes
@pytest.mark.parametrize("mapping", ["pmap", "shard_map"])
def test_two_processes_with_two_devices_are_one_with_four(alone, tmp_path, mapping):
    run = tmp_path / "run"
    (code, out, err), (other_code, other_out, other_err) = [
        p.end() for p in pair("SHORT", run, "--parallel", mapping)
    ]
    assert (code, other_code) == (0, 0), err + other_err
    assert_same_run(run, alone)
    # One writes and says so; the other has nothing to say but what Gloo prints.
    assert str(run / "results.json") in out
    assert "PermuteNet" not in other_out
    assert "gpool" not in other_err


@pytest.mark.processes
def test_a_run_of_one_process_is_gone_on_with_by_two(alone, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(alone, run)
    shutil.rmtree(run / "checkpoints" / "6")
    (run / "results.json").unlink()
    ends = [p.end() for p in pair("SHORT", run)]
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert_same_run(run, alone)


def wait_for_checkpoints(run: Path, started: list[Process]) -> None:
    until = time.monotonic() + 200
    while time.monotonic() < until and all(p.popen.poll() is None for p in started):
        if len(list(run.glob("checkpoints/[0-9]*"))) >= 2:
            return
        time.sleep(0.05)
    raise AssertionError([p.end(1) for p in started])


@pytest.fixture(scope="module")
def long_run(tmp_path_factory) -> Path:
    """`LONG`, from beginning to end in one process."""
    run = tmp_path_factory.mktemp("long") / "run"
    code, _, err = Process("LONG", run).end()
    assert code == 0, err
    return run


@pytest.mark.processes
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_other_within_a_minute_and_the_run_goes_on(
    victim, long_run, tmp_path
):
    run = tmp_path / "run"
    started = pair("LONG", run)
    wait_for_checkpoints(run, started)
    started[victim].popen.send_signal(signal.SIGKILL)
    started[victim].end(5)
    code, _, err = started[1 - victim].end(60)
    assert code == 2
    last = err.strip().splitlines()[-1]
    assert last.startswith(f"gpool: process {victim} of 2 died or cannot be reached; the same")
    assert not (run / "results.json").exists()
    # One process finishes what two began.
    code, _, err = Process("LONG", run).end()
    assert code == 0, err
    # Sums over two devices and over four differ, and hundreds of steps add that up.
    assert_same_run(run, long_run, rel=1e-3)


@pytest.mark.processes
def test_a_process_told_to_stop_stops_both_after_the_same_step(tmp_path):
    run = tmp_path / "run"
    started = pair("LONG", run)
    wait_for_checkpoints(run, started)
    # Not the one that writes.
    started[1].popen.send_signal(signal.SIGTERM)
    (code, _, err), (other_code, _, other_err) = [p.end(60) for p in started]
    assert (code, other_code) == (128 + signal.SIGTERM,) * 2, err + other_err
    step, _ = final_state(run)
    assert f"stopped by SIGTERM at step {step}; the checkpoint is saved" in err
    assert "stopped" not in other_err


def test_processes_that_were_started_differently_say_so_and_end(tmp_path):
    run = tmp_path / "run"
    port = str(free_port())
    where = ["--distributed", "--coordinator", f"127.0.0.1:{port}", "--num-processes", "2"]
    first = Process("SHORT", run, *where, "--process-id", "0")
    other = Process("SHORT", run, *where, "--process-id", "1", "--train.learning-rate", "0.2")
    ends = [p.end(120) for p in (first, other)]
    assert [code for code, _, _ in ends] == [2, 2]
    assert "train.learning_rate" in ends[1][2]
    assert "process 1 stopped: `config`: process 1 has another than process 0" in ends[0][2]
    assert not list(run.glob("checkpoints/*"))


def test_an_error_of_one_process_is_told_by_all(tmp_path):
    run = tmp_path / "run"
    # Only process 0 opens the folder, in which another run lies.
    workdir.open_run(run, tiny(seed=5))
    (run / "results.json").write_text("{}")
    ends = [p.end(120) for p in pair("SHORT", run)]
    assert [code for code, _, _ in ends] == [2, 2]
    assert "seed" in ends[0][2]
    assert "gpool: process 0 stopped: " in ends[1][2]
    assert "seed" in ends[1][2]


@pytest.mark.processes
def test_processes_that_do_not_come_are_not_waited_for_in_silence(tmp_path):
    prelude = "from gpool_jax.train import processes\nprocesses.JOIN_SECONDS = 3"
    for index in ("0", "1"):
        where = ["--coordinator", f"127.0.0.1:{free_port()}", "--num-processes", "2"]
        words = ["--distributed", *where, "--process-id", index]
        code, _, err = Process("SHORT", tmp_path / "run", *words, prelude=prelude).end(60)
        assert code == 2
        assert "could not be met at 127.0.0.1:" in err.splitlines()[-1]
    assert processes.JOIN_SECONDS < 60


def test_where_there_is_no_cluster_the_flags_are_asked_for(tmp_path):
    code, _, err = Process("SHORT", tmp_path / "run", "--distributed").end(60)
    assert code == 2
    assert err.strip().splitlines()[-1].startswith("gpool: `--distributed`: no cluster was found")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--process-id", "1"], "`--process-id` goes with --distributed"),
        (["--distributed", "--num-processes", "2"], "`--coordinator` is missing"),
        (["--distributed", "--coordinator", "h:1", "--process-id", "0"], "`--num-processes` is"),
        ("h:1 2 2", "`--process-id` must be a whole number in [0, 1]; got 2"),
        ("h:1 0 0", "`--num-processes` must be a whole number at least 1; got 0"),
        ("h:1 two 0", "`--num-processes` must be a whole number at least 1; got two"),
        ("h 2 0", "`--coordinator` must be HOST:PORT; got h"),
        ("h:70000 2 0", "`--coordinator` must be HOST:PORT; got h:70000"),
        (["--distribute"], "unknown config field --distribute. Did you mean --distributed?"),
    ],
)
def test_wrong_flags_are_refused_at_once(words, message, tmp_path, capsys):
    config = tmp_path / "c.py"
    config.write_text("from tests.test_processes import SHORT as config\n")
    if isinstance(words, str):
        names = ("--coordinator", "--num-processes", "--process-id")
        values = zip(names, words.split(), strict=True)
        words = ["--distributed", *(w for pair in values for w in pair)]
    assert cli.main(["train", str(config), "--workdir", str(tmp_path / "run"), *words]) == 2
    assert message in capsys.readouterr().err


def test_a_port_that_is_taken_is_said_so():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} of this machine cannot be used"):
            processes.join(f"127.0.0.1:{port}", 2, 0)


def test_shares_of_processes_make_up_the_batches():
    split = position.prepare(SHORT).dataset.train
    whole = resident.ResidentFeed(split, batch_size=12, seed=3)
    shares = [
        resident.ResidentFeed(split, batch_size=12, seed=3, process_index=i, process_count=3)
        for i in range(3)
    ]
    expected = whole.inputs_at(11, 4)
    for name, rows in expected.items():
        parts = [s.inputs_at(11, 4)[name] for s in shares]
        assert [p.shape[1] for p in parts] == [4, 4, 4]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), rows)


class Store:
    """What the watchdog needs of JAX's coordination service."""

    def __init__(self):
        self.values: dict[str, str] = {}

    def key_value_set(self, name, value, allow_overwrite=False):
        assert allow_overwrite or name not in self.values
        self.values[name] = value

    def key_value_dir_get(self, folder):
        return [(n, v) for n, v in self.values.items() if n.startswith(folder)]


class Left(BaseException):
    """Instead of the end of the process."""


@pytest.fixture
def watch(monkeypatch):
    """A watchdog of process 0 of 2, which ends after 0.3 s without a pulse, and its store."""
    monkeypatch.setattr(watchdog, "PERIOD", 0.02)
    monkeypatch.setattr(watchdog, "PATIENCE", 0.3)
    store = Store()
    dog = watchdog.Watchdog(store, 0, 2, "127.0.0.1:1")
    said = []

    def leave(code, reason):
        said.append((code, reason))
        raise Left

    monkeypatch.setattr(dog, "leave", leave)

    def run(seconds):
        stop = threading.Timer(seconds, dog.close)
        stop.start()
        with contextlib.suppress(Left):
            dog._run()
        stop.cancel()
        return said

    return store, run


def test_a_process_that_beats_is_not_missed(watch):
    store, run = watch
    beating = threading.Event()

    def beat():
        number = 0
        while not beating.wait(0.05):
            number += 1
            store.values["gpool/alive/1"] = str(number)

    thread = threading.Thread(target=beat)
    thread.start()
    assert run(1.0) == []
    beating.set()
    thread.join()
    assert "gpool/alive/0" in store.values


def test_a_pulse_that_stands_still_is_a_death(watch):
    store, run = watch
    store.values["gpool/alive/1"] = "7"
    ((code, reason),) = run(5.0)
    assert code == 2
    assert reason.startswith("process 1 of 2 died or cannot be reached")


def test_the_reason_of_another_is_handed_on_with_its_code(watch):
    store, run = watch
    store.values["gpool/left/1"] = json.dumps({"code": 130, "reason": "interrupted."})
    assert run(5.0) == [(130, "process 1 stopped: interrupted.")]


def test_the_watch_is_shorter_than_a_minute():
    assert watchdog.PATIENCE + watchdog.FAREWELL + 3 * watchdog.PERIOD < 60
