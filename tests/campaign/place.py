"""Where the campaign works: the tiny run, and the command line in processes of their own."""

import dataclasses
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests import fusions

ROOT = Path(__file__).parent.parent.parent
CONFIG = """
from gpool_jax.config import *
config = PositionConfig(
    task="recognition",
    data=DataConfig(side=8),
    model=ModelConfig(name="vgg5", width=0.125),
    # A high rate: the best checkpoint lies in the middle, apart from the latest two.
    train=TrainConfig(steps=60, batch_size=16, eval_every=3, num_val=48, learning_rate=0.03),
    eval=EvalConfig(num_images=48, permutations=2, bootstrap=50),
    probe=ProbeConfig(enabled=False),
    rank=RankConfig(methods=("variance", "flip"), regions=("overall",), num_images=16, bootstrap=5),
    attack=AttackConfig(
        methods=("variance",), counts=(1, 4), random_draws=2, matched_draws=2, num_images=16,
        bootstrap=5, overlays=1,
    ),
)
"""
COMMANDS = ("train", "evaluate", "rank", "attack")


@dataclasses.dataclass(frozen=True)
class Ended:
    """A command that has ended: exit code (minus the signal it died of), output, seconds."""

    code: int
    out: str
    err: str
    seconds: float = 0.0

    @property
    def lines(self) -> list[str]:
        """The lines on stderr."""
        return [line for line in self.err.splitlines() if line.strip()]


class Place:
    """A folder with the config, the caches and the reference run."""

    def __init__(self, folder: Path):
        self.folder = folder.resolve()
        self.config = self.folder / "config.py"
        self.reference = self.folder / "reference"
        self._seconds = 0.0
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(CONFIG)
        # Little to compile, compiled once: the campaign is about files, not about numbers.
        self.environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "JAX_PLATFORMS": "cpu",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "XLA_FLAGS": fusions.WITHOUT,
            "JAX_COMPILATION_CACHE_DIR": str(self.folder / "xla"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "GPOOL_CACHE_DIR": str(self.folder / "cache"),
            "TQDM_DISABLE": "1",  # stderr holds what the program says, and nothing else
        }

    def words(self, command: str, run: Path, out: Path) -> list[str]:
        """The command line of a command on a run; `train` writes the run itself."""
        if command == "train":
            return ["train", str(self.config), "--workdir", str(run)]
        return [command, str(run), "--workdir", str(out)]

    def start(
        self, *words: str | Path, prepare: Callable[[], None] | None = None, **variables: str
    ) -> subprocess.Popen[str]:
        """Start a command as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "gpool_jax", *map(str, words)],
            env=self.environment | variables,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            preexec_fn=prepare,
        )

    def run(
        self, *words: str | Path, prepare: Callable[[], None] | None = None, **variables: str
    ) -> Ended:
        """Run a command as a process of its own, to its end."""
        started = time.monotonic()
        ended = end(self.start(*words, prepare=prepare, **variables))
        return dataclasses.replace(ended, seconds=time.monotonic() - started)

    def warm(self) -> float:
        """Train the reference run, once to fill the caches; return the seconds it then takes."""
        for _ in range(0 if self._seconds else 2):
            shutil.rmtree(self.reference, ignore_errors=True)
            ended = self.run(*self.words("train", self.reference, self.reference))
            if ended.code or ended.err:
                raise RuntimeError(f"the undisturbed run failed: {ended}")
            self._seconds = ended.seconds
        return self._seconds


def end(child: subprocess.Popen[str]) -> Ended:
    """Wait for the end of a process; one that hangs is killed, and its code says so."""
    try:
        out, err = child.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        child.kill()
        out, err = child.communicate()
    return Ended(child.returncode, out, err)
