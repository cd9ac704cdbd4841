"""`python -m tests.campaign`: run the parts, print the table, write the page."""

import argparse
import random
import shlex
import sys
import tempfile
import time
from pathlib import Path

from tests.campaign import damages, inputs, kills, processes, signals
from tests.campaign.place import Place
from tests.campaign.tally import to_markdown

# Each part, and the cases that it is committed with.
PARTS = {
    "kills": (kills, 100),
    "signals": (signals, 40),
    "damages": (damages, 400),
    "inputs": (inputs, 1000),  # all of the table
    "processes": (processes, 4),
}


def main(argv: list[str] | None = None) -> int:
    """Run what is asked for; 1 if anything was not as promised."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    for name, (_, count) in PARTS.items():
        parser.add_argument(f"--{name}", type=int, default=count, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workdir", type=Path, help="by default a temporary folder")
    parser.add_argument("--out", type=Path, default=Path("docs/trust.md"))
    options = parser.parse_args(argv)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gpool-campaign-") as temporary:
        place = Place(options.workdir or Path(temporary))
        tallies = []
        for name in options.parts:
            count = getattr(options, name)
            tallies.append(PARTS[name][0].run(place, count, random.Random(options.seed)))
            print(f"{name}: {tallies[-1].tried} tried, {tallies[-1].failed} not as promised.")
    command = shlex.join(["python", "-m", "tests.campaign", *(argv or sys.argv[1:])])
    page = to_markdown(tallies, command, time.monotonic() - started)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(page)
    print(page)
    return int(any(tally.failed for tally in tallies))


if __name__ == "__main__":
    sys.exit(main())
