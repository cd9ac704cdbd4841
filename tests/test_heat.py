"""Tables of coloured cells: what they say, and that one scale holds for all."""

import numpy as np
import pytest

from gpool_jax.report import heat
from gpool_jax.report.result import Result


def figures(**maps):
    return heat.make_heats(Result(title="t", config={}, maps=maps))


def test_deviations_of_a_channel_have_its_eta_as_root_mean_square():
    tuning = np.array([[[0.0, 1.0], [2.0, 5.0]], [[70.0, 71.0], [72.0, 75.0]], [[7.0] * 2] * 2])
    found = heat.tuning_deviations(tuning, np.array([0.81, 0.04, 0.0]))
    np.testing.assert_allclose(np.sqrt((found**2).mean(axis=(1, 2))), [0.9, 0.2, 0.0])
    np.testing.assert_allclose(found.mean(axis=(1, 2)), 0, atol=1e-12)
    # Same shape, other strength: one scale tells them apart.
    np.testing.assert_allclose(found[0], 4.5 * found[1], atol=1e-12)


def test_tuning_names_channels_and_colours_below_and_above():
    (figure,) = figures(
        tuning=[[[0.0, 4.0], [4.0, 0.0]]], tuning_channels=[17], tuning_selectivity=[0.25]
    )
    (table,) = figure.heats
    assert table.title == "17: 0.25"
    assert table.rows[0] == ("", [("-0.5", -0.25), ("+0.5", 0.25)])


def test_cells_of_every_network_and_the_one_that_varies_most():
    flat, steep = [[0.5, 0.5], [0.5, 0.5]], [[0.25, 1.0], [0.5, 0.5]]
    (figure,) = figures(per_cell=flat, per_cell_of="A", per_cells={"A": flat, "B": steep})
    assert [table.title for table in figure.heats] == ["A", "B"]
    assert figure.heats[1].rows[0] == ("", [("25.0", 0.25), ("100.0", 1.0)])
    assert "differ most in B: from 25.0 to 100.0." in figure.caption
    (alone,) = figures(per_cell=steep, per_cell_of="B")
    assert alone.caption.endswith("B: from 25.0 to 100.0.")


def test_the_caption_names_the_most_frequent_confusion():
    confusion = [[0.9, 0.1, 0.0], [0.3, 0.7, 0.0], [0.0, 0.0, 1.0]]
    maps = {"confusion": confusion, "confusion_of": "net", "classes": ["cat", "dog", "car"]}
    (figure,) = figures(**maps)
    assert "dog taken for cat, 30.0 %" in figure.caption
    (table,) = figure.heats
    assert table.columns == ["", "cat", "dog", "car"]
    assert table.rows[1] == ("dog", [("30", 0.3), ("70", 0.7), ("0", 0.0)])
    (right,) = figures(confusion=np.eye(3).tolist(), confusion_of="net")
    assert "Nothing is taken for another" in right.caption


def test_of_many_classes_only_the_most_frequent_confusions_are_listed():
    confusion = np.eye(100)
    confusion[5, 5], confusion[5, 70] = 0.6, 0.4
    (figure,) = figures(confusion=confusion.tolist(), confusion_of="net")
    (table,) = figure.heats
    assert table.rows[0] == ("5 taken for 70", [("40.0", pytest.approx(0.4))])
    assert len(table.rows) == 1


def test_what_was_not_measured_is_a_dash():
    (figure,) = figures(per_cell=[[np.nan, 0.5], [1.0, 0.25]], per_cell_of="A")
    assert figure.heats[0].rows[0] == ("", [("-", 0.0), ("50.0", 0.5)])
    assert "from 25.0 to 100.0" in figure.caption
    assert figures(per_cell=[[np.nan]], per_cell_of="A") == []
