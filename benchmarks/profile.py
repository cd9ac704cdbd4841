"""Where the time of a benchmarked call goes, by kind of operation: our side, on a CPU.

python -m benchmarks.profile SUITE REGEX [--calls N] [--top N]

XLA's own trace of a few calls is joined with the compiled programs, which say what
each traced name is. Operations overlap, and tracing slows what is small: shares mean
more than sums. XLA's own convolutions hand their work to threads that are not
traced: what they take is most of the call's time less the sum.
"""

import argparse
import collections
import dataclasses
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.suites import SUITES

# What makes an operation more than a loop over elements, in a fusion's name.
_TELLING = ("convolution", "dot", "reduce", "concatenate", "transpose", "pad", "gather", "sort")
_LINE = re.compile(
    r"\s+(?:ROOT )?%?(?P<name>[\w.\-]+) = (?P<shape>\S+) (?P<op>[\w\-]+)\((?P<rest>.*)"
)


@dataclasses.dataclass(frozen=True)
class Operation:
    """One instruction of a compiled program.

    Attributes:
      kind: its opcode; of a fusion, what it fuses, and the library that runs it.
      shape: of its result.
      source: the end of its name in the traced function.
    """

    kind: str
    shape: str
    source: str


def operations(text: str) -> dict[str, Operation]:
    """Every instruction of a program in HLO text, by name."""
    computations: dict[str, list[re.Match]] = {}
    current: list[re.Match] = []
    for line in text.splitlines():
        header = re.match(r"(?:ENTRY )?%?([\w.\-]+) \(.*\{$", line)
        if header:
            current = computations.setdefault(header[1], [])
        elif instruction := _LINE.match(line):
            current.append(instruction)
    found = {}
    for instruction in (line for lines in computations.values() for line in lines):
        kind, rest = instruction["op"], instruction["rest"]
        if kind == "fusion":
            called = re.search(r"calls=%?([\w.\-]+)", rest)
            inside = [line["op"] for line in computations[called[1]]] if called else []
            telling = [op for op in dict.fromkeys(inside) if op in _TELLING]
            library = "YNNPACK" if "__ynn_fusion" in rest else "loop"
            kind = f"{library}: {' + '.join(telling) or 'elementwise'}"
        source = re.search(r'op_name="([^"]*)"', rest)
        shape = instruction["shape"].split("{")[0]
        found[instruction["name"]] = Operation(kind, shape, source[1][-60:] if source else "")
    return found


def _traced(folder: str) -> Iterator[tuple[str, str, float]]:
    """(module, operation, seconds) of every traced event."""
    import jax

    (path,) = Path(folder).rglob("*.xplane.pb")
    for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
        for line in plane.lines:
            for event in line.events:
                told = dict(event.stats)
                if "hlo_op" in told:
                    yield str(told["hlo_module"]), str(told["hlo_op"]), event.duration_ns * 1e-9


def main(words: list[str]) -> int:
    """Print shares by kind, and the longest operations."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("suite", choices=SUITES, metavar="SUITE")
    parser.add_argument("only", metavar="REGEX", help="the first case that matches is profiled")
    parser.add_argument("--calls", type=int, default=5)
    parser.add_argument("--top", type=int, default=15)
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as programs, tempfile.TemporaryDirectory() as trace:
        dump = f" --xla_dump_to={programs} --xla_dump_hlo_as_text"
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + dump
        return _profile(options, programs, trace)


def _profile(options: argparse.Namespace, programs: str, trace: str) -> int:
    from gpool_jax.train.allocator import keep_freed_memory

    keep_freed_memory()
    import jax

    from benchmarks.suites import load

    suite = load(options.suite)
    cases = suite.cases(False) if hasattr(suite, "cases") else []
    case = next((c for c in cases if re.search(options.only, c.name)), None)
    if case is None:
        print(f"benchmarks: no case of {options.suite} matches {options.only!r}", file=sys.stderr)
        return 2
    call = case.contenders[0].build()
    for _ in range(3):
        call()
    started = time.perf_counter()
    for _ in range(options.calls):
        call()
    seconds = (time.perf_counter() - started) / options.calls
    settings = jax.profiler.ProfileOptions()
    settings.host_tracer_level, settings.python_tracer_level = 3, 0
    with jax.profiler.trace(trace, profiler_options=settings):
        for _ in range(options.calls):
            call()
    known = {}
    for path in Path(programs).glob("*cpu_after_optimizations.txt"):
        text = path.read_text()
        module = text.split(",", 1)[0].removeprefix("HloModule ")
        known |= {(module, name): found for name, found in operations(text).items()}
    kinds, single = collections.Counter[str](), collections.Counter[tuple[str, str]]()
    numbers = collections.Counter[str]()
    for module, name, taken in _traced(trace):
        kind = known[module, name].kind if (module, name) in known else "other"
        kinds[kind] += taken / options.calls
        numbers[kind] += 1
        single[module, name] += taken / options.calls
    print(f"{case.name}: {1e3 * seconds:.1f} ms a call; ms by kind of operation")
    for kind, taken in kinds.most_common(options.top):
        print(f"{1e3 * taken:9.2f}  {numbers[kind] // options.calls:5d} x  {kind}")
    print(f"{1e3 * sum(kinds.values()):9.2f}  all that is traced; the longest:")
    for key, taken in single.most_common(options.top):
        found = known.get(key, Operation("other", "", key[1]))
        print(f"{1e3 * taken:9.2f}  {found.kind}  {found.shape}  {found.source}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
