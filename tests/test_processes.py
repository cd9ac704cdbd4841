"""Several processes train as one: the same numbers, one writer, and none outlives another."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from gpool_jax.cli import main as cli
from gpool_jax.config import plain
from gpool_jax.data import resident
from gpool_jax.errors import InputError
from gpool_jax.experiments import saved, workdir
from gpool_jax.experiments.position import training as position
from gpool_jax.train import processes, watchdog
from tests.conftest import CACHE
from tests.helpers import tiny

# Ports and deadlines: one after another, whatever else runs beside them.
# Six steps; checkpoints after the third and the last.
SHORT = tiny(
    model={"head": "permutenet"},
    train={"optimizer": "sgd", "learning_rate": 0.05, "num_val": 23},
    eval={"num_images": 8, "bootstrap": 10},
    probe={"enabled": False},
)
# A process that sends itself a signal before its fifth step.
SIGNALS_ITSELF = """
import os, signal
from gpool_jax.data import resident
inputs_at = resident.ResidentFeed.inputs_at
def signalling(self, step, count):
    if step == 4:
        os.kill(os.getpid(), signal.{})
    return inputs_at(self, step, count)
resident.ResidentFeed.inputs_at = signalling
"""
IMPATIENT = "from gpool_jax.train import watchdog\nwatchdog.PATIENCE = 3\n"


class Process:
    """`gpool train` as a process of its own, on two virtual devices."""

    def __init__(self, run: Path, *words: str, prelude: str = ""):
        config = run.parent / "short.py"
        config.write_text("from tests.test_processes import SHORT as config\n")
        program = (
            f"import sys\n{prelude}\n"
            "from gpool_jax.cli.main import main\nsys.exit(main(sys.argv[1:]))"
        )
        command = [sys.executable, "-c", program, "train", str(config), "--workdir", str(run)]
        paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        env = os.environ | {
            "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": os.pathsep.join(p for p in paths if p),
        }
        self.log = (run.parent / f"log{id(self)}", run.parent / f"err{id(self)}")
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


def pair(
    run: Path,
    *words: str,
    other_words: tuple[str, ...] = (),
    preludes: tuple[str, str] = ("", ""),
) -> list[Process]:
    """Two processes of one run; `other_words` are for process 1 only."""
    where = ["--distributed", "--coordinator", f"127.0.0.1:{free_port()}", "--num-processes", "2"]
    own = ((), other_words)
    return [
        Process(run, *where, "--process-id", str(i), *words, *own[i], prelude=preludes[i])
        for i in range(2)
    ]


def run_here(run: Path, *words: str) -> None:
    """`gpool train` in this process, on its eight devices."""
    config = run.parent / "here.py"
    config.write_text("from tests.test_processes import SHORT as config\n")
    words = ("--compilation-cache", str(CACHE), *words)  # that of the tests, as it is
    assert cli.main(["train", str(config), "--workdir", str(run), *words]) == 0


def final_state(run: Path):
    """Step and state of the latest checkpoint."""
    config = workdir.read_config(run)
    setup = position.prepare(config)
    checkpoints = saved.open_checkpoints(setup, run)
    return checkpoints.load_latest(jax.eval_shape(setup.init_state), print)


def assert_same_run(run: Path, other: Path) -> None:
    """The same last state to 1e-6, curves and result."""
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
        assert a == pytest.approx(b, rel=1e-5)
    rows = [json.loads((f / "results.json").read_text())["rows"] for f in (run, other)]
    assert rows[0] == rows[1]


@pytest.fixture(scope="module")
def one_process(tmp_path_factory) -> Path:
    """The run of one process, with eight devices."""
    run = tmp_path_factory.mktemp("one") / "run"
    run_here(run)
    return run


@pytest.mark.slow
def test_two_processes_with_two_devices_are_one_with_eight(one_process, tmp_path):
    run = tmp_path / "run"
    (code, out, err), (other_code, other_out, other_err) = [p.end() for p in pair(run)]
    assert (code, other_code) == (0, 0), err + other_err
    assert_same_run(run, one_process)
    # One writes and says so; the other has nothing to say but what Gloo prints.
    assert str(run / "results.json") in out
    assert "PermuteNet" not in other_out
    assert "gpool" not in other_err


@pytest.mark.slow
def test_a_run_of_one_process_is_gone_on_with_by_two(one_process, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(one_process, run)
    shutil.rmtree(run / "checkpoints" / "6")
    (run / "results.json").unlink()
    ends = [p.end() for p in pair(run, "--parallel", "shard_map")]
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert_same_run(run, one_process)


def check_death(victim: int, run: Path, prelude: str, within: float) -> None:
    """Let a process die in mid-training: the other ends in time, with our line as its last."""
    preludes = [prelude, prelude]
    preludes[victim] += SIGNALS_ITSELF.format("SIGKILL")
    started = pair(run, preludes=tuple(preludes))
    assert started[victim].end()[0] == -signal.SIGKILL
    code, _, err = started[1 - victim].end(within)
    assert code == 2
    assert (
        err.strip()
        .splitlines()[-1]
        .startswith(
            "gpool: JAX ended this process, most likely because another one died or cannot be "
            "reached; the same command, started again on every machine, goes on"
        )
    )
    assert "Traceback" not in err
    assert not (run / "results.json").exists()


@pytest.mark.slow
def test_a_dead_process_ends_the_other_and_the_run_goes_on(one_process, tmp_path):
    check_death(1, tmp_path / "run", IMPATIENT, within=30)
    # One process finishes what two began.
    run_here(tmp_path / "run")
    assert_same_run(tmp_path / "run", one_process)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_dead_process_ends_the_other_within_a_minute(victim, tmp_path):
    check_death(victim, tmp_path / "run", "", within=60)


@pytest.mark.slow
def test_a_process_told_to_stop_stops_both_after_the_same_step(tmp_path):
    run = tmp_path / "run"
    # Not the one that writes.
    started = pair(run, preludes=("", SIGNALS_ITSELF.format("SIGTERM")))
    (code, _, err), (other_code, _, other_err) = [p.end() for p in started]
    assert (code, other_code) == (128 + signal.SIGTERM,) * 2, err + other_err
    step, _ = final_state(run)
    assert step in (5, 6)
    assert f"stopped by SIGTERM at step {step}; the checkpoint is saved" in err
    assert "stopped" not in other_err


@pytest.mark.slow
def test_processes_that_were_started_differently_say_so_and_end(tmp_path):
    run = tmp_path / "run"
    ends = [p.end(120) for p in pair(run, other_words=("--train.learning-rate", "0.2"))]
    assert [code for code, _, _ in ends] == [2, 2]
    assert "train.learning_rate" in ends[1][2]
    assert "process 1 stopped: `config`: process 1 has another than process 0" in ends[0][2]
    assert not run.exists()
    assert not any("Traceback" in err for _, _, err in ends)


@pytest.mark.slow
def test_an_error_of_one_process_is_told_by_all(tmp_path):
    run = tmp_path / "run"
    # Process 1 does not see the folder, in which another run lies.
    workdir.open_run(run, tiny(seed=5))
    (run / "results.json").write_text("{}")
    other = ("--workdir", str(tmp_path / "elsewhere"))
    ends = [p.end(120) for p in pair(run, other_words=other)]
    assert [code for code, _, _ in ends] == [2, 2]
    assert "seed" in ends[0][2]
    assert "gpool: process 0 stopped: " in ends[1][2]
    assert "seed" in ends[1][2]


@pytest.mark.slow
@pytest.mark.parametrize("index", ["0", "1"])
def test_processes_that_do_not_come_are_not_waited_for_in_silence(index, tmp_path):
    prelude = "from gpool_jax.train import processes\nprocesses.JOIN_SECONDS = 3"
    where = ["--coordinator", f"127.0.0.1:{free_port()}", "--num-processes", "2"]
    words = ["--distributed", *where, "--process-id", index]
    code, _, err = Process(tmp_path / "run", *words, prelude=prelude).end(60)
    assert code == 2
    assert "could not be met at 127.0.0.1:" in err.splitlines()[-1]
    assert processes.JOIN_SECONDS < 60


@pytest.mark.slow
def test_where_there_is_no_cluster_the_flags_are_asked_for(tmp_path):
    code, _, err = Process(tmp_path / "run", "--distributed").end(60)
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
        ("h:1 two 0", "invalid literal for int() with base 10: 'two'"),
        ("h 2 0", "`--coordinator` must be HOST:PORT; got h"),
        ("h:70000 2 0", "`--coordinator` must be HOST:PORT; got h:70000"),
        ("h:² 2 0", "`--coordinator` must be HOST:PORT; got h:²"),
        ("h:1 2 ²", "invalid literal for int() with base 10: '²'"),
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


@pytest.mark.slow
def test_processes_that_count_themselves_differently_say_so_and_end(tmp_path):
    ends = [p.end(120) for p in pair(tmp_path / "run", other_words=("--num-processes", "3"))]
    assert [code for code, _, _ in ends] == [2, 2], ends
    assert (
        "`--num-processes` must be the same in all processes; got 3 in process 1 and 2 in "
        "process 0." in ends[1][2]
    )
    assert "process 1 stopped: `--num-processes` must be the same" in ends[0][2]
    assert not any("Traceback" in err for _, _, err in ends)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["pmap", "shard_map"])
def test_a_slow_compilation_of_one_process_is_waited_for(parallel, tmp_path):
    """Gloo gives up after 30 seconds."""
    ends = [p.end() for p in pair(tmp_path / "run", "--parallel", parallel, preludes=("", SLOW))]
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert ends[1][2].count("slowly") == 2


SLOW = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # which nohup ignores
from jax._src import compiler
compile_or_get_cached = compiler.compile_or_get_cached
def slowly(backend, computation, *args, **kwargs):
    name = str(computation.operation.attributes["sym_name"])
    if "jit__fun" in name or "jit_on_device" in name:  # pmap's and shard_map's
        print("slowly", file=sys.stderr)
        time.sleep(35)
    return compile_or_get_cached(backend, computation, *args, **kwargs)
compiler.compile_or_get_cached = slowly
"""


