"""The table of a result, as text for the terminal."""

from gpool_jax.report.result import Probe, Result, Row


def format_row(row: Row) -> tuple[str, ...]:
    """Cells of one line of the table, in the order of `HEADER`."""
    return (
        row.task,
        row.arm,
        row.checkpoint,
        f"{100 * row.accuracy:.2f}",
        f"{100 * row.low:.2f} - {100 * row.high:.2f}",
        f"{100 * row.chance:.1f}",
        f"{row.num_images} x {row.num_predictions // row.num_images}",
        str(row.num_seeds),
    )


HEADER = ("task", "arm", "checkpoint", "accuracy %", "95 % interval", "chance", "n", "seeds")
PROBE_HEADER = ("network", "stage", "target", "chance", "latent", "permuted", "sorted")


def probe_lines(probes: list[Probe]) -> list[tuple[str, ...]]:
    """One line per (network, stage, target): the best probe of each input, in percent.

    "Best" is over the kinds of probe: each is a lower bound on what is there.
    """
    best: dict[tuple[str, str, str], dict[str, Probe]] = {}
    for probe in probes:
        line = best.setdefault((probe.network, probe.stage, probe.target), {})
        if probe.input not in line or probe.accuracy > line[probe.input].accuracy:
            line[probe.input] = probe
    lines = []
    for (network, stage, target), line in best.items():
        cells = [
            f"{100 * p.accuracy:.1f} ({100 * p.low:.1f} - {100 * p.high:.1f}) {p.probe}"
            for p in (line[name] for name in ("latent", "permuted latent", "sorted latent"))
        ]
        chance = f"{100 * next(iter(line.values())).chance:.1f}"
        lines.append((network, stage, target, chance, *cells))
    return lines


def format_table(result: Result) -> str:
    """The rows of a result under a header, columns aligned; then its probes."""
    text = _align([HEADER, *[format_row(row) for row in result.rows]])
    if result.probes:
        text += "\n\nRead-outs of the frozen network, best probe of each input:\n"
        text += _align([PROBE_HEADER, *probe_lines(result.probes)])
    return text


def _align(lines: list[tuple[str, ...]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
