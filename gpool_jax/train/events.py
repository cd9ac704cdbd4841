"""Outputs of a training: metrics.jsonl, the progress bar."""

import json
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from gpool_jax import files
from gpool_jax.train import signals
from gpool_jax.train.writers import Writer

Item = TypeVar("Item")
_SHORT = 2.0  # seconds for which nothing need be shown


class Events:
    """Appends one JSON object per logged step, and tells further writers.

    Lines of steps after `first_step`, from a run that was killed after its last checkpoint,
    are dropped: no step is logged twice.

    Attributes:
      digest: of all lines as they were written, by any process; see `digest`. None if `known`,
        that of the lines up to `first_step`, is None.
    """

    def __init__(
        self,
        folder: Path,
        *,
        first_step: int = 0,
        writers: Writer | None = None,
        warn: Callable[[str], None] = print,
        known: int | None = 0,
    ):
        self._path = folder / "metrics.jsonl"
        # That of what was written, not of what is found: damage stays visible.
        self.digest = known
        lines = [e for e in read_events(folder, warn) if e["step"] <= first_step]
        files.write(self._path, _to_text(lines))
        self._writers = writers

    def write(self, step: int, values: dict[str, float]) -> None:
        """Log `values` for a step."""
        line = {"step": step, **values}
        files.append(self._path, _to_text([line]))
        self.digest = None if self.digest is None else digest([line], self.digest)
        if self._writers is not None:
            self._writers.write(step, values)

    def close(self, *, failed: bool = False) -> None:
        """Close the further writers, and tell them how the training ended."""
        if self._writers is not None:
            self._writers.close(failed=failed)


def digest(events: list[dict[str, Any]], before: int = 0) -> int:
    """A checksum of events, after others with the checksum `before`."""
    return zlib.crc32(_to_text(events).encode(), before)


def _to_text(events: list[dict[str, Any]]) -> str:
    return "".join(files.to_json(event, indent=None) for event in events)


def read_events(folder: Path, warn: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """Read metrics.jsonl: the lines that hold a step, but a last one that a kill cut short.

    `warn` receives a line about others that cannot be read.
    """
    path = Path(folder) / "metrics.jsonl"
    lines = path.read_bytes().split(b"\n") if path.is_file() else []
    events, damaged = [], []
    for number, line in enumerate(lines, 1):
        try:
            event = json.loads(line)
            events.append(event | {"step": int(event["step"])})
        except (ValueError, TypeError, KeyError, RecursionError):
            damaged.append(number)
    # The last piece is what follows the last line's end: nothing, or a line that was cut.
    damaged = [number for number in damaged if number < len(lines)]
    if damaged:
        warn(f"{path}: {len(damaged)} lines cannot be read and are left out, first {damaged[0]}.")
    return events


class Progress:
    """A progress bar over images or other units, with their rate and the time left, on stderr.

    Silent without tqdm (a bare accelerator machine); drawn every half minute without a
    terminal, and not before `delay` seconds.
    """

    def __init__(
        self,
        total_steps: int,
        first_step: int,
        batch_size: int,
        title: str,
        *,
        unit: str = "img",
        delay: float = 0.0,
    ):
        self._batch_size = batch_size
        try:
            from tqdm import tqdm
        except ImportError:
            self._bar = None
            return
        self._bar = tqdm(
            total=total_steps * batch_size,
            initial=first_step * batch_size,
            desc=title,
            unit=unit,
            delay=delay,
            unit_scale=True,
            mininterval=0.5 if sys.stderr.isatty() else 30.0,
            dynamic_ncols=True,
        )
        self._open = 0 if self._bar.disable else 1  # TQDM_DISABLE
        signals.open_bars += self._open

    def advance(self, steps: int) -> None:
        """Advance by a number of steps."""
        if self._bar is not None:
            self._bar.update(steps * self._batch_size)

    def note(self, **values: float) -> None:
        """Show the latest numbers beside the bar."""
        if self._bar is not None:
            self._bar.set_postfix({k: f"{v:.3g}" for k, v in values.items()}, refresh=False)

    def close(self) -> None:
        """Leave the finished bar on the screen."""
        if self._bar is not None:
            self._bar.close()
            signals.open_bars -= self._open
            self._open = 0


def track(items: Sequence[Item], title: str, *, unit: str = "batch") -> Iterator[Item]:
    """Go through `items`; in a terminal, a bar shows how many are done after two seconds.

    Elsewhere a line is written every half minute.
    """
    progress = Progress(len(items), 0, 1, title, unit=unit, delay=_SHORT)
    try:
        for item in items:
            yield item
            progress.advance(1)
    finally:
        progress.close()
