"""Two commands at once in one folder, and disks that are full."""

import random
import resource
import shutil
import subprocess
import time
from pathlib import Path

from tests.campaign import judge
from tests.campaign.place import COMMANDS, Ended, Place, end
from tests.campaign.shell import Shell
from tests.campaign.tally import Tally

# Free bytes on the full disk: from none at all to all but the last file.
_ROOM = (0, 8_000, 60_000, 150_000, 250_000, 350_000, 450_000)
# Longest file, where no disk can be made full: a checkpoint, the page, or a log fails.
_LONGEST = (0, 1_000, 20_000, 100_000)


def run(place: Place, count: int, rng: random.Random) -> Tally:
    tally = Tally(
        "processes",
        "of two trainings in one folder one is refused in one line and the other ends like a run "
        "alone; measuring during a training never fails with a traceback; a full disk is one line "
        "and exit code 2, and with room the same command ends like a run that was never disturbed.",
    )
    place.warm()
    for number in range(count):
        _two_trainings(place, tally, rng, same_seed=number % 2 == 0)
    _measure_during_training(place, tally, max(count, 2))
    full = place.folder / "full"
    full.mkdir(exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(full)]).returncode:
        tally.notes.append("No small disk could be mounted: the length of files was limited.")
        _limit_files(place, tally, rng, count)
    else:
        try:
            _fill_disk(place, tally, full, rng, count)
        finally:
            subprocess.run(["umount", "-l", str(full)], check=True)
    return tally


def _two_trainings(place: Place, tally: Tally, rng: random.Random, *, same_seed: bool) -> None:
    folder = place.folder / "shared"
    shutil.rmtree(folder, ignore_errors=True)
    other = place.words("train", folder, folder) + ([] if same_seed else ["--seed", "1"])
    first = place.start(*place.words("train", folder, folder))
    # The first one holds the folder as soon as its lock has a line; before, nothing is promised
    # of which of the two wins, and another seed has no reference.
    while not same_seed and first.poll() is None and not (folder / ".lock").exists():
        time.sleep(0.01)
    delay = rng.uniform(0, 1)
    time.sleep(delay)
    ended = sorted((end(place.start(*other)), end(first)), key=lambda e: e.code)
    faults = judge.like(place.reference, folder)
    if ended[1].code == 0 and same_seed:  # the first had ended when the other began
        faults += [f"said {e.err!r}" for e in ended if e.err]
    else:
        faults += judge.one_line(ended[1]) + ([f"said {ended[0].err!r}"] if ended[0].err else [])
    tally.add(f"two trainings, {delay:.2f} s apart, {'one seed' if same_seed else 'two'}", faults)


def _measure_during_training(place: Place, tally: Tally, count: int) -> None:
    folder, out = place.folder / "shared", place.folder / "out"
    with Shell(place) as shell:
        shell.run(*place.words("evaluate", place.reference, out))  # compiles
        for _ in range(count):
            for path in (folder, out):
                shutil.rmtree(path, ignore_errors=True)
            child = place.start(*place.words("train", folder, folder))
            faults, measured = [], 0
            while child.poll() is None:
                ended = shell.run(*place.words("evaluate", folder, out))
                faults += judge.spoken(ended)
                measured += ended.code == 0
            ended = end(child)
            faults += [f"exit code {ended.code}, said {ended.err[-300:]!r}"] if ended.err else []
            faults += judge.like(place.reference, folder)
            faults += [] if measured else ["never measured"]
            tally.add(f"a training that is measured {measured} times", faults)


def _fill_disk(place: Place, tally: Tally, full: Path, rng: random.Random, count: int) -> None:
    with Shell(place) as shell:
        for command in COMMANDS * count:
            room = rng.choice(_ROOM)
            for path in full.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            filler = full / "filler"
            with filler.open("wb") as file:
                file.write(bytes(shutil.disk_usage(full).free - room))
            run_folder = full / "run" if command == "train" else place.reference
            words = place.words(command, run_folder, full / "out")
            # A training in a process of its own: what is abandoned speaks at the end of one.
            ended = place.run(*words) if command == "train" else shell.run(*words)
            case = f"{command}, {room} bytes free"
            faults = [] if ended.code == 0 and not ended.err else judge.one_line(ended)
            filler.unlink()
            again = shell.run(*words)
            tally.add(case, faults + _after(place, command, full / "out", again, run_folder))


def _limit_files(place: Place, tally: Tally, rng: random.Random, count: int) -> None:
    out, folder = place.folder / "out", place.folder / "shared"
    for command in COMMANDS * count:
        longest = rng.choice(_LONGEST)
        for path in (folder, out):
            shutil.rmtree(path, ignore_errors=True)

        def limit(longest: int = longest) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (longest, resource.RLIM_INFINITY))

        run_folder = folder if command == "train" else place.reference
        words = place.words(command, run_folder, out)
        ended = place.run(*words, prepare=limit)
        faults = [] if ended.code == 0 and not ended.err else judge.one_line(ended)
        again = place.run(*words)
        case = f"{command}, no file longer than {longest}"
        tally.add(case, faults + _after(place, command, out, again, run_folder))


def _after(place: Place, command: str, out: Path, again: Ended, run_folder: Path) -> list[str]:
    """Faults of the same command once there is room."""
    faults = [f"with room: exit code {again.code}, {again.err[-300:]!r}"] if again.err else []
    if command == "train":
        return faults + judge.like(place.reference, run_folder)
    known = place.folder / f"roomy-{command}"
    if not known.exists() and not faults:
        shutil.copytree(out, known)  # the first of its kind; later ones must be the same
    return faults or judge.honest(known, out, Ended(0, "", ""))
