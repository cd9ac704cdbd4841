"""Every table and figure of an attack shows every fill, older results included."""

import dataclasses
from pathlib import Path

import pytest

from benchmarks import channel_tables
from gpool_jax.report import Result, read_result
from gpool_jax.report.channel_figures import draw_removals
from gpool_jax.report.channel_result import NONE, Balance, Removal, table_actions
from gpool_jax.report.channel_tables import channel_blocks

COMMITTED = Path(__file__).parent.parent / "benchmarks" / "results"
NUMBER = Removal(
    ranking="gate", region="left", action="zero", count=2, measured="left", measure="value",
    versus=None, quantity="head", title="head", value=0.5, low=0.4, high=0.6, chance=None,
    num_images=8, num_draws=1, num_classes=None,
)  # fmt: skip


def _result(**maps):
    """A gate ranking for the left half, with every fill; drops and selectivities beside it."""
    nothing = dataclasses.replace(NUMBER, ranking=NONE, region="overall", action=NONE, count=0)
    removals = [dataclasses.replace(nothing, measured=m) for m in ("overall", "left")]
    for action in ("zero", "mean"):
        for measure, measured in (("value", "overall"), ("value", "left"), ("drop", "overall"),
                                  ("drop", "left"), ("selectivity", "left")):  # fmt: skip
            removals.append(
                dataclasses.replace(NUMBER, action=action, measure=measure, measured=measured)
            )
    return Result(
        "tiny", {}, maps={"table_count": 2, "num_channels": 16, **maps}, removals=removals
    )


def _titles(result):
    return [title for title, _, _ in channel_blocks(result)]


def test_every_table_and_figure_shows_every_fill():
    result = _result(table_actions=["zero", "mean"])
    titles = _titles(result)
    for start in ("head, whole", "Drop of head", "Region selectivity of head"):
        found = [title for title in titles if title.startswith(start)]
        assert [("zero" in title, "mean" in title) for title in found] == [
            (True, False),
            (False, True),
        ]
    captions = [caption for _, caption, _ in draw_removals(result)]
    assert [c for c in captions if "selectivity" in c] == [
        "Region selectivity: 2 of 16 channels set to zero.",
        "Region selectivity: 2 of 16 channels set to their mean.",
    ]


def test_older_results_show_the_one_fill_that_they_name():
    assert table_actions({}) == ["zero"]
    assert table_actions({"table_action": "mean"}) == ["mean"]
    titles = [t for t in _titles(_result(table_action="mean")) if t.startswith(("Drop", "Region"))]
    assert len(titles) == 2
    assert all("set to their mean" in title for title in titles)


@pytest.mark.parametrize(
    "path", sorted(COMMITTED.glob("channels_*/seed0")), ids=lambda p: p.parts[-2]
)
def test_committed_results_are_shown_as_before(path):
    titles = _titles(read_result(path))
    assert "Nothing removed, %" in titles
    assert any(title.startswith("Region selectivity") for title in titles)


def test_the_readmes_tables_hold_every_fill():
    results = [_result(table_actions=["zero", "mean"])]
    for table in (channel_tables.regions, channel_tables.selectivity):
        header, *lines = table(results, "head")
        assert [line[header.index("set to")] for line in lines] == ["zero", "mean"]
    results = channel_tables.read_seeds(COMMITTED / "channels_cifar10_location")
    header, *lines = channel_tables.curves(results, "head")
    assert {line[1] for line in lines} == {"-", "zero", "mean"}


def test_the_balance_of_matched_sets_is_printed():
    balances = [
        Balance("gate", "left", 8, 18, 2, 0.123, -0.2),
        Balance("flip", "left", 8, 0, 20, float("nan"), float("nan")),
    ]
    result = dataclasses.replace(_result(table_actions=["zero", "mean"]), balances=balances)
    ((_, header, lines),) = [b for b in channel_blocks(result) if b[0].startswith("Balance")]
    assert header[2:] == ("log mean", "log variance", "matched sets", "refused")
    assert lines == [
        ("gate", "left", "+0.12", "-0.20", "18", "2"),
        ("flip", "left", "-", "-", "0", "20"),
    ]


def test_probes_are_shown_as_fitted_before_and_fitted_again():
    def probe(ranking, action, quantity, value):
        return dataclasses.replace(
            NUMBER,
            ranking=ranking,
            region="overall",
            action=action,
            count=0 if ranking == NONE else 2,
            measured="overall",
            quantity=quantity,
            value=value,
        )

    values = {
        (NONE, NONE): (0.68, 0.66),
        ("random", "zero"): (0.36, 0.65),
        ("random", "mean"): (0.50, 0.65),
    }
    probes = [
        probe(*key, name, value)
        for key, pair in values.items()
        for name, value in zip(("location", "location_refit"), pair, strict=True)
    ]
    result = _result(table_actions=["zero", "mean"])
    result = dataclasses.replace(result, removals=[*result.removals, *probes])
    ((_, header, lines),) = [b for b in channel_blocks(result) if b[0].startswith("Linear probes")]
    assert [column.removeprefix("location, ") for column in header[2:]] == [
        "as fitted before (zero)",
        "as fitted before (mean)",
        "fitted again",
    ]
    shown = [(line[0], *(cell.split()[0] for cell in line[2:])) for line in lines]
    assert shown == [("none", "68.0", "68.0", "66.0"), ("random", "36.0", "50.0", "65.0")]


def test_channels_matched_to_half_of_all_are_the_other_half_without_an_interval():
    result = _result()
    matched = dataclasses.replace(NUMBER, ranking="matched to gate", measured="overall")
    removals = [*result.removals, matched, dataclasses.replace(matched, count=8)]
    blocks = channel_blocks(dataclasses.replace(result, removals=removals))
    lines = next(lines for title, _, lines in blocks if title.startswith("head, whole image"))
    (line,) = (line for line in lines if line[0] == "matched to gate")
    assert line[2:4] == ("50.0 (40.0 to 60.0)", "50.0 (the other half)")
