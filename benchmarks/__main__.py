"""Benchmarks of gpool_jax, beside PyTorch where it is installed, in the same run.

python -m benchmarks SUITE ... --out FILE.json

Suites: accuracy, train, evaluate, rank, attack, audit, input, startup, scaling; or all.
"""

import argparse
import re
import shlex
import sys
from pathlib import Path

from benchmarks import isolated, record
from benchmarks.record import Record, Row
from benchmarks.suites import SUITES, load
from benchmarks.timing import Case, Spread, alternate, speed_up
from gpool_jax.train.allocator import keep_freed_memory

_FEWEST = 7


def main(words: list[str]) -> int:
    """Run suites, print their table, write their record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("suites", nargs="+", choices=(*SUITES, "all"), metavar="SUITE")
    parser.add_argument("--out", type=Path, help="file for the record")
    parser.add_argument("--repetitions", type=int, default=_FEWEST, help="timed rounds")
    parser.add_argument("--only", default="", help="regular expression that cases must match")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run?")
    parser.add_argument(
        "--no-isolated", action="store_true", help="leave out memory and compilation"
    )
    options = parser.parse_args(words)
    fewest = 1 if options.quick else _FEWEST
    if options.repetitions < fewest:
        parser.error(f"--repetitions must be at least {fewest}; got {options.repetitions}")
    try:
        re.compile(options.only)
        if options.out:  # before hours of work, not after
            record.check_writable(options.out)
    except re.error as error:
        parser.error(f"--only must be a regular expression: {error}")
    except OSError as error:
        parser.error(f"--out cannot be written: {error}")
    # Both sides profit; before JAX makes its threads.
    keep_freed_memory()
    from benchmarks import machine

    suites = SUITES if "all" in options.suites else tuple(dict.fromkeys(options.suites))
    peaks = {name: machine.matmul_peak(name) for name in ("float32", "bfloat16")}
    described = machine.describe() | {"matmul_peak": peaks}
    command = shlex.join(["python", "-m", "benchmarks", *words])
    rows: list[Row] = []
    for name in suites:
        suite, own = load(name), []
        if hasattr(suite, "rows"):
            own += [row for row in suite.rows(options.quick) if re.search(options.only, row.case)]
        for case in suite.cases(options.quick) if hasattr(suite, "cases") else ():
            if re.search(options.only, case.name):
                own += run_case(case, peaks, options)
        rows += own
        if own:
            print(f"\n{record.table(own)}", flush=True)
        if options.out:  # after every suite: a later one may fail
            record.write(Record(described, command, rows), options.out)
    if not rows:
        print(f"benchmarks: no case matches {options.only!r}", file=sys.stderr)
        return 2
    return 0


def run_case(case: Case, peaks: dict[str, float], options: argparse.Namespace) -> list[Row]:
    """Time the contenders of a case in turn."""
    print(f"{case.suite}: {case.name}", file=sys.stderr, flush=True)
    alone = {} if options.no_isolated else _alone(case, options.quick)
    calls = {contender.name: contender.build() for contender in case.contenders}
    rounds = alternate(calls, repetitions=options.repetitions)
    repeats = {contender.name: contender.repeats for contender in case.contenders}
    rounds = {name: [s / repeats[name] for s in values] for name, values in rounds.items()}
    first, flops = case.contenders[0].name, case.flops() if case.flops else None
    rows = []
    for name, values in rounds.items():
        seconds = Spread.of(values)
        share = flops / seconds.median / peaks[case.dtype] if flops else None
        rows.append(
            Row(
                suite=case.suite,
                case=case.name,
                contender=name,
                seconds=seconds,
                images=case.images,
                flops=flops,
                peak_share=share,
                speed_up=None if name == first else speed_up(rounds[first], values),
                **alone.get(name, {}),
            )
        )
    return rows


def _alone(case: Case, quick: bool) -> dict[str, dict]:
    """Memory and compilation of every contender, in processes of their own."""
    return {
        contender.name: isolated.measure(
            case.suite,
            case.name,
            contender.name,
            quick=quick,
            compiles=not contender.name.startswith("torch"),
        )
        for contender in case.contenders
        if contender.alone
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
