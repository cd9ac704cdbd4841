"""Ends this process, with one line that says what to do, once another one has failed.

JAX's coordination service misses a process that died or cannot be reached, and aborts all
others, after twenty lines that say how but not what to do: a handler of SIGABRT adds ours
as the last one. A process that fails in Python leaves its reason in the service's store,
where a thread in each of the others looks for it.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
import time
from typing import Any, NoReturn

# Seconds without a heartbeat after which JAX gives up a process; its abort follows in seconds.
PATIENCE = 20
# Seconds that process 0, which holds the store, leaves the others to read a reason.
FAREWELL = 5.0

_DIED = (
    "JAX ended this process, most likely because another one died or cannot be reached; the "
    "same command, started again on every machine, goes on from the last checkpoint."
)
_PERIOD = 0.5
_REASON, _LEFT = "gpool/reason/", "gpool/left/"


class Watchdog:
    """Watches over the other processes, from before they are found until `close`.

    `unmet` is the line to end with if JAX gives up before all have been found.
    """

    def __init__(self, unmet: str):
        self._line, self._code = unmet, 2
        self._client: Any = None
        self._index = self._count = 0
        self._leaving, self._closed = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._look_for_reason, daemon=True)
        # Kept: the handler must outlive this call. One of Python's own would never run, for the
        # abort comes from a thread of C++.
        self._at_abort = ctypes.CFUNCTYPE(None, ctypes.c_int)(self._end)
        self._signal(self._at_abort)

    def start(self, client: Any, index: int, count: int) -> None:
        """Watch, now that all `count` have been found, by a client of JAX's service."""
        self._client, self._index, self._count = client, index, count
        self._line = _DIED
        self._thread.start()

    def close(self) -> None:
        """Stop watching, since all has gone well."""
        self._signal(ctypes.c_void_p(0))  # SIG_DFL
        self._closed.set()
        if self._thread.is_alive():
            # Python aborts if it ends while a thread is in C++.
            self._thread.join()

    def leave(self, code: int, reason: str) -> NoReturn:
        """End all processes at once, with an exit code that is not 0; each prints the reason."""
        self._leaving.acquire()  # never released: the first reason is the one that is given
        self._code, self._line = code, ""
        # The thread may find the progress bar half way in its line.
        start = "" if threading.current_thread() is threading.main_thread() else "\n"
        sys.stderr.write(f"{start}gpool: {reason}\n")
        sys.stdout.flush()
        sys.stderr.flush()
        with contextlib.suppress(Exception):  # refused where another was first
            note = {"index": self._index, "code": code, "reason": reason}
            self._client.key_value_set(f"{_REASON}first", json.dumps(note))
        with contextlib.suppress(Exception):
            self._client.key_value_set(f"{_LEFT}{self._index}", "")
            until = time.monotonic() + (FAREWELL if self._index == 0 else 0.0)
            while time.monotonic() < until:
                if len(self._client.key_value_dir_get(_LEFT)) == self._count:
                    break
                time.sleep(0.1)
        # No handlers at exit: JAX's would wait for processes that do not come.
        os._exit(code)

    def wait_for_verdict(self) -> None:
        """After an error that may come from another's death: wait until that would be known."""
        time.sleep(PATIENCE + 10)

    def _look_for_reason(self) -> None:
        while not self._closed.wait(_PERIOD):
            with contextlib.suppress(Exception):  # the service may be gone
                for _, text in self._client.key_value_dir_get(_REASON):
                    note = json.loads(text)
                    self.leave(note["code"], f"process {note['index']} stopped: {note['reason']}")

    def _signal(self, handler: Any) -> None:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).signal(signal.SIGABRT, handler)

    def _end(self, _number: int) -> None:
        if self._line:
            os.write(2, f"\ngpool: {self._line}\n".encode())
        os._exit(self._code)
