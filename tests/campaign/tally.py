"""What one part of the campaign tried, and what was not as promised; the table of all parts."""

import dataclasses
import datetime
import importlib.metadata
import os
import platform


@dataclasses.dataclass
class Tally:
    """The outcome of one part.

    Attributes:
      part: its name.
      promise: what must hold in every case.
      tried: cases.
      failed: cases that were not as promised.
      failures: a case, or cases that share an outcome, with the faults: enough to repeat it.
      notes: sentences about what the cases were, and how they were run.
    """

    part: str
    promise: str
    tried: int = 0
    failed: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    def add(self, case: str, faults: list[str], cases: int = 1) -> None:
        """Count cases that share an outcome, and say so at once if it is not as promised."""
        self.tried += cases
        if faults:
            self.failed += cases
            self.failures.append(f"{case}: {'; '.join(faults)}")
            print(f"NOT AS PROMISED {self.part}: {self.failures[-1]}", flush=True)


def how(command: str, seconds: float) -> str:
    """When, and by which command, a part was run."""
    return f"{datetime.date.today()}, {seconds / 60:.0f} minutes: `{command}`."


def to_markdown(tallies: list[Tally]) -> str:
    """The page: what was run, the table, and every failure."""
    lines = [
        "# What the program was put through",
        "",
        "The run: handwritten digits at 8 x 8 pixels, vgg5 at an eighth of its width, 60 steps of "
        "16 images, a validation every 3 steps. The best checkpoint is that of step 36, the last "
        "one that of step 60.",
        "",
        f"{_versions()}, on {platform.system()} {platform.release()} with {os.cpu_count()} CPU "
        "cores.",
        "",
        "| part | tried | as promised | not |",
        "|---|---|---|---|",
    ]
    for tally in tallies:
        good = tally.tried - tally.failed
        lines.append(f"| {tally.part} | {tally.tried} | {good} | {tally.failed} |")
    for tally in tallies:
        lines += ["", f"## {tally.part}", "", f"Promised: {tally.promise}"]
        lines += ["", *(f"- {note}" for note in tally.notes)] if tally.notes else []
        lines += ["", "Not as promised:", ""] if tally.failures else []
        lines += [f"- `{failure}`" for failure in tally.failures]
    return "\n".join(lines) + "\n"


def _versions() -> str:
    names = ("jax", "flax", "orbax-checkpoint", "numpy")
    found = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    return f"Python {platform.python_version()}, {found}"
