"""The page and the terminal's lines of an audit."""

from pathlib import Path
from typing import Any

from gpool_jax.report import pages
from gpool_jax.report.audit_figures import draw_audit, make_tuning
from gpool_jax.report.audit_result import Audited, AuditResult, Line
from gpool_jax.report.table import align

QUESTIONS = {
    "position": "How much position does the pooled vector carry?",
    "order": "Does the order of its channels carry it?",
    "removal": "What depends on the channels that carry it?",
    "erasure": "How is it removed?",
    "shift": "How do answers change when the input is shifted?",
}
HEADER = ("quantity", "how", "stage", "this network", "untrained", "chance", "images")


def render(result: AuditResult, folder: Path | None = None) -> str:
    """The page: self-contained, no network; of a folder, with links to its files."""
    return pages.render(
        "audit.html",
        draw_audit(result),
        heats=make_tuning(result),
        links=([], []) if folder is None else pages.list_links(folder),
        result=result,
        questions=QUESTIONS,
        tiles={network.name: tiles(network) for network in result.networks},
        header=HEADER,
        tables={network.name: tables(network) for network in result.networks},
    )


def tiles(network: Audited) -> list[tuple[str, str, str]]:
    """Four numbers: (title, value, beside it)."""
    wanted = (
        ("position, in order", ("position", "cell", "ordered")),
        ("position, sorted", ("position", "cell", "sorted")),
        ("content, sorted", ("content", "image", "sorted")),
    )
    found = []
    for title, key in wanted:
        own, twin = network.line(*key), network.line(*key, control="untrained")
        if own is not None:
            beside = f"untrained {format_value(twin)}" if twin is not None else "no untrained twin"
            found.append((title, format_value(own), beside))
    for quantity in ("answers changed", "latent distance"):
        moved = network.shift(quantity)
        if moved is not None:
            twin = network.shift(quantity, control="untrained")
            beside = f"untrained {format_value(twin)}" if twin is not None else ""
            return [*found, (f"{quantity}, {moved.condition}", format_value(moved), beside)]
    return found


def tables(network: Audited) -> dict[str, list[tuple[str, ...]]]:
    """Rows of every question's table."""
    twins = {_key(line): line for line in network.lines if line.control == "untrained"}
    found: dict[str, list[tuple[str, ...]]] = {}
    for line in network.lines:
        if line.control:
            continue
        twin = twins.get(_key(line))
        row = (
            line.quantity,
            line.condition,
            line.stage,
            format_interval(line),
            "-" if twin is None else format_interval(twin),
            "-" if line.chance is None else f"{100 * line.chance:.1f}",
            str(line.num_images),
        )
        found.setdefault(line.question, []).append(row)
    return found


def _key(line: Line) -> tuple[str, str, str, str]:
    return line.question, line.quantity, line.condition, line.stage


def format_value(line: Line) -> str:
    """A value in its unit: "78 %", "1.9 bits", "0.62"."""
    if line.value != line.value:
        return "-"
    if line.unit == "share":
        return f"{100 * line.value:.0f} %"
    return f"{line.value:.2f}{' bits' if line.unit == 'bits' else ''}"


def format_interval(line: Line) -> str:
    """A value with its 95 % interval: "78.1 (74.0 to 81.2) %"."""
    if line.value != line.value:
        return "-"
    factor, digits, unit = (100, 1, " %") if line.unit == "share" else (1, 2, "")
    unit = " bits" if line.unit == "bits" else unit
    value, low, high = (f"{factor * v:.{digits}f}" for v in (line.value, line.low, line.high))
    if line.unit == "correlation":
        return value
    return f"{value} ({low} to {high}){unit}"


def format_lines(result: AuditResult) -> str:
    """At most 25 lines for the terminal: a table of all networks, and the verdicts."""
    header = ("network", "cell: ordered", "sorted", "image: ordered", "sorted", "answers changed")
    rows: list[tuple[str, ...]] = [header]
    for network in result.networks:
        for control in ("", "untrained"):
            cells: list[Any] = [
                network.line(question, quantity, order, control=control)
                for question, quantity in (("position", "cell"), ("content", "image"))
                for order in ("ordered", "sorted")
            ]
            if any(cells):
                name = network.name if not control else "  untrained"
                shown = [*cells, network.shift("answers changed", control=control)]
                rows.append((name, *("-" if x is None else format_value(x) for x in shown)))
    text = align(rows).split("\n")
    for network in result.networks:
        start = f"{network.name}: " if len(result.networks) > 1 else ""
        sentences = [f"{start}{sentence}" for sentence in network.verdicts.values()]
        text += ["", *sentences] if len(result.networks) <= 3 else []
    alone = result.networks[0].notes if len(result.networks) == 1 else []
    text += ["", *alone, *result.notes]
    return "\n".join(text[:25])
