"""The rules that sentences on findings are made by, on made-up intervals."""

import dataclasses
from pathlib import Path

import pytest

from benchmarks import finding_figures
from benchmarks.findings import audits, channels, heads, shift
from gpool_jax.report import Result, Row
from gpool_jax.report.audit_result import Audited, Line
from gpool_jax.report.channel_result import Removal

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


def line(low, high, question="position", quantity="cell", condition="ordered", control=""):
    value = (low + high) / 2
    numbers = (value, low, high, 0.25, 10, 1, [value])
    return Line(question, quantity, condition, "map", control, "share", *numbers)


def network(position, content, minus, *, cell=(0.8, 0.9), twin=(0.8, 0.9)):
    """A network whose twins say the same, but for the cell."""
    lines = []
    for control, cells in (("", cell), ("untrained", twin)):
        lines.append(line(*cells, control=control))
        for name, ends in (("position", position), ("content", content)):
            lines.append(line(*ends, "share", name, audits.SHARE, control))
        lines.append(line(*minus, "share", "content minus position", audits.SHARE, control))
        for name in audits._ERASED:
            lines.append(line(*cells, "erasure", "cell", name, control))
        lines.append(line(0.5, 0.7, "erasure", "answers kept", "erased", control))
    return Audited("net", "map", 8, 5, lines, {}, [], {}, [])


TRUE = network((0.1, 0.2), (0.4, 0.5), (0.2, 0.4))
REVERSED = network((0.4, 0.5), (0.1, 0.2), (-0.4, -0.2))
OPEN = network((0.3, 0.4), (0.3, 0.4), (-0.1, 0.1))


@pytest.mark.parametrize(
    ("networks", "words"),
    [
        ([TRUE, TRUE], "true of 2 of 2"),
        ([REVERSED], "reversed in 1 of 1"),
        ([OPEN, OPEN], "undecided in 2 of 2"),
        ([TRUE, OPEN], "true of 1, undecided in 1 of 2"),
        ([TRUE, REVERSED, OPEN], "true of 1, reversed in 1, undecided in 1 of 3"),
    ],
)
def test_the_claim_is_counted_network_by_network(networks, words):
    assert f"(the claim is {words})" in audits.order(networks)
    assert audits.rows(networks)[1][1].startswith(f"{words}: ")


def test_a_trained_network_is_more_only_where_intervals_do_not_meet():
    more = network((0, 1), (0, 1), (0, 1), twin=(0.5, 0.7))
    less = network((0, 1), (0, 1), (0, 1), cell=(0.1, 0.3))
    text = audits.survives([more, less, OPEN, OPEN])
    assert "more than its untrained twins in 1 of 4, less in 1, and in 2 they are indis" in text
    assert "above chance (25) in 3;" in text


def row(low, high, *, arm="PermuteNet", steps=400):
    middle = (low + high) / 2
    numbers = (middle, low, high, 0.25, 10, 40, 1, [middle], [steps])
    return Row(arm, "location", f"step {steps}", *numbers)


def test_chance_is_said_by_the_interval():
    assert heads.beyond_chance(row(0.251, 0.26)) == "above chance"
    assert heads.beyond_chance(row(0.24, 0.26)) == "indistinguishable from chance"
    assert heads.beyond_chance(row(0.2, 0.249)) == "below chance"


def test_an_accuracy_rises_only_beyond_the_interval_before():
    slow = Result("", {}, rows=[row(0.5, 0.6, steps=1600), row(0.45, 0.55, steps=400)])
    fast = Result("", {}, rows=[row(0.6, 0.7, steps=1600), row(0.45, 0.55, steps=400)])
    assert not heads.is_rising(slow, "PermuteNet", "location")
    assert heads.is_rising(fast, "PermuteNet", "location")
    assert heads.at_length(fast, "PermuteNet", "location").steps == [1600]


def test_three_seeds_are_few():
    # Mean 3, standard deviation 1, Student's factor 4.303 over the root of 3.
    assert shift.over_seeds([0.02, 0.03, 0.04]) == "+3.0 points (0.5 to 5.5)"
    text = "+3.0 points (-2.0 to 8.0, indistinguishable from 0)"
    assert shift.over_seeds([0.01, 0.03, 0.05]) == text


def drop(low, action="zero", versus="random"):
    facts = ("flip", "overall", action, 16, "overall", "drop", versus, "miou", "mean IoU")
    return Removal(*facts, low + 0.01, low, low + 0.02, None, 78, 1, 11)


def seeds(*removals):
    return [Result("", {}, removals=list(each), maps={"table_count": 16}) for each in removals]


BOTH = [drop(0.01), drop(0.02, "mean")]
MATCHED = [drop(0.01, versus="matched to flip"), drop(0.01, "mean", "matched to flip")]


@pytest.mark.parametrize(
    ("results", "words"),
    [
        (seeds(BOTH + MATCHED, BOTH + MATCHED), "more than random and matched ones"),
        (seeds(BOTH + MATCHED, BOTH), "more than random ones; no matched control under both fills"),
        (
            seeds(BOTH + [drop(-0.01, a, "matched to flip") for a in ("zero", "mean")]),
            "more than random ones, not more than matched ones",
        ),
        (seeds(BOTH, [drop(0.01), drop(-0.005, "mean")]), "no statement"),
        # A fill, or a seed, that was not measured is no agreement.
        (seeds([drop(0.01)]), "no statement"),
        (seeds(BOTH, []), "no statement"),
    ],
)
def test_a_removal_counts_in_every_seed_under_every_fill(results, words):
    assert channels.verdict(results, "flip") == words


def test_selectivity_is_named_only_where_it_holds():
    def selective(low, action):
        wanted = {"region": "left", "measured": "left", "measure": "selectivity"}
        return dataclasses.replace(drop(low, action), **wanted)

    held = seeds([selective(0.01, "zero"), selective(0.01, "mean")])
    assert "that holds for flip on the left alone, of 3" in channels.regions(held)
    open_ = seeds([selective(0.01, "zero"), selective(-0.01, "mean")])
    assert "that holds for no ranking and no side" in channels.regions(open_)


def test_figures_show_every_network_and_every_arm(tmp_path):
    finding_figures.draw_all(RESULTS, tmp_path)
    text = {path.stem: path.read_text() for path in tmp_path.glob("*.svg")}
    assert set(text) == {"position", "survival", "consistency", "removal"}
    for name in {net.name for net in audits.read(RESULTS)}:
        assert f">{name}<" in text["position"]
    for arm in ("baseline", "AugShift", "BlurPool-3"):
        assert f">{arm}<" in text["consistency"]
