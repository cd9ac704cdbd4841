"""Orbax behind few verbs: save, load, load the latest or the best that can be read."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gpool_jax.errors import InputError, RunError

METRIC = "accuracy"


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

    def __post_init__(self):
        """Open the folder; Orbax is imported here, for it is slow to import."""
        from orbax.checkpoint import v1 as ocp

        logging.getLogger("absl").setLevel(logging.ERROR)
        policies = ocp.training.preservation_policies
        self._ocp = ocp
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
    def steps(self) -> list[int]:
        """Steps that have a checkpoint, ascending."""
        return sorted(c.step for c in self._checkpointer.checkpoints)

    def accuracy(self, step: int) -> float | None:
        """Validation accuracy saved with a checkpoint; None if it was saved between validations."""
        for checkpoint in self._checkpointer.checkpoints:
            if checkpoint.step == step:
                score = _score(checkpoint.metrics)
                return score if score >= 0 else None
        return None

    def save(self, step: int, state: Any, accuracy: float | None) -> None:
        """Write a checkpoint, completely or not at all.

        Args:
          step: its name.
          state: a tree of arrays, replicated if there are several devices.
          accuracy: on the validation split; None between validations.

        Raises:
          RunError: if writing fails.
        """
        # NumPy copies: arrays under pmap may be local to this process.
        host = jax.tree.map(np.asarray, state)
        metrics = {METRIC: -1.0 if accuracy is None else float(accuracy)}
        try:
            # Overwrite: a truncated checkpoint that was passed over is written again.
            self._checkpointer.save(step, host, metrics=metrics, overwrite=step in self.steps)
        except Exception as error:  # whatever the file system or Orbax raises
            last = f"step {self.steps[-1]}" if self.steps else "none"
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise RunError(
                f"the checkpoint of step {step} could not be written to {self.directory}: {reason}. "
                f"The last good checkpoint is {last}; the same command goes on from there."
            ) from error

    def load(self, step: int, abstract: Any) -> Any:
        """Read the checkpoint of one step, with the structure of `abstract`."""
        template = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), abstract)
        return self._checkpointer.load(step, template)

    def load_latest(self, abstract: Any, warn: Callable[[str], None]) -> tuple[int, Any] | None:
        """Read the newest checkpoint that can be read, as (step, state); None if there is none.

        Raises:
          InputError: if there are checkpoints but none can be read.
        """
        return self._load_first(self.steps[::-1], abstract, warn)

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
            except Exception as error:  # Orbax and TensorStore raise many kinds
                reason = " ".join(str(error).split())[:160]
                warn(f"checkpoint {self.directory}/{step} cannot be read, trying another: {reason}")
        if steps:
            raise InputError(
                f"none of the checkpoints in {self.directory} can be read: {sorted(steps)}."
            )
        return None

    def close(self) -> None:
        """Finish what is being written."""
        self._checkpointer.close()


def _score(metrics: Any) -> float:
    return float((metrics or {}).get(METRIC, -1.0))
