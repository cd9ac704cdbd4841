"""The tables of a result, as text for the terminal."""

from collections.abc import Sequence

from gpool_jax.report.channel_tables import channel_blocks
from gpool_jax.report.quantities import measurement_blocks
from gpool_jax.report.result import CONTROLS, INPUTS, Probe, Result, Row


def format_row(row: Row) -> tuple[str, ...]:
    """Format the cells of one line, in the order of `HEADER`."""
    return (
        row.task,
        row.arm,
        row.checkpoint,
        f"{100 * row.accuracy:.2f}",
        f"{100 * row.low:.2f} - {100 * row.high:.2f}",
        f"{100 * row.chance:.1f}",
        f"{row.num_images} x {row.num_predictions // row.num_images}",
        _seeds(row.num_seeds, row.per_seed),
    )


def _seeds(count: int, values: Sequence[float] = ()) -> str:
    """The number of seeds and their accuracies; of one, the interval is over images only."""
    if count == 1:
        return "1 (images only)"
    return f"{count}: {' '.join(f'{100 * v:.1f}' for v in values)}" if values else str(count)


HEADER = ("task", "arm", "checkpoint", "accuracy %", "95 % interval", "chance", "n", "seeds")


def probe_lines(probes: list[Probe]) -> list[tuple[str, ...]]:
    """Format one line per (network, stage, target): the selected probe of each input, in %.

    The first line is the header; results of earlier versions have no controls.
    """
    inputs = [*INPUTS, *(name for name in CONTROLS if any(p.input == name for p in probes))]
    groups: dict[tuple[str, str, str], dict[str, Probe]] = {}
    for probe in probes:
        if probe.probe == "selected":
            key = (probe.network, probe.stage, probe.target)
            groups.setdefault(key, {})[probe.input] = probe
    lines: list[tuple[str, ...]] = [
        ("network", "stage", "decoded", "chance", *inputs, "n", "seeds")
    ]
    for (network, stage, target), line in groups.items():
        first = line[INPUTS[0]]
        cells = [_accuracy(line.get(name)) for name in inputs]
        n = f"{first.num_images} x {first.num_predictions // first.num_images}"
        lines.append(
            (
                network,
                stage,
                target,
                f"{100 * first.chance:.1f}",
                *cells,
                n,
                _seeds(first.num_seeds),
            )
        )
    return lines


def _accuracy(probe: Probe | None) -> str:
    if probe is None:
        return "-"
    return f"{100 * probe.accuracy:.1f} ({100 * probe.low:.1f} - {100 * probe.high:.1f})"


def format_table(result: Result) -> str:
    """Format accuracies, channels, measurements under shift and probes, in aligned columns."""
    parts = []
    if "table" in result.maps:
        lines = [tuple(line) for line in result.maps["table"]]
        parts.append(f"Accuracy by n, % (95 % interval):\n{align(lines)}")
    if result.rows:
        parts.append(align([HEADER, *[format_row(row) for row in result.rows]]))
    for title, header, lines in channel_blocks(result):
        parts.append(f"{title} (95 % interval):\n{align([header, *lines])}")
    for title, header, lines in measurement_blocks(result.measurements):
        parts.append(f"Under shift, {title} (95 % interval):\n{align([header, *lines])}")
    if result.probes:
        parts.append(
            "Probes of the frozen network, accuracy % (95 % interval) by input:\n"
            + align(probe_lines(result.probes))
        )
    return "\n\n".join(parts)


def align(lines: list[tuple[str, ...]]) -> str:
    """Lines of cells as text, in columns."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
