"""The benchmarks measure what they say: fair rounds, records that last, a check that can fail."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import check, profile, random_data, record
from benchmarks.machine import has_torch
from benchmarks.record import Record, Row
from benchmarks.suites import SUITES, load
from benchmarks.timing import Spread, alternate, speed_up

# Timing


def test_contenders_take_turns_and_warm_up_is_not_timed():
    called, ticks = [], itertools.count()
    calls = {name: lambda name=name: called.append(name) for name in ("a", "b")}
    seconds = alternate(calls, repetitions=3, warm_up=2, clock=lambda: float(next(ticks)))
    assert called == ["a", "a", "b", "b"] + ["a", "b"] * 3
    assert seconds == {"a": [1.0] * 3, "b": [1.0] * 3}


def test_a_short_call_is_timed_right_after_one_of_its_own():
    called, now = [], [0.0]

    def call(name, seconds):
        called.append(name)
        now[0] += seconds

    calls = {"short": lambda: call("short", 0.5), "long": lambda: call("long", 3.0)}
    seconds = alternate(calls, repetitions=2, warm_up=1, clock=lambda: now[0])
    assert called == ["short", "long"] + ["short", "short", "long"] * 2
    assert seconds == {"short": [0.5] * 2, "long": [3.0] * 2}


def test_the_ratio_is_taken_round_by_round():
    # Both slow down fourfold in the last round: the machine did, not a contender.
    found = speed_up([1.0, 1.0, 4.0], [2.0, 3.0, 8.0])
    assert found == Spread(median=2.0, low=2.0, high=3.0, count=3)


# Records


def _record(**speeds):
    rows = [Row("train", "small", "ours", Spread(1.0, 0.9, 1.2, 7), images=48, flops=1e9)]
    rows += [
        Row("train", "small", name, Spread(v, v, v, 7), speed_up=Spread(v, 0.9 * v, 1.1 * v, 7))
        for name, v in speeds.items()
    ]
    return Record({"cpu": "some"}, "python -m benchmarks train", rows)


def test_a_record_is_read_as_it_was_written(tmp_path):
    written = _record(torch=2.0)
    record.write(written, tmp_path / "deep" / "cpu.json")
    assert record.read(tmp_path / "deep" / "cpu.json") == written
    (tmp_path / "other.json").write_text(json.dumps({"rows": [{"suite": "a"}]}))
    with pytest.raises(ValueError, match="is not a result of"):
        record.read(tmp_path / "other.json")


def test_the_table_says_times_ratios_and_rates():
    text = record.table(_record(torch=2.0).rows)
    for cell in ("900 ms to 1.2 s", "2.00 (1.80 to 2.20)", "1 s", "small"):
        assert cell in text


def test_the_check_names_what_fell_by_more_than_15_percent(tmp_path, capsys):
    before, after = _record(tuned=1.0, reference=10.0), _record(tuned=0.86, reference=8.4)
    (line,) = check.slower(after, before)
    assert "8.40x reference" in line
    assert "was 10.00x" in line
    assert "16 % slower (ours 1 s, was 1 s)" in line
    paths = [tmp_path / "new.json", tmp_path / "old.json"]
    for path, own in zip(paths, (after, before), strict=True):
        record.write(own, path)
    words = [str(path) for path in paths]
    assert check.main(words) == 1
    assert check.main(words[::-1]) == 0  # faster is no complaint
    assert "8.40x" in capsys.readouterr().out


def test_a_check_of_nothing_is_no_pass(tmp_path, capsys):
    path = tmp_path / "a.json"
    record.write(_record(), path)
    assert check.main([str(path), str(path)]) == 2
    assert check.main([str(path), str(tmp_path / "none.json")]) == 2
    assert check.main([str(path)]) == 2
    assert "no case with the same contenders" in capsys.readouterr().err


def test_few_repetitions_and_unknown_suites_are_refused(capsys):
    for words in (["train", "--repetitions", "3"], ["trains"], []):
        with pytest.raises(SystemExit):
            command.main(words)
    assert "--repetitions must be at least 7; got 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--quick", "--repetitions", "0"], "--repetitions must be at least 1; got 0"),
        (["--only", "("], "--only must be a regular expression"),
        (["--out", "/dev/null/x.json"], "--out cannot be written"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_measured(
    words, message, capsys, monkeypatch
):
    monkeypatch.setattr(command, "load", lambda name: pytest.fail("measured"))
    with pytest.raises(SystemExit):
        command.main(["train", *words])
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_of_no_case_is_no_success(capsys):
    assert command.main(["train", "--quick", "--only", "no such case"]) == 2
    assert "no case matches 'no such case'" in capsys.readouterr().err


@pytest.mark.parametrize("quick", [True, False])
def test_cases_of_a_suite_have_names_of_their_own(quick):
    for name in SUITES:
        suite = load(name)
        cases = suite.cases(quick) if hasattr(suite, "cases") else []
        assert len({case.name for case in cases}) == len(cases)
        assert cases or hasattr(suite, "rows")
        for case in cases:
            contenders = [contender.name for contender in case.contenders]
            assert contenders[0] == "ours"
            assert len(set(contenders)) == len(contenders)


@pytest.mark.slow
def test_an_audit_and_the_scripts_beside_it_read_the_cell_alike():
    (case,) = load("audit").cases(True)
    read = {contender.name: contender.build()() for contender in case.contenders}
    assert read["script"] == read["script, network once"]
    assert read["ours"] == pytest.approx(read["script"], abs=0.1)
    assert read["ours"] > 0.2


@pytest.mark.slow
def test_a_run_writes_its_record(tmp_path, capsys):
    out = tmp_path / "out.json"
    words = ["attack", "--quick", "--no-isolated", "--repetitions", "2", "--out", str(out)]
    assert command.main(words) == 0
    found = record.read(out)
    assert found.command == "python -m benchmarks " + " ".join(words)
    others = ["torch-tuned", "torch-reference"] if has_torch() else []
    assert [row.contender for row in found.rows] == ["ours", *others]
    assert found.machine["matmul_peak"]["float32"] > 1e9
    ours = found.rows[0]
    assert ours.seconds.count == 2
    assert all(row.speed_up.median > 0 for row in found.rows[1:])
    assert ours.peak_share == pytest.approx(
        ours.flops / ours.seconds.median / found.machine["matmul_peak"]["float32"]
    )
    assert ours.case in capsys.readouterr().out


def test_random_images_are_not_zeros_and_their_splits_differ():
    data = random_data.scenes(3, (20, 30), num_classes=4)
    assert data.train.images.std() > 60
    assert (data.train.images != data.test.images).mean() > 0.9
    assert set(np.unique(data.test.labels)) == {0, 1, 2, 3}
    assert dataclasses.asdict(data)["mean"] == data.mean


# Profiles


def test_the_profile_names_what_a_fusion_holds():
    text = """HloModule jit_step, is_scheduled=true

%fused (p: f32[4,8], q: f32[8,2]) -> f32[4,2] {
  %p = f32[4,8]{1,0} parameter(0)
  %q = f32[8,2]{1,0} parameter(1)
  ROOT %dot.1 = f32[4,2]{1,0} dot(%p, %q), lhs_contracting_dims={1}
}

ENTRY %main (x: f32[4,8], y: f32[8,2]) -> f32[4,2] {
  %x = f32[4,8]{1,0} parameter(0)
  %y = f32[8,2]{1,0} parameter(1)
  %f = f32[4,2]{1,0} fusion(%x, %y), kind=kCustom, calls=%fused, metadata={op_name="jit(step)/a"}, backend_config={"fusion_config":{"kind":"__ynn_fusion"}}
  ROOT %n = f32[4,2]{1,0} negate(%f)
}
"""  # noqa: E501
    found = profile.operations(text)
    assert found["f"] == profile.Operation("YNNPACK: dot", "f32[4,2]", "jit(step)/a")
    assert found["n"].kind == "negate"
