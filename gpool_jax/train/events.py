"""Outputs of a training: metrics.jsonl, TensorBoard, the progress bar."""

import json
import sys
from pathlib import Path
from typing import Any


class Events:
    """Appends one JSON object per logged step, and TensorBoard events if asked.

    Lines of steps after `first_step`, from a run that was killed after its last checkpoint,
    are dropped: no step is logged twice.
    """

    def __init__(self, folder: Path, *, first_step: int = 0, tensorboard: bool = False):
        self._path = folder / "metrics.jsonl"
        lines = [e for e in read_events(folder) if e["step"] <= first_step]
        self._path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        self._writer = None
        if tensorboard:
            from tensorboardX import SummaryWriter

            self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step + 1)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Log `values` for a step."""
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        for name, value in values.items():
            if self._writer is not None:
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush the event files."""
        if self._writer is not None:
            self._writer.close()


def read_events(folder: Path) -> list[dict[str, Any]]:
    """Read metrics.jsonl, without a last line that a kill cut short."""
    path = Path(folder) / "metrics.jsonl"
    events = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return events


class Progress:
    """A progress bar over images, with images/s and time left, on stderr.

    Silent without tqdm (a bare accelerator machine); drawn every half minute without a
    terminal.
    """

    def __init__(self, total_steps: int, first_step: int, batch_size: int, title: str):
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
            unit="img",
            unit_scale=True,
            mininterval=0.5 if sys.stderr.isatty() else 30.0,
            dynamic_ncols=True,
        )

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
