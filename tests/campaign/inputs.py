"""Bad inputs from the table `inputs.txt`: each is one line and exit code 2, and writes nothing."""

import itertools
import random
import re
import shlex
import shutil
from pathlib import Path

from tests.campaign import bad_files, judge
from tests.campaign.place import Ended, Place
from tests.campaign.shell import Shell
from tests.campaign.tally import Tally

TABLE = Path(__file__).with_name("inputs.txt")
# The usual words of a line of the table.
_SMALL = "--train.num-val 4 --eval.num-images 16"
WORDS = {
    "TRAIN": "train {config} --workdir {out}",
    "NPZ": f"train {{config}} --workdir {{out}} {_SMALL} --data.side None --data.source npz "
    "--data.path",
    "FOLDER": f"train {{config}} --workdir {{out}} {_SMALL} --data.source folder --data.path",
    "PIXELS": "train {files}/pixels.py --workdir {out} --data.path",
    "CONFIG": "train --workdir {out}",
    "EVALUATE": "evaluate {run} --workdir {out}",
    "RANK": "rank {run} --workdir {out}",
    "ATTACK": "attack {run} --workdir {out}",
    "WEIGHTS": "evaluate --model resnet18 --workdir {out} --weights",
}


def run(place: Place, count: int, rng: random.Random) -> Tally:
    tally = Tally(
        "inputs",
        "exit code 2, one line on stderr, nothing on stdout, nothing written.",
    )
    place.warm()
    files, out, empty = (place.folder / name for name in ("files", "written", "empty"))
    shutil.rmtree(files, ignore_errors=True)
    bad_files.write(files, place.reference)
    names = {"config": place.config, "run": place.reference, "files": files, "out": out}
    names |= {"work": empty, "other": files / "other_run"}
    lines = [case for line in TABLE.read_text().splitlines() for case in expand(line)]
    wrong, whole = [c for c in lines if not _expects(c)[0] == 0], 0
    chosen = set(wrong if count >= len(wrong) else rng.sample(wrong, count))
    empty.mkdir(exist_ok=True)
    with Shell(place, empty) as shell:
        for line in lines:
            code, rest = _expects(line)
            if line not in chosen and (code or count < len(wrong)):
                continue
            shutil.rmtree(out, ignore_errors=True)
            variables, words = _parse(rest, names)
            ended = place.run(*words, **variables) if variables else shell.run(*words)
            faults = _faults(ended, code, out, empty)
            whole += code == 0
            if code or faults:
                tally.add(line, faults)
    tally.notes.append(
        f"{whole} whole inputs of the same kinds were accepted: the others fail by what is bad."
    )
    return tally


def expand(line: str) -> list[str]:
    """The cases of a line: one for each choice of its <a|b>; none of a comment."""
    if not line.strip() or line.startswith("#"):
        return []
    parts = re.split(r"<([^<>]*\|[^<>]*)>", line)
    parts[1::2] = [part.split("|") for part in parts[1::2]]
    parts[::2] = [[part] for part in parts[::2]]
    return ["".join(choice) for choice in itertools.product(*parts)]


def _expects(line: str) -> tuple[int, str]:
    """The exit code that a case expects, and its other words."""
    found = re.match(r"((?:\w+=\S+ )*)(\d+) (.*)", line)
    return (int(found[2]), found[1] + found[3]) if found else (2, line)


def _parse(line: str, names: dict[str, Path]) -> tuple[dict[str, str], list[str]]:
    """Variables of the environment, and words."""
    variables = {}
    while found := re.match(r"([A-Z_0-9]+)=(\S+) (.*)", line):
        variables[found[1]], line = found[2], found[3]
    first, _, rest = line.partition(" ")
    text = f"{WORDS[first]} {rest}" if first in WORDS else line
    return variables, shlex.split(re.sub(r"{(\w+)}", lambda m: str(names[m[1]]), text))


def _faults(ended: Ended, code: int, out: Path, empty: Path) -> list[str]:
    if code == 0:
        return [f"exit code {ended.code}: {ended.err[-300:]!r}"] if ended.code else []
    faults = judge.one_line(ended, code)
    faults += [f"said on stdout: {ended.out[-200:]!r}"] if ended.out else []
    if any(ended.err.count(word) for word in ("Traceback", "weights_only")):
        faults.append("says what it should not")
    for folder in (out, empty):
        written = sorted(str(p.name) for p in folder.iterdir()) if folder.is_dir() else []
        faults += [f"wrote {', '.join(written)} in {folder.name}"] if written else []
    if out.exists():
        faults.append("made the folder")
    for path in empty.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return faults
