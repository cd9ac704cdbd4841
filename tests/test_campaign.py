"""The campaign in short: `python -m tests.campaign` puts the program through far more."""

import random
import re

import pytest

from tests.campaign import damages, inputs, judge, kills, processes, signals
from tests.campaign.place import Ended, Place
from tests.campaign.shell import Shell
from tests.campaign.tally import Tally, to_markdown


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("campaign"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "count"), [(kills, 4), (signals, 3), (damages, 12), (inputs, 30), (processes, 1)]
)
def test_a_handful_of_each_is_as_promised(place, part, count):
    tally = part.run(place, count, random.Random(0))
    assert tally.tried >= count
    assert tally.failures == []


def test_the_table_of_inputs_is_long_and_names_each_case_once():
    lines = inputs.TABLE.read_text().splitlines()
    cases = [case for line in lines for case in inputs.expand(line)]
    assert len(cases) == len(set(cases)) >= 300
    assert inputs.expand("a <b|c> d <e|'f g'>")[1] == "a b d 'f g'"
    first = next(case for case in cases if case.startswith("TRAIN"))
    names = dict.fromkeys(re.findall(r"{(\w+)}", inputs.TABLE.read_text()), "/x")
    variables, words = inputs._parse(f"A=1 B=/2 {first}", names | {"out": "/o", "config": "/c"})
    assert (variables, words[:4]) == ({"A": "1", "B": "/2"}, ["train", "/c", "--workdir", "/o"])
    assert inputs._expects("A=1 0 TRAIN x") == (0, "A=1 TRAIN x")
    assert inputs._expects("TRAIN 3") == (2, "TRAIN 3")


def test_what_is_not_as_promised_is_seen_and_printed():
    assert judge.one_line(Ended(2, "", "gpool: no.\n")) == []
    assert judge.spoken(Ended(0, "", "gpool: a warning.\n")) == []
    for ended in (
        Ended(0, "", ""),
        Ended(2, "", ""),
        Ended(2, "", "gpool: a\nb\n"),
        Ended(2, "", "x"),
    ):
        assert judge.one_line(ended)
    for ended in (Ended(1, "", "gpool: a.\n"), Ended(2, "", ""), Ended(0, "", "Traceback\n")):
        assert judge.spoken(ended)
    tally = Tally("kills", "nothing is lost.")
    tally.add("one", [])
    tally.add("two", ["it is lost"], cases=2)
    page = to_markdown([tally])
    assert "| kills | 3 | 1 | 2 |" in page
    assert "- `two: it is lost`" in page


@pytest.mark.slow
def test_a_shell_survives_what_kills_its_process(place):
    with Shell(place) as shell:
        assert shell.run("--version").code == 0
        shell._child.kill()
        shell._child.wait()
        assert shell.run("--version").code == -9
        assert shell.run("trian").lines[0].startswith("gpool: `command` must be one of")
