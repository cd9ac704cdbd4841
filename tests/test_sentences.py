"""Sentences on a comparison: the cell against its null, untrained networks once."""

import dataclasses
import types

import pytest

from gpool_jax.experiments.position import sentences
from gpool_jax.experiments.position.comparison import _cells_of_all, _once
from gpool_jax.report import Probe, Result, Row
from gpool_jax.report.result import CONTROLS


def probe(network, given, low, high, target="cell"):
    numbers = ((low + high) / 2, low, high, 0.11, 10, 90, 1)
    return Probe(network, "gap", given, "selected", target, *numbers)


def probes(network, *, by_size=(0.5, 0.6), code=(0.2, 0.3)):
    return [
        probe(network, "latent", 0.9, 1.0),
        probe(network, "sorted latent", *by_size),
        probe(network, CONTROLS[0], *code),
        probe(network, "latent", 0.4, 0.6, "class"),
        probe(network, "sorted latent", 0.2, 0.4, "class"),
    ]


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ((0.2, 0.3), "more than such a code keeps"),
        ((0.55, 0.65), "no more than such a code keeps."),
        ((0.7, 0.8), "less than such a code keeps."),
    ],
)
def test_position_survives_sorting_only_as_far_as_it_beats_the_null(code, verdict):
    (sentence,) = sentences.say_probes(probes("GAPNet, location", code=code))
    start = "GAPNet, location, latent in order -> sorted: cell 95 -> 55 %, class 50 -> 30 %; of the"
    assert sentence.startswith(start)
    assert f": {verdict}" in sentence


def test_results_without_a_null_say_no_verdict():
    old = [p for p in probes("GAPNet, location") if p.input != CONTROLS[0]]
    assert sentences.say_probes(old)[0].endswith("class 50 -> 30 %.")


def test_one_untrained_network_is_one_line():
    heads = ("GAPNet, location", "PermuteNet, recognition")
    lines = [p for head in heads for p in (*probes(head), *probes(f"untrained {head}"))]
    names = {f"untrained {head}": "untrained" for head in heads}
    found = _once(lines, names)
    assert list(dict.fromkeys(p.network for p in found)) == [heads[0], "untrained", heads[1]]
    assert len(found) == 3 * len(probes("x"))
    # Those of most seeds, where some heads are trained for fewer so far.
    last = f"untrained {heads[1]}"
    more = [dataclasses.replace(p, num_seeds=3) if p.network == last else p for p in lines]
    assert {p.num_seeds for p in _once(more, names) if p.network == "untrained"} == {3}
    # Another network, such as at another n, is another line.
    other = {f"untrained {head}": f"untrained, n = {n}" for n, head in enumerate(heads, 2)}
    assert len(_once(lines, other)) == len(lines)


def test_a_table_is_counted():
    def row(arm, low):
        return Row(arm, "location", "best", low + 0.1, low, low + 0.2, 0.25, 10, 90, 1, [0.5], [7])

    found = sentences.count_rows([row("a", 0.3), row("b", 0.2), row("c", 0.5)])
    assert found == ["Location: 2 of 3 arms are above chance; not shown to be so: b."]


def best(arm, task, accuracy, half=0.02):
    low, high = accuracy - half, accuracy + half
    return Row(arm, task, "best", accuracy, low, high, 0.25, 10, 90, 1, [accuracy], [7])


@pytest.mark.parametrize(
    ("kept", "lost", "verdict"),
    [
        (0.9, 0.3, "Yes,"),
        (0.3, 0.9, "Not shown by"),
        (0.51, 0.5, "Not shown by"),
        (0.26, 0.1, "Not shown by"),  # at chance
        (0.9, 0.25, "Not shown by these networks, as PermuteNet has learnt nothing yet"),
    ],
)
def test_the_answer_follows_the_intervals(kept, lost, verdict):
    rows = [best("GAPNet", "location", kept), best("PermuteNet", "location", lost)]
    (sentence,) = sentences.answer(rows)
    assert sentence.startswith(verdict)
    assert f"{100 * kept:.1f} %, without their order" in sentence
    rows += [best("GAPNet", "recognition", 0.8), best("PermuteNet", "recognition", 0.7)]
    assert sentences.answer(rows)[0].endswith("the class in 80.0 % and 70.0 % (chance 25.0 %).")


def test_without_both_heads_there_is_no_answer():
    assert sentences.answer([best("GAPNet", "location", 0.9)]) == []
    assert sentences.answer([best("GAPNet", "recognition", 0.9)]) == []


def test_a_permutenet_at_chance_that_recognises_has_learnt():
    rows = [best("GAPNet", "location", 0.9), best("PermuteNet", "location", 0.25)]
    rows += [best("GAPNet", "recognition", 0.8), best("PermuteNet", "recognition", 0.7)]
    assert sentences.answer(rows)[0].startswith("Yes,")


def test_the_caveat_and_the_untrained_network_come_before_the_trained_ones():
    found = sentences.say_probes([*probes("PermuteNet, location"), *probes("untrained")])
    starts = [sentence.split(",")[0] for sentence in found]
    assert starts == [found[0].split(",")[0], "untrained", "PermuteNet"]
    assert found[0].startswith("A PermuteNet learns slowly")


def test_cells_of_a_comparison_are_means_over_the_seeds_of_a_network():
    def member(name, cells):
        result = Result("t", {}, maps={"per_cell_of": name, "per_cell": cells})
        return types.SimpleNamespace(result=result)

    members = {
        "a-seed0": member("A", [[0.0, 1.0]]),
        "b-seed0": member("B", [[0.5, 0.5]]),
        "a-seed1": member("A", [[1.0, 0.5]]),
    }
    assert _cells_of_all(members) == {"per_cells": {"A": [[0.5, 0.75]], "B": [[0.5, 0.5]]}}
