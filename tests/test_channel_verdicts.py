"""What is concluded about removed channels, from numbers made by hand."""

import dataclasses

import numpy as np
import pytest

from gpool_jax.experiments.channels.verdicts import conclude, holm
from gpool_jax.report.channel_result import Removal

NUMBER = Removal(
    ranking="gate", region="overall", action="zero", count=4, measured="overall", measure="drop",
    versus=None, quantity="head", title="recognition", value=0.2, low=0.1, high=0.3, chance=None,
    num_images=500, num_draws=1, num_classes=None, p=1e-6,
)  # fmt: skip
FILLS = ("zero", "mean")


def _numbers(region="overall", quantity="head", title="recognition", ranking="gate", **changed):
    """All parts of a ranking's comparisons; `mean_random=(value, p)` changes one of them."""
    parts = []
    whole = region == "overall" or quantity != "head"
    place = {"measure": "drop", "measured": "overall"} if whole else {
        "measure": "selectivity", "measured": region}  # fmt: skip
    for fill in FILLS:
        for versus in (None, "random", f"matched to {ranking}", "class"):
            value, p = changed.get(f"{fill}_{(versus or 'alone').split(' ')[0]}", (0.2, 1e-6))
            parts.append(
                dataclasses.replace(
                    NUMBER, ranking=ranking, region=region, action=fill, versus=versus,
                    quantity=quantity, title=title, value=value, p=p, **place,
                )
            )  # fmt: skip
    return parts


def test_what_holds_under_every_fill_and_control_is_said_with_its_least_difference():
    notes = conclude(_numbers(mean_matched=(0.05, 1e-5)), FILLS, 4)
    assert "from 2 comparisons" in notes[0]
    assert notes[1:] == [
        "gate for overall, drop of recognition: more than with random and matched sets, by 5.0 "
        "points or more (p < 0.001).",
        "gate for overall, drop of recognition: more than with class channels, by 20.0 points or "
        "more (p < 0.001).",
    ]


@pytest.mark.parametrize(
    "part",
    [
        {"mean_random": (0.2, 0.4)},
        {"zero_matched": (0.2, 0.4)},
        {"mean_matched": (-0.2, 1e-6)},  # the other way round
        {"mean_alone": (0.001, 0.9)},  # beyond the controls, whose accuracy rose; costs nothing
    ],
)
def test_one_fill_or_control_that_does_not_agree_makes_it_indistinguishable(part):
    notes = conclude(_numbers(**part), FILLS, 4)
    assert notes[-1].startswith("Indistinguishable: gate for overall, drop of recognition (against")
    assert not any("more than with random" in note for note in notes)


def test_less_is_a_verdict_too():
    less = {f"{fill}_{name}": (-0.1, 1e-6) for fill in FILLS for name in ("random", "matched")}
    notes = conclude(_numbers(region="left", **less), FILLS, 4)
    assert (
        "gate for left, drop inside minus outside left of recognition: less than with random and "
        "matched sets, by 10.0 points or more (p < 0.001)." in notes
    )


def test_without_a_matched_set_nothing_is_said():
    numbers = [r for r in _numbers() if r.versus != "matched to gate" or r.action == "zero"]
    notes = conclude(numbers, FILLS, 4)
    assert notes[-1] == (
        "Not judged, for want of controls: gate for overall, drop of recognition (against random "
        "and matched sets)."
    )


def test_many_comparisons_are_corrected_together():
    """One of twenty at 4 % is what chance gives."""
    weak = {
        f"{fill}_{name}": (0.2, 0.01) for fill in FILLS for name in ("random", "matched", "class")
    }
    alone = conclude(_numbers(**weak), FILLS, 4)
    assert any("more than with random" in note for note in alone)
    others = [r for i in range(9) for r in _numbers(ranking=f"m{i}", zero_random=(0.1, 0.5),
                                                    zero_class=(0.1, 0.5))]  # fmt: skip
    many = conclude([*_numbers(**weak), *others], FILLS, 4)
    assert "from 20 comparisons" in many[0]
    assert not any("more than with random" in note for note in many)
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]).max() == 1.0


def test_probes_fitted_again_are_judged_and_controls_are_not():
    again = _numbers(quantity="location_refit", title="location, fitted again", region="left",
                     mean_random=(0.0, 0.9))  # fmt: skip
    controls = [dataclasses.replace(r, ranking=name, p=None) for r in _numbers()
                for name in ("random", "matched to gate", "class")]  # fmt: skip
    notes = conclude([*_numbers(), *again, *controls], FILLS, 4)
    assert "from 3 comparisons" in notes[0]
    assert notes[-1] == (
        "Indistinguishable: gate for left, drop of location, fitted again (against random and "
        "matched sets)."
    )
    assert conclude(controls, FILLS, 4) == []
