"""What commands print at their end: short, and what is left out is said."""

from pathlib import Path

import pytest

from gpool_jax.report import Result, Row, read_result
from gpool_jax.report.summary import MOST_LINES, format_summary

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
FOLDERS = sorted(path.parent for path in RESULTS.glob("**/results.json"))


def row(arm, checkpoint="best"):
    return Row(arm, "location", checkpoint, 0.5, 0.4, 0.6, 0.25, 10, 40, 1, [0.5], [7])


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: str(f.relative_to(RESULTS)))
def test_a_summary_is_short_and_holds_a_table(folder):
    result = read_result(folder)
    lines = format_summary(result).splitlines()
    assert len(lines) <= MOST_LINES
    assert all(note in lines for note in result.notes[:5])
    assert lines[-1].startswith("On the page, and with --tables: ")
    if result.rows:
        assert any(f"{100 * result.rows[-1].accuracy:.2f}" in line for line in lines)
        assert sum("best" in line for line in lines) == sum(
            row.checkpoint == "best" for row in result.rows
        )


def test_rows_of_the_best_checkpoint_alone_and_nothing_left_out():
    result = Result("title", {}, rows=[row("GAPNet", "step 7"), row("GAPNet")], notes=["A note."])
    lines = format_summary(result).splitlines()
    assert lines[0] == "A note."
    assert [line.split()[:3] for line in lines[2:]] == [
        ["task", "arm", "checkpoint"],
        ["location", "GAPNet", "best"],
    ]


def test_what_does_not_fit_is_counted():
    rows = [row(f"arm{i}") for i in range(40)]
    result = Result("title", {}, rows=rows, notes=[f"note {i}" for i in range(20)])
    lines = format_summary(result).splitlines()
    assert len(lines) == MOST_LINES
    notes = sum(line.startswith("note ") for line in lines)
    shown = sum("arm" in line for line in lines) - 1  # but for the header
    assert lines[-1] == (
        f"On the page, and with --tables: {20 - notes} more notes, {40 - shown} more lines."
    )


def test_a_ranking_names_its_channels():
    maps = {"scores": {"flip overall": [3.0, 2.0]}, "first_channels": {"flip overall": [41, 7]}}
    assert "flip overall  41 7" in format_summary(Result("title", {}, maps=maps))
