"""Many commands in one process: what a command costs is its own work, not the start of Python.

The child reads a command line as JSON, runs it as the console script would, and answers with the
exit code and all that was written to stdout and stderr, by libraries in C too.
"""

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.campaign.place import ROOT, Ended, Place

_SECONDS = 180
# Compiled programs are never let go of, and Linux allows a process 65,530 maps of memory.
_COMMANDS = 100


class Shell:
    """A child that runs commands; a context manager. One that died is started anew."""

    def __init__(self, place: Place, folder: Path | None = None):
        self._place, self._folder = place, folder or place.folder
        self._child: subprocess.Popen[str] | None = None
        self._errors = place.folder / "shell.err"
        self._commands = 0

    def __enter__(self) -> "Shell":
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child, self._commands = None, 0

    def run(self, *words: str | Path) -> Ended:
        """Run a command; a code of -9 says that it took too long or the process died."""
        if self._commands >= _COMMANDS:
            self.__exit__(None, None, None)
        self._commands += 1
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "tests.campaign.shell", str(self._errors)],
                env=self._place.environment | {"PYTHONPATH": str(ROOT)},
                cwd=self._folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        child = self._child
        with contextlib.suppress(BrokenPipeError):  # it is dead, and will not answer
            print(json.dumps([str(word) for word in words]), file=child.stdin, flush=True)
        answered = select.select([child.stdout], [], [], _SECONDS)[0]
        line = child.stdout.readline() if answered and child.stdout else ""
        if not line:
            self.__exit__(None, None, None)
            what = "the process died" if answered else f"no end in {_SECONDS} s"
            return Ended(-9, "", f"{what}: {self._errors.read_text(errors='replace')[-300:]}")
        return Ended(**json.loads(line))


def _serve() -> None:
    from gpool_jax.cli.main import main
    from gpool_jax.report import pages

    pages.to_png = lambda figure: b"\x89PNG"  # drawing a page takes seconds
    answers = os.fdopen(os.dup(1), "w")
    with tempfile.TemporaryFile("w+b") as out, open(sys.argv[1], "w+b") as err:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        for line in sys.stdin:
            for file in (out, err):
                file.seek(0)
                file.truncate()
            code = _call(main, json.loads(line))
            answer = {"code": code, "out": _content(out), "err": _content(err)}
            print(json.dumps(answer), file=answers, flush=True)


def _call(main: Any, words: list[str]) -> int:
    try:
        code = main(words)
    except SystemExit as stop:  # as Python itself does
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    return code


def _content(file: Any) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


if __name__ == "__main__":
    _serve()
