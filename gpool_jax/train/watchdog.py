"""Notices that another process has died, and ends this one with a line that says so.

A collective that waits for a dead process may never come back to Python, so this
is done by a thread. It beats a pulse in the store of JAX's coordination service,
which process 0 holds, and looks for the pulses of the others.
"""

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import threading
import time
from typing import Any, NoReturn

PERIOD = 1.0
# Seconds without a pulse; more than Python may be held up by a compilation or a disk.
PATIENCE = 25.0
# Of a process that ends with an error: the others shall read of it first.
FAREWELL = 5.0
FAILED = 2

_GO_ON = "the same command, started again on every machine, goes on from the last checkpoint."


class Watchdog:
    """One process's watch over the others.

    Args:
      client: of JAX's coordination service.
      index: of this process.
      count: of all processes.
      coordinator: "HOST:PORT" of the service.
    """

    def __init__(self, client: Any, index: int, count: int, coordinator: str):
        self._client, self._index, self._count = client, index, count
        self._coordinator = coordinator
        self._done = threading.Event()
        self._keep: Any = None

    def start(self) -> None:
        """Begin to watch."""
        if self._index:
            self._say_why_jax_aborts()
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def close(self) -> None:
        """All has gone well: no process is missed any more."""
        self._done.set()

    def leave(self, code: int, reason: str) -> NoReturn:
        """End this process at once, and the others with it.

        Args:
          code: exit code; 0 never.
          reason: what this process prints, and the others, too.
        """
        self._done.set()
        # The thread may find the progress bar half way in its line.
        start = "" if threading.current_thread() is threading.main_thread() else "\n"
        print(f"{start}gpool: {reason}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        with contextlib.suppress(Exception):
            note = json.dumps({"code": code, "reason": reason})
            self._client.key_value_set(f"gpool/left/{self._index}", note, allow_overwrite=True)
            # The service ends with process 0, and then the others can read no more.
            until = time.monotonic() + (FAREWELL if self._index == 0 else 0.0)
            while time.monotonic() < until and len(self._left()) < self._count:
                time.sleep(0.1)
        # No handlers at exit: JAX's would wait for processes that do not come.
        os._exit(code)

    def wait_for_verdict(self) -> None:
        """After an error that may be a peer's death: let the thread find out, and end this."""
        time.sleep(PATIENCE + 5 * PERIOD)

    def _left(self) -> dict[int, dict[str, Any]]:
        found = self._client.key_value_dir_get("gpool/left/")
        return {int(name.rsplit("/", 1)[1]): json.loads(note) for name, note in found}

    def _run(self) -> None:
        pulses = {other: ("", time.monotonic()) for other in range(self._count)}
        beat = 0
        while not self._done.wait(PERIOD):
            beat += 1
            try:
                name = f"gpool/alive/{self._index}"
                self._client.key_value_set(name, str(beat), allow_overwrite=True)
                found = dict(self._client.key_value_dir_get("gpool/alive/"))
                left = self._left()
            except Exception:  # as JAX raises it; the service is not there
                found, left = {}, {}
            now = time.monotonic()
            for other, (last, _) in list(pulses.items()):
                pulse = found.get(f"gpool/alive/{other}", last)
                if pulse != last or other == self._index:
                    pulses[other] = (pulse, now)
            self._judge(left, [o for o, (_, at) in pulses.items() if now - at > PATIENCE])

    def _judge(self, left: dict[int, dict[str, Any]], silent: list[int]) -> None:
        """End this process if another has failed or is silent."""
        if self._done.is_set():
            return
        for other, note in sorted(left.items()):
            if other != self._index:
                reason = note["reason"]
                said = reason if _GO_ON in reason else f"process {other} stopped: {reason}"
                self.leave(note["code"], said)
        if silent:
            names = " and ".join(f"process {other}" for other in silent)
            self.leave(FAILED, f"{names} of {self._count} died or cannot be reached; {_GO_ON}")

    def _say_why_jax_aborts(self) -> None:
        """Have our line as the last one where JAX ends a process that lost process 0.

        It aborts within milliseconds, from a thread of its own, after twenty lines
        that say how but not what to do.
        """

        def at_abort(_number: int) -> None:
            if self._done.is_set() or self._is_coordinator_there():
                return  # another abort: it goes its way
            line = f"\ngpool: process 0 of {self._count} died or cannot be reached; {_GO_ON}\n"
            os.write(2, line.encode())
            os._exit(FAILED)

        # Kept: the handler must outlive this call.
        self._keep = ctypes.CFUNCTYPE(None, ctypes.c_int)(at_abort)
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).signal(signal.SIGABRT, self._keep)

    def _is_coordinator_there(self) -> bool:
        host, _, port = self._coordinator.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
        except (OSError, ValueError):
            return False
        return True
