"""`python -m tests.campaign`: run the parts, print the table, write the page."""

import argparse
import dataclasses
import json
import random
import shlex
import sys
import tempfile
import time
from pathlib import Path

from tests.campaign import damages, inputs, kills, processes, signals
from tests.campaign.place import Place
from tests.campaign.tally import Tally, how, to_markdown

# Each part, and the cases that it is committed with.
PARTS = {
    "kills": (kills, 100),
    "signals": (signals, 40),
    "damages": (damages, 400),
    "inputs": (inputs, 1000),  # all of the table
    "processes": (processes, 4),
}


def main(argv: list[str] | None = None) -> int:
    """Run what is asked for, and write a page of all that was run in the working folder.

    Returns 1 if anything on it was not as promised.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    for name, (_, count) in PARTS.items():
        parser.add_argument(f"--{name}", type=int, default=count, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workdir", type=Path, help="by default a temporary folder")
    parser.add_argument("--out", type=Path, default=Path("docs/project/trust.md"))
    options = parser.parse_args(argv)
    command = shlex.join(["python", "-m", "tests.campaign", *(argv or sys.argv[1:])])
    with tempfile.TemporaryDirectory(prefix="gpool-campaign-") as temporary:
        place = Place(options.workdir or Path(temporary))
        for name in options.parts:
            started = time.monotonic()
            tally = PARTS[name][0].run(place, getattr(options, name), random.Random(options.seed))
            tally.notes.append(how(command, time.monotonic() - started))
            tallies = _with_earlier(place.folder / "tallies.json", tally)
            page = to_markdown(tallies)
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(page)
    print(page)
    return int(any(tally.failed for tally in tallies))


def _with_earlier(path: Path, tally: Tally) -> list[Tally]:
    """The parts that were run in this working folder, in their order; the newest of each."""
    known = json.loads(path.read_text()) if path.exists() else {}
    known[tally.part] = dataclasses.asdict(tally)
    path.write_text(json.dumps(known, indent=1))
    return [Tally(**known[name]) for name in PARTS if name in known]


if __name__ == "__main__":
    sys.exit(main())