@pytest.mark.slow
def test_an_interrupted_process_ends_the_other_while_both_compile(tmp_path):
    started = pair(tmp_path / "run", preludes=("", SLOW))
    deadline = time.monotonic() + 120
    while "slowly" not in started[1].log[1].read_text() and time.monotonic() < deadline:
        time.sleep(0.1)
    started[1].popen.send_signal(signal.SIGINT)
    ends = [p.end(30) for p in started]
    assert [code for code, _, _ in ends] == [130, 130], ends
    assert ends[0][2].strip().splitlines()[-1] == "gpool: process 1 stopped: interrupted."
    assert ends[1][2].strip().splitlines()[-1] == "gpool: interrupted."
    assert not any("Traceback" in err for _, _, err in ends)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_process_0_listens_at_the_address_it_is_given(host):
    where = f"{host}:{free_port()}"
    assert processes._bind_address(where) == where


@pytest.mark.parametrize("host", ["localhost", "203.0.113.1", "some-service"])
def test_process_0_listens_everywhere_where_it_goes_by_another_name(host):
    assert processes._bind_address(f"{host}:{free_port()}") is None


def test_many_differences_are_a_few_and_a_number(monkeypatch):
    monkeypatch.setattr(processes, "from_first", lambda _: {str(i): i for i in range(50)})
    with pytest.raises(InputError, match=r"0: 0 -> 1; .* and 42 more\); all must") as error:
        processes.check_same("config", {str(i): i + 1 for i in range(50)}, plain.differences)
    assert len(str(error.value)) < 400


