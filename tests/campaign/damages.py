"""Every file of a finished run, damaged in every way; then each command on it."""

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.campaign import judge
from tests.campaign.place import COMMANDS, Place
from tests.campaign.shell import Shell
from tests.campaign.tally import Tally


def _flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def _change_digit(path: Path, rng: random.Random) -> None:
    text = path.read_text()
    place = rng.choice([found.start() for found in re.finditer(r"\d", text)])
    path.write_text(f"{text[:place]}{(int(text[place]) + 1) % 10}{text[place + 1 :]}")


def _put_folder(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


HARMS: dict[str, Callable[[Path, random.Random], object]] = {
    "cut": lambda path, rng: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "flipped": _flip,
    "emptied": lambda path, rng: path.write_bytes(b""),
    "deleted": lambda path, rng: path.unlink(),
    "a folder in its place": _put_folder,
}
JSON_HARMS: dict[str, Callable[[Path, random.Random], object]] = {
    "null": lambda path, rng: path.write_text("null"),
    "[]": lambda path, rng: path.write_text("[]"),
    "5": lambda path, rng: path.write_text("5"),
    "a digit changed": _change_digit,
}


def run(place: Place, count: int, rng: random.Random) -> Tally:
    tally = Tally(
        "damages",
        "no traceback; exit code 2 with a reason, or exit code 0 and either the numbers of the "
        "undamaged run, or a warning on stderr and a note in results.json.",
    )
    place.warm()
    run_folder, out = place.folder / "damaged", place.folder / "out"
    damages = _damages(place.reference)
    cases = [(*damage, command) for damage in damages for command in COMMANDS]
    chosen: list[tuple[str, str, str]] = []
    while len(chosen) < count:  # beyond all of them, again with other bytes
        chosen += rng.sample(cases, len(cases))
    with Shell(place) as shell:
        undamaged = {}
        for command in COMMANDS:
            _renew(place, run_folder, out)
            ended = shell.run(*place.words(command, run_folder, out))
            if ended.code or ended.err:
                raise RuntimeError(f"gpool {command} fails on an undamaged run: {ended}")
            undamaged[command] = place.folder / f"undamaged-{command}"
            shutil.rmtree(undamaged[command], ignore_errors=True)
            shutil.copytree(run_folder if command == "train" else out, undamaged[command])
        refused = 0
        for name, harm, command in chosen[:count]:
            _renew(place, run_folder, out)
            (HARMS | JSON_HARMS)[harm](run_folder / name, rng)
            ended = shell.run(*place.words(command, run_folder, out))
            faults = judge.spoken(ended)
            written = run_folder if command == "train" else out
            if ended.code == 0 and not faults:
                faults = judge.honest(undamaged[command], written, ended)
            refused += ended.code == 2
            tally.add(f"{command}, {name} {harm}", faults)
    tally.notes.append(
        f"{len(damages)} damages of {len(_files(place.reference))} files, and "
        f"{', '.join(COMMANDS)} on each: {tally.tried} cases of {len(cases)}. {refused} were "
        "refused with exit code 2."
    )
    return tally


def _renew(place: Place, run_folder: Path, out: Path) -> None:
    for folder in (run_folder, out):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(place.reference, run_folder)


def _files(run_folder: Path) -> list[Path]:
    return sorted(path for path in run_folder.rglob("*") if path.is_file())


def _damages(run_folder: Path) -> list[tuple[str, str]]:
    """Every file, by its path in the run, and every way to damage it."""
    found = []
    for path in _files(run_folder):
        name = str(path.relative_to(run_folder))
        found += [(name, harm) for harm in HARMS if path.stat().st_size or harm != "flipped"]
        if _is_json(path):
            found += [(name, harm) for harm in JSON_HARMS]
    return found


def _is_json(path: Path) -> bool:
    try:
        text = path.read_text()
        json.loads(text.partition("\n")[0] if path.suffix == ".jsonl" else text)
    except ValueError:
        return False
    return True
