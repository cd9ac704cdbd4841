"""Orbax behind few verbs: save, load, load the latest or the best that can be read."""

import dataclasses
import functools
import json
import logging
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gpool_jax.errors import InputError, RunError

METRIC = "accuracy"


def _as_one_process(method: Callable) -> Callable:
    """Let Orbax see one process, in the one of several that has the checkpoints.

    Its own option for this (`active_processes`) is refused by the Checkpointer, which
    makes its folder with all processes, and compares their paths at every save.
    """

    @functools.wraps(method)
    def alone(*args: Any, **kwargs: Any) -> Any:
        count = jax.process_count
        jax.process_count = lambda *_: 1
        try:
            return method(*args, **kwargs)
        finally:
            jax.process_count = count

    return alone


@dataclasses.dataclass
class Checkpoints:
    """The checkpoints of one run: the latest few, the best one, and milestones.

    Attributes:
      directory: made when the first checkpoint is saved.
      keep: latest checkpoints kept.
      milestones: steps kept for good.
    """

    directory: Path
    keep: int = 2
    milestones: tuple[int, ...] = ()

    @_as_one_process
    def __post_init__(self):
        """Open the folder; Orbax is imported here, for it is slow to import."""
        from orbax.checkpoint import v1 as ocp

        logging.getLogger("absl").setLevel(logging.ERROR)
        policies = ocp.training.preservation_policies
        self._checkpointer = ocp.training.Checkpointer(
            Path(self.directory).absolute(),
            preservation_policy=policies.AnyPreservationPolicy(
                [
                    policies.LatestN(self.keep),
                    policies.BestN(get_metric_fn=_score, n=1),
                    policies.CustomSteps(list(self.milestones)),
                ]
            ),
        )

    @property
    @_as_one_process
    def steps(self) -> list[int]:
        """Steps that have a checkpoint, ascending."""
        return sorted(c.step for c in self._checkpointer.checkpoints)

    @_as_one_process
    def save(
        self, step: int, state: Any, accuracy: float | None, *, feed: dict | None = None
    ) -> None:
        """Write a checkpoint, completely or not at all.

        Args:
          step: its name.
          state: a tree of arrays, replicated if there are several devices.
          accuracy: on the validation split (or another number that picks the best, the
            higher the better); None between validations.
          feed: where the training data stand, as plain JSON; None if the step says it.

        Raises:
          RunError: if writing fails.
        """
        # NumPy copies: arrays under pmap may be local to this process.
        host = jax.tree.map(np.asarray, state)
        metrics = {METRIC: -1.0 if accuracy is None else float(accuracy), "step": step}
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
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise RunError(
                f"the checkpoint of step {step} could not be written to {self.directory}: "
                f"{reason}. The last good checkpoint is {last}; the same command goes on from "
                "there."
            ) from error

    @_as_one_process
    def load(self, step: int, abstract: Any) -> Any:
        """Read the checkpoint of one step, with the structure of `abstract` (shapes suffice).

        Raises:
          InputError: naming it, and the file of it that is missing, cut short or changed,
            or the array that is not of the shape asked for.
        """
        template = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), abstract)
        try:
            self._check_sums(step)
            loaded = self._checkpointer.load(step, template)
        except Exception as error:  # Orbax and TensorStore raise many kinds
            reason = " ".join(str(error).split())[:160] or type(error).__name__
            raise InputError(
                f"checkpoint {self.directory}/{step} cannot be read: {reason}"
            ) from None
        # Orbax hands over arrays of other shapes than it was asked for.
        for (path, wanted), found in zip(
            jax.tree.leaves_with_path(template), jax.tree.leaves(loaded), strict=True
        ):
            if np.shape(found) != wanted.shape:
                raise InputError(
                    f"checkpoint {self.directory}/{step} is of another network than asked for: "
                    f"{jax.tree_util.keystr(path)} is {np.shape(found)}, not {wanted.shape}"
                )
        return loaded

    @_as_one_process
    def load_feed(self, step: int) -> dict | None:
        """What `save` was given as `feed`.

        Raises:
          InputError: naming the checkpoint, if it cannot be read.
        """
        try:
            return (self._checkpointer.metadata(step).custom_metadata or {}).get("feed")
        except Exception as error:  # Orbax raises many kinds
            reason = " ".join(str(error).split())[:160] or type(error).__name__
            raise InputError(
                f"checkpoint {self.directory}/{step} cannot be read: {reason}"
            ) from None

    def load_latest(self, abstract: Any, warn: Callable[[str], None]) -> tuple[int, Any] | None:
        """Read the newest checkpoint that can be read, as (step, state); None if there is none.

        Raises:
          InputError: if there are checkpoints but none can be read.
        """
        return self._load_first(self.steps[::-1], abstract, warn)

    @_as_one_process
    def load_best(self, abstract: Any, warn: Callable[[str], None]) -> tuple[int, Any] | None:
        """Read the readable checkpoint of the highest validation accuracy (earliest of equals)."""
        scored = [(-_score(c.metrics), c.step) for c in self._checkpointer.checkpoints]
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

    # Orbax finds a truncated file only while dozens of readers run, and abandons
    # them loudly. Sums written beside the checkpoints find it before, and by name.

    def _sums_path(self, step: int) -> Path:
        return Path(self.directory).parent / "checkpoint_sums" / f"{step}.json"

    def _write_sums(self, step: int) -> None:
        path = self._sums_path(step)
        path.parent.mkdir(exist_ok=True)
        for old in path.parent.glob("*.json"):
            if int(old.stem) not in self.steps:
                old.unlink()
        folder = Path(self.directory) / str(step)
        files = sorted(f for f in folder.rglob("*") if f.is_file())
        sums = {str(f.relative_to(folder)): zlib.crc32(f.read_bytes()) for f in files}
        aside = path.with_suffix(".tmp")
        aside.write_text(json.dumps(sums, indent=1) + "\n")
        os.replace(aside, path)

    def _check_sums(self, step: int) -> None:
        path, folder = self._sums_path(step), Path(self.directory) / str(step)
        if not path.exists():
            return  # killed between the two writes: the checkpoint itself is whole
        for name, expected in json.loads(path.read_text()).items():
            file = folder / name
            if not file.is_file() or zlib.crc32(file.read_bytes()) != expected:
                raise InputError(f"its file {name} is missing, cut short or changed")

    @_as_one_process
    def close(self) -> None:
        """Finish what is being written."""
        self._checkpointer.close()


class NoCheckpoints(Checkpoints):
    """Of a process that neither writes nor reads them: there are none."""

    def __init__(self):
        pass

    @property
    def steps(self) -> list[int]:
        """None."""
        return []

    def save(
        self, step: int, state: Any, accuracy: float | None, *, feed: dict | None = None
    ) -> None:
        """Nothing is written."""

    def close(self) -> None:
        """Nothing is open."""


def _score(metrics: Any) -> float:
    """Accuracy, and of equals the earlier: the choice must not depend on when a run stopped."""
    metrics = metrics or {}
    return float(metrics.get(METRIC, -1.0)) - 1e-12 * float(metrics.get("step", 0))
