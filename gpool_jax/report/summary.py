"""What a command prints at its end: sentences and one table, in at most `MOST_LINES` lines."""

from gpool_jax.report import table
from gpool_jax.report.channel_tables import channel_blocks
from gpool_jax.report.quantities import measurement_blocks
from gpool_jax.report.result import Result

MOST_LINES = 22  # the paths follow
_FIRST_NOTES = 5


def format_summary(result: Result) -> str:
    """The notes of a result and its main table; what is left out is said in the last line."""
    title, lines = _main_table(result)
    notes = list(result.notes)
    room = MOST_LINES - 3 - bool(title)
    # The first sentences, and as many more as the table leaves room for.
    shown_notes = notes[: max(_FIRST_NOTES, room - len(lines))]
    shown = lines[: max(2, room - len(shown_notes))]
    left_out = [
        f"{count} more {name}{'s' if count > 1 else ''}"
        for count, name in (
            (len(notes) - len(shown_notes), "note"),
            (len(lines) - len(shown), "line"),
        )
        if count > 0
    ]
    if _count_tables(result) > 1:
        left_out.append("other tables")
    parts = [*shown_notes]
    if lines:
        parts += ["", *([f"{title}:"] if title else []), *table.align(shown).split("\n")]
    if left_out:
        parts += ["", f"On the page, and with --tables: {', '.join(left_out)}."]
    return "\n".join(parts)


def _main_table(result: Result) -> tuple[str, list[tuple[str, ...]]]:
    """The title and the lines, header first, of the table that answers the command's question."""
    if "table" in result.maps:
        return "Accuracy by n, %", [tuple(line) for line in result.maps["table"]]
    if result.rows:
        best = [row for row in result.rows if row.checkpoint == "best"] or result.rows
        return "", [table.HEADER, *(table.format_row(row) for row in best)]
    if "first_channels" in result.maps:
        rankings = result.maps["first_channels"].items()
        named = [(name, " ".join(map(str, channels))) for name, channels in rankings]
        return "Channels ranked first", [("ranking", "channels"), *named]
    blocks = channel_blocks(result)
    if blocks:
        # The first says what there is with nothing removed, the second what removals leave.
        title, header, lines = blocks[min(1, len(blocks) - 1)]
        if len(blocks) > 1 and result.removals:
            title = f"{title}; nothing removed: {100 * result.removals[0].value:.1f}"
        return f"{title} (95 % interval)", [header, *lines]
    shifted = measurement_blocks(result.measurements)
    if shifted:
        title, header, lines = shifted[0]
        return f"Under shift, {title} (95 % interval)", [header, *lines]
    if result.probes:
        return "Probes, accuracy % (95 % interval)", table.probe_lines(result.probes)
    return "", []


def _count_tables(result: Result) -> int:
    return (
        bool(result.rows)
        + bool(result.probes)
        + ("first_channels" in result.maps)
        + len(channel_blocks(result))
        + len(measurement_blocks(result.measurements))
    )