def test_a_port_that_is_taken_is_said_so():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} of this machine cannot be used"):
            processes.join(f"127.0.0.1:{port}", 2, 0)


def test_shares_of_processes_make_up_the_batches():
    data = position.prepare(SHORT).dataset.train.resident()
    whole = resident.ResidentFeed(data, batch_size=12, seed=3)
    shares = [
        resident.ResidentFeed(data, batch_size=12, seed=3, process_index=i, process_count=3)
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

    def key_value_set(self, name, value):
        if name in self.values:
            raise RuntimeError("ALREADY_EXISTS")
        self.values[name] = value

    def key_value_dir_get(self, folder):
        return [(n, v) for n, v in self.values.items() if n.startswith(folder)]


class Left(BaseException):
    """Instead of the end of the process."""


@pytest.fixture
def watch(monkeypatch):
    """Make a watchdog of one of two processes, whose end is an exception; and the store."""

    def end(code):
        raise Left(code)

    monkeypatch.setattr(watchdog.os, "_exit", end)
    monkeypatch.setattr(watchdog.Watchdog, "_signal", lambda *_: None)
    monkeypatch.setattr(watchdog.threading.Thread, "start", lambda _: None)
    monkeypatch.setattr(watchdog, "_PERIOD", 0.01)
    store = Store()

    def make(index):
        dog = watchdog.Watchdog("")
        dog.start(store, index, 2)
        return dog

    return make, store


def test_the_reason_of_another_is_handed_on_with_its_code(watch, capsys):
    make, store = watch
    with pytest.raises(Left, match="130"):
        make(1).leave(130, "interrupted.")
    assert capsys.readouterr().err == "gpool: interrupted.\n"
    with pytest.raises(Left, match="130"):
        make(0)._look_for_reason()
    assert capsys.readouterr().err == "gpool: process 1 stopped: interrupted.\n"
    # The first reason is kept, and process 0 knows that nobody reads any more.
    assert json.loads(store.values["gpool/reason/first"])["index"] == 1
    assert {"gpool/left/0", "gpool/left/1"} < set(store.values)


def test_process_0_leaves_the_others_time_to_read(watch, monkeypatch):
    make, _ = watch
    monkeypatch.setattr(watchdog, "FAREWELL", 0.3)
    started = time.monotonic()
    with pytest.raises(Left):
        make(0).leave(2, "a reason")
    assert 0.3 <= time.monotonic() - started < 3


def test_the_watch_is_shorter_than_a_minute():
    # JAX says that a process is dead within twice the patience.
    assert 2 * watchdog.PATIENCE + watchdog.FAREWELL < 60
