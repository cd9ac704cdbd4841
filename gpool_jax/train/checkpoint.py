"""Orbax behind a few verbs: save, load, load the latest or the best that can be read."""

import contextlib
import dataclasses
import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gpool_jax.errors import InputError, RunError

# Name of the score in the checkpoints' metadata, whatever the score is.
_SCORE = "accuracy"


@contextlib.contextmanager
def _as_one_process() -> Iterator[None]:
    """Let Orbax see one process only, in the one of several that has the checkpoints.

    The Checkpointer refuses its own option for this (`active_processes`): it makes its
    folder with all processes, and compares their paths at every save.
    """
    count = jax.process_count
    jax.process_count = lambda *_: 1
    try:
        yield
    finally:
        jax.process_count = count


@dataclasses.dataclass
class Checkpoints:
    """The checkpoints of one run: the latest `keep`, the best one, and those at milestones.

    Their folder is made when the first one is saved.
    """

    directory: Path
    keep: int = 2
    milestones: tuple[int, ...] = ()

    @_as_one_process()
    def __post_init__(self):
        """Open the folder; Orbax is imported here because it is slow to import."""
        from orbax.checkpoint import v1 as ocp

        policies = ocp.training.preservation_policies
        latest, best = policies.LatestN(self.keep), policies.BestN(get_metric_fn=_rank, n=1)
        kept = [latest, best, policies.CustomSteps(list(self.milestones))]
        self._checkpointer = ocp.training.Checkpointer(
            Path(self.directory).absolute(),
            preservation_policy=policies.AnyPreservationPolicy(kept),
        )

    @property
    @_as_one_process()
    def steps(self) -> list[int]:
        """Steps that have a checkpoint, ascending."""
        return sorted(c.step for c in self._checkpointer.checkpoints)

    @_as_one_process()
    def save(self, step: int, state: Any, score: float | None, *, feed: dict | None = None) -> None:
        """Write a checkpoint, completely or not at all.

        Args:
          step: its name.
          state: a tree of arrays, replicated if there are several devices.
          score: its validation number, higher is better; None between validations.
          feed: the position in the training data, as plain JSON; None if it follows
            from the step.

        Raises:
          RunError: if writing fails.
        """
        # NumPy copies: arrays under pmap may be local to this process.
        host = jax.tree.map(np.asarray, state)
        metrics = {_SCORE: -1.0 if score is None else float(score), "step": step}
        last = f"step {self.steps[-1]}" if self.steps else "none"
        try:
            # Overwrite: a truncated checkpoint that was passed over is written again.
            self._checkpointer.save(
                step,
                host,
                metrics=metrics,
                overwrite=step in self.steps,
                custom_metadata=None if feed is None else {"feed": feed},
            )
            self._write_sums(step)
        except Exception as error:  # whatever the file system or Orbax raises
            raise RunError(
                f"the checkpoint of step {step} could not be written to {self.directory}: "
                f"{_in_one_line(error, 300)}. The last good checkpoint is {last}; the same command "
                "goes on from there."
            ) from error

    @_as_one_process()
    def load(self, step: int, abstract: Any) -> Any:
        """Read the checkpoint of one step, with the structure of `abstract` (shapes suffice).

        Raises:
          InputError: naming the checkpoint, and its file that is missing, cut short or
            changed, or its array of another shape.
        """
        template = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), abstract)
        try:
            self._check_sums(step)
            loaded = self._checkpointer.load(step, template)
        except Exception as error:  # Orbax and TensorStore raise many kinds
            raise self._unreadable(step, error) from None
        # Orbax hands over arrays of other shapes than it was asked for.
        for (path, wanted), found in zip(
            jax.tree.leaves_with_path(template), jax.tree.leaves(loaded), strict=True
        ):
            if np.shape(found) != wanted.shape:
                raise InputError(
                    f"checkpoint {self.directory}/{step} is from another network than asked for: "
                    f"{jax.tree_util.keystr(path)} is {np.shape(found)}, not {wanted.shape}"
                )
        return loaded

    @_as_one_process()
    def load_feed(self, step: int) -> dict | None:
        """Read the position in the data that `save` was given, or raise an `InputError`."""
        try:
            return (self._checkpointer.metadata(step).custom_metadata or {}).get("feed")
        except Exception as error:  # Orbax raises many kinds
            raise self._unreadable(step, error) from None

    def _unreadable(self, step: int, error: Exception) -> InputError:
        reason = _in_one_line(error, 160)
        return InputError(f"checkpoint {self.directory}/{step} cannot be read: {reason}")

    def load_latest(self, abstract: Any, warn: Callable[[str], None]) -> tuple[int, Any] | None:
        """Read the newest readable checkpoint as (step, state); None if there is none at all.

        An `InputError` is raised if there are some but none can be read.
        """
        return self._load_first(self.steps[::-1], abstract, warn)

    @_as_one_process()
    def load_best(self, abstract: Any, warn: Callable[[str], None]) -> tuple[int, Any] | None:
        """Read the readable checkpoint of the highest score, the earliest of equals."""
        scored = [(-_rank(c.metrics), c.step) for c in self._checkpointer.checkpoints]
        return self._load_first([step for _, step in sorted(scored)], abstract, warn)

    def _load_first(
        self, steps: Sequence[int], abstract: Any, warn: Callable[[str], None]
    ) -> tuple[int, Any] | None:
        for step in steps:
            try:
                return step, self.load(step, abstract)
            except InputError as error:
                warn(f"{error}; trying another.")
        if steps:
            raise InputError(
                f"none of the checkpoints in {self.directory} can be read: {sorted(steps)}."
            )
        return None

    # Orbax finds a truncated file only while dozens of readers run, and abandons them
    # loudly. Sums written beside the checkpoints find it before that, and by name.

    def _paths(self, step: int) -> tuple[Path, Path]:
        """The file of a checkpoint's sums, and its folder."""
        directory = Path(self.directory)
        return directory.parent / "checkpoint_sums" / f"{step}.json", directory / str(step)

    def _write_sums(self, step: int) -> None:
        path, folder = self._paths(step)
        path.parent.mkdir(exist_ok=True)
        for old in path.parent.glob("*.json"):
            if int(old.stem) not in self.steps:
                old.unlink()
        files = sorted(f for f in folder.rglob("*") if f.is_file())
        sums = {str(f.relative_to(folder)): zlib.crc32(f.read_bytes()) for f in files}
        aside = path.with_suffix(".tmp")
        aside.write_text(json.dumps(sums, indent=1) + "\n")
        os.replace(aside, path)

    def _check_sums(self, step: int) -> None:
        path, folder = self._paths(step)
        if not path.exists():
            return  # killed between the two writes: the checkpoint itself is whole
        for name, expected in json.loads(path.read_text()).items():
            file = folder / name
            if not file.is_file() or zlib.crc32(file.read_bytes()) != expected:
                raise InputError(f"its file {name} is missing, cut short or changed")

    @_as_one_process()
    def close(self) -> None:
        """Finish what is being written."""
        self._checkpointer.close()


def _in_one_line(error: Exception, length: int) -> str:
    return " ".join(str(error).split())[:length] or type(error).__name__


def _rank(metrics: Any) -> float:
    """The score, lower for later steps: the choice must not depend on when a run stopped."""
    metrics = metrics or {}
    return float(metrics.get(_SCORE, -1.0)) - 1e-12 * float(metrics.get("step", 0))
