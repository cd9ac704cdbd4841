"""SIGINT and SIGTERM: a training saves and stops; anything else ends at once, with one line.

Python runs a signal's handler in its main thread, between two of its own instructions: not
during a compilation, which takes minutes. An exception raised by one is lost if it comes
while JAX collects garbage. So a command hears of signals in a thread, see `obey`.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

_WORDS = {signal.SIGINT: "interrupted.", signal.SIGTERM: "ended by SIGTERM."}
# How long the end waits for a reader of stdout who is slow.
_FLUSH_SECONDS = 1.0

# Progress bars that stand in a line of stderr that has not ended.
open_bars = 0
_obeying = False
# What the training that runs has been told.
_told: list[int] | None = None


def _leave(code: int, reason: str) -> None:
    flusher = threading.Thread(target=_flush, daemon=True)
    flusher.start()
    flusher.join(_FLUSH_SECONDS)
    # A terminal shows ^C in this line.
    start = "\n" if open_bars or os.isatty(2) else ""
    os.write(2, f"{start}gpool: {reason}\n".encode())
    os._exit(code)


def _flush() -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()


def obey(leave: Callable[[int, str], None] = _leave) -> None:
    """End this process at a signal from now on; with exit code 128 + the signal.

    For the first line of a program, in its main thread. `leave` takes the exit code and
    the line to end with, in a thread; called again, only `leave` changes.
    """
    global _obeying, _end
    _end = leave
    if _obeying:
        return
    _obeying = True
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in _WORDS:
        # `nohup` and shells that run a command in the background ignore it on purpose.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    threading.Thread(target=_listen, args=(read,), name="gpool-signals", daemon=True).start()


_end: Callable[[int, str], None] = _leave


def _listen(pipe: int) -> None:
    while True:
        for number in os.read(pipe, 64):
            if number in _WORDS and not _note(number):
                _end(128 + number, _WORDS[signal.Signals(number)])


def _note(number: int) -> bool:
    """Tell the training, unless there is none, or it has been told before."""
    if _told is None or _told:
        return False
    _told.append(number)
    return True


@contextlib.contextmanager
def note_signals() -> Iterator[list[int]]:
    """Collect the first SIGTERM or SIGINT in a list instead of obeying at once.

    A second one is obeyed. Does nothing but in the main thread.
    """
    global _told
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    previous: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def handle(number: int, _frame: object) -> None:
        if not _note(number):
            restore()
            signal.raise_signal(number)

    if not _obeying:  # called from Python: its handlers come back
        previous = {number: signal.signal(number, handle) for number in _WORDS}
    _told = received
    try:
        yield received
    finally:
        _told = None
        restore()
