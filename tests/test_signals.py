"""Ctrl-C and SIGTERM end a command at once with one line, whatever it is doing."""

import functools
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tqdm

from gpool_jax.train import signals
from gpool_jax.train.events import Progress
from tests.helpers import slow_but_first

LINES = {signal.SIGINT: "interrupted.", signal.SIGTERM: "ended by SIGTERM."}
# A shell may have started the tests in the background, where SIGINT is ignored.
UNSHIELDED = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
# C code, during which Python runs no handler.
DEAF = "__import__('hashlib').pbkdf2_hmac('sha256', b'', b'', 10**9)"


@pytest.fixture
def start():
    """Start Python, and return once the program obeys signals."""
    children = []

    def start(*words: str) -> subprocess.Popen:
        command = [sys.executable, "-c", UNSHIELDED, *words]
        child = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        children.append(child)
        status, deadline = Path(f"/proc/{child.pid}/status"), time.monotonic() + 60
        while time.monotonic() < deadline:
            caught = next(x for x in status.read_text().splitlines() if x.startswith("SigCgt"))
            if int(caught.split()[1], 16) & 1 << signal.SIGTERM - 1:
                return child
            time.sleep(0.002)
        raise AssertionError("the program does not catch SIGTERM")

    yield start
    for child in children:
        child.kill()
        child.communicate()


@pytest.mark.parametrize(
    ("delay", "number"),
    slow_but_first(
        [
            *zip((0.0, 0.3, 0.8, 2.0), (signal.SIGINT, signal.SIGTERM) * 2, strict=True),
            *((0.4 * i, n) for i in range(1, 13) for n in LINES),
        ],
        quick=4,
    ),
)
def test_a_command_ends_at_once_with_one_line(start, tmp_path, delay, number):
    child = start("-m", "gpool_jax", "demo", "--workdir", str(tmp_path / "run"))
    time.sleep(delay)
    child.send_signal(number)
    started = time.monotonic()
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 128 + number, errors
    assert "Traceback" not in errors
    if "stopped by" not in errors:  # the training has not begun
        # But for the bar of a training whose first step is not compiled.
        assert [line for line in errors.splitlines() if line and "img/s]" not in line] == [
            f"gpool: {LINES[number]}"
        ]
        assert time.monotonic() - started < 10


@pytest.mark.parametrize("number", LINES)
def test_not_even_a_compilation_delays_the_end(start, number):
    child = start("-c", f"from gpool_jax.train import signals; signals.obey(); {DEAF}")
    child.send_signal(number)
    _, errors = child.communicate(timeout=20)
    assert (child.returncode, errors) == (128 + number, f"gpool: {LINES[number]}\n")


TRAINING = f"""
import sys
from gpool_jax.train import signals
from gpool_jax.train.events import Progress
signals.obey()
with signals.note_signals() as received:
    print("ready", file=sys.stderr)
    while not received:
        pass
    print(*received, file=sys.stderr)
    {DEAF}
"""


def test_a_training_hears_the_first_and_the_second_ends_it_at_once(start):
    child = start("-c", TRAINING)
    assert child.stderr.readline() == "ready\n"
    child.send_signal(signal.SIGTERM)
    assert child.stderr.readline() == "15\n"
    assert child.poll() is None
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=20)
    assert (child.returncode, errors) == (130, "gpool: interrupted.\n")


@pytest.fixture
def heard():
    """SIGINT as Python starts with it, whatever runs the tests; nohup ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
def test_a_second_signal_reaches_the_handlers_of_a_caller_from_python():
    with signals.note_signals() as received:
        signal.raise_signal(signal.SIGINT)
        assert received == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_a_shell_ignores_stays_ignored():
    program = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    program += "from gpool_jax.train import signals\nsignals.obey()\nsignal.raise_signal(2)\n"
    words = [sys.executable, "-c", f"{program}print('goes on')"]
    assert subprocess.run(words, capture_output=True, text=True, timeout=60).stdout == "goes on\n"


@pytest.mark.parametrize("disable", [False, True])
def test_a_bar_that_is_not_drawn_is_not_ended_by_a_line(monkeypatch, disable):
    monkeypatch.setattr(tqdm, "tqdm", functools.partial(tqdm.tqdm, disable=disable))
    before = signals.open_bars
    bar = Progress(3, 0, 1, "title")
    assert signals.open_bars - before == (0 if disable else 1)
    for _ in range(2):
        bar.close()
        assert signals.open_bars == before
