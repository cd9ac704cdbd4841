"""SIGINT and SIGTERM from the first moments of a process to its end; then the same command."""

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

from tests.campaign import judge
from tests.campaign.place import Place, end
from tests.campaign.tally import Tally


def run(place: Place, count: int, rng: random.Random) -> Tally:
    tally = Tally(
        "signals",
        "SIGINT ends a command with exit code 130, SIGTERM with 143, with one line; 0 only if it "
        "had finished. The same command then ends like a run that was never disturbed.",
    )
    # What a shell ignores, as nohup does, children ignore too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = place.folder / "signalled"
    life = place.warm()
    # Even over the whole life, and once more over its first half.
    delays = [0.05 + life * i / count * (0.5 if i % 2 else 1.0) for i in range(count)]
    rng.shuffle(delays)
    early = 0
    while delays:
        shutil.rmtree(folder, ignore_errors=True)
        # Several to one run, which goes on from what the one before has saved.
        for _ in range(min(5, len(delays))):
            delay, number = delays.pop(), rng.choice((signal.SIGINT, signal.SIGTERM))
            child = place.start(*place.words("train", folder, folder))
            time.sleep(delay)
            begun, done = _has_begun(child), (folder / "results.json").exists()
            late = child.poll() is not None
            child.send_signal(number)
            ended = end(child)
            if late:  # nothing was told to stop: once more, sooner
                delays.append(0.7 * delay)
                break
            if done and ended.code == 0 and not ended.err:
                faults = []
            elif begun:
                faults = judge.one_line(ended, 128 + number)
            else:  # the interpreter starts: no line of the program has run
                early += 1
                faults = [] if ended.code else ["the signal was lost"]
            tally.add(f"{number.name} after {delay:.2f} s", faults)
        ended = place.run(*place.words("train", folder, folder))
        faults = [f"exit code {ended.code}"] if ended.code else []
        faults += [f"said {ended.err[-300:]!r}"] if ended.err else []
        faults += judge.like(place.reference, folder, stopped=True)
        if faults:
            tally.add("the same command after these signals", faults)
    tally.notes.append(
        f"{early} of them came before the first line of the program, while Python itself started: "
        "there it only has to end."
    )
    shutil.rmtree(folder, ignore_errors=True)
    return tally


def _has_begun(child: subprocess.Popen[str]) -> bool:
    """Tell whether the program has taken SIGTERM over, which Python does not (Linux)."""
    try:
        status = Path(f"/proc/{child.pid}/status").read_text()
    except OSError:
        return True
    caught = next((line.split()[1] for line in status.splitlines() if "SigCgt" in line), "0")
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)
