"""What a benchmark run leaves: rows, as JSON and as a table."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from benchmarks.timing import Spread


@dataclasses.dataclass(frozen=True)
class Row:
    """One contender at one case.

    Attributes:
      suite, case, contender: what was measured.
      seconds: of the work, or None if this row is not a time.
      images: that the work goes through.
      flops: operations of the plain network for the work.
      peak_share: achieved operations per second over the machine's measured peak.
      speed_up: of ours over this contender, round by round; None for ours.
      memory_mib: most memory of a process that does nothing else, beyond its imports.
      compile_cold, compile_cached: seconds that the first call takes longer than the
        second, with an empty cache of compiled programs and with a filled one.
      value, unit: of a row that is not a time.
      note: what else there is to say.
    """

    suite: str
    case: str
    contender: str
    seconds: Spread | None = None
    images: int = 0
    flops: float | None = None
    peak_share: float | None = None
    speed_up: Spread | None = None
    memory_mib: float | None = None
    compile_cold: float | None = None
    compile_cached: float | None = None
    value: float | None = None
    unit: str = ""
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Record:
    """A run of benchmarks: where, how, and the rows.

    Attributes:
      machine: from `machine.describe`, with the measured peaks.
      command: that was given.
      rows: in order.
    """

    machine: dict[str, Any]
    command: str
    rows: list[Row]


def write(record: Record, path: Path) -> None:
    """Write JSON; what is not known is left out."""

    def known(values: list[tuple[str, Any]]) -> dict[str, Any]:
        return {k: v for k, v in values if v is not None and v != ""}

    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [dataclasses.asdict(row, dict_factory=known) for row in record.rows]
    values = {"machine": record.machine, "command": record.command, "rows": rows}
    path.write_text(json.dumps(values, indent=1) + "\n")


def check_writable(path: Path) -> None:
    """Raise OSError where a record could not be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    path.open("a").close()
    if is_new:
        path.unlink()


def read(path: Path) -> Record:
    """Read what `write` wrote.

    Raises:
      ValueError: if it is something else.
    """
    try:
        values = json.loads(path.read_text())
        rows = [_row(row) for row in values["rows"]]
        return Record(values["machine"], values["command"], rows)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a result of `python -m benchmarks`: {error!r}") from None


def _row(values: dict[str, Any]) -> Row:
    spreads = {k: Spread(**values[k]) for k in ("seconds", "speed_up") if k in values}
    return Row(**{**values, **spreads})


def format_seconds(value: float) -> str:
    """A time with three figures."""
    return f"{value:.3g} s" if value >= 1 else f"{1e3 * value:.3g} ms"


def format_range(spread: Spread | None) -> str:
    """The extremes of a time."""
    if spread is None:
        return ""
    return f"{format_seconds(spread.low)} to {format_seconds(spread.high)}"


def format_ratio(spread: Spread | None) -> str:
    """A ratio with its extremes."""
    return "" if spread is None else f"{spread.median:.2f} ({spread.low:.2f} to {spread.high:.2f})"


HEADER = (
    "case", "contender", "median", "min to max", "n", "ours is faster by", "GFLOP/s", "of peak",
    "memory", "compile cold / cached",
)  # fmt: skip


def lines(rows: list[Row]) -> list[tuple[str, ...]]:
    """Cells of a table, one line per row."""
    return [
        (
            row.case,
            row.contender,
            format_seconds(row.seconds.median) if row.seconds else f"{row.value:.4g} {row.unit}",
            format_range(row.seconds),
            str(row.seconds.count) if row.seconds else "",
            format_ratio(row.speed_up),
            f"{row.flops / row.seconds.median / 1e9:.0f}" if row.flops and row.seconds else "",
            f"{100 * row.peak_share:.0f} %" if row.peak_share else "",
            f"{row.memory_mib:.0f} MiB" if row.memory_mib else "",
            ""
            if row.compile_cold is None
            else f"{row.compile_cold:.1f} / {row.compile_cached:.1f} s",
        )
        for row in rows
    ]


def table(rows: list[Row]) -> str:
    """Plain text, a block per suite."""
    blocks = []
    for suite in dict.fromkeys(row.suite for row in rows):
        own = [row for row in rows if row.suite == suite]
        cells = [HEADER, *lines(own)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(HEADER))]
        text = [
            "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
            for line in cells
        ]
        notes = [f"{row.contender}: {row.note}" for row in own if row.note]
        blocks.append("\n".join([suite, *text, *dict.fromkeys(notes)]))
    return "\n\n".join(blocks)
