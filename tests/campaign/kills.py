"""SIGKILL at random moments of a run's life, and aimed at its writes; then the same command."""

import contextlib
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

from tests.campaign import judge
from tests.campaign.place import Place, end
from tests.campaign.tally import Tally

# What is aimed at: the first moment at which a path of these is new, or has grown.
AIMS = {
    "a checkpoint being written": "checkpoints/*orbax-checkpoint-tmp*",
    "a part of a checkpoint": "checkpoints/*/state*/*",
    "a checkpoint being deleted": "checkpoints/.deleted-*",
    "sums": "checkpoint_sums/*",
    "a log line": "metrics.jsonl",
    "a file aside": ".*.tmp",
    "results": "results.json",
}


def run(place: Place, count: int, rng: random.Random) -> Tally:
    tally = Tally(
        "kills",
        "after SIGKILL the same command ends like a run that was never disturbed, bit for bit "
        "(checkpoints, log, results), without a word on stderr, and leaves no temporary files.",
    )
    folder, finished, aimed = place.folder / "killed", 0, 0
    life = place.warm()
    while tally.tried < count:
        shutil.rmtree(folder, ignore_errors=True)
        kills: list[str] = []
        faults: list[str] = []
        wanted = min(rng.randint(2, 8), count - tally.tried)
        while len(kills) < wanted:
            child = place.start(*place.words("train", folder, folder))
            if rng.random() < 0.6:
                how = _aim(child, folder, rng)
            else:
                how = _wait(child, rng.uniform(0.05, life))
            child.kill()
            ended = end(child)
            faults += [f"said {ended.err[-300:]!r}"] if ended.err else []
            if ended.code != -signal.SIGKILL:  # it came too late
                faults += [f"exit code {ended.code}"] if ended.code else []
                break
            kills.append(how)
        if kills or faults:
            ended = place.run(*place.words("train", folder, folder))
            faults += [f"exit code {ended.code}"] if ended.code else []
            faults += [f"said {ended.err[-300:]!r}"] if ended.err else []
            faults += judge.like(place.reference, folder)
            tally.add(f"killed at {', at '.join(kills)}", faults, max(len(kills), 1))
            finished += 1
            aimed += sum(not how.endswith(" s") for how in kills)
    tally.notes.append(
        f"{finished} finished runs, killed {tally.tried} times, {aimed} of them at a write."
    )
    shutil.rmtree(folder, ignore_errors=True)
    return tally


def _wait(child: subprocess.Popen[str], seconds: float) -> str:
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(seconds)
    return f"{seconds:.2f} s"


def _aim(child: subprocess.Popen[str], folder: Path, rng: random.Random) -> str:
    """Wait for the nth write of one kind, and a few milliseconds."""
    aim, nth, later = rng.choice(list(AIMS)), rng.randint(1, 6), rng.choice((0, 0, 0.002, 0.01))
    seen = _state(folder, AIMS[aim])
    while nth and child.poll() is None:
        found = _state(folder, AIMS[aim])
        nth -= bool(found - seen)
        seen |= found
        time.sleep(0.0003)
    time.sleep(later)
    return f"{aim} + {later * 1000:.0f} ms"


def _state(folder: Path, pattern: str) -> set[tuple[str, int]]:
    """What matches a pattern, with its age."""
    found = set()
    with contextlib.suppress(OSError):  # gone between the two looks
        for path in folder.glob(pattern):
            found.add((path.name, path.stat().st_mtime_ns))
    return found
