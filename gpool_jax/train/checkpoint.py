"""Checkpoints of a run: saved whole by Orbax, checked before one is chosen, kept by a policy."""

import contextlib
import dataclasses
import logging
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gpool_jax import files
from gpool_jax.errors import InputError, RunError
from gpool_jax.train import checkpoint_sums as sums
from gpool_jax.train.checkpoint_sums import Score

_DELETED = ".deleted-"


def _is_no_echo(record: logging.LogRecord) -> bool:
    return "exception was never retrieved" not in record.getMessage()


@contextlib.contextmanager
def _around_orbax() -> Iterator[None]:
    """Let Orbax see one process only, in the one of several that has the checkpoints.

    And let it be silent: each of its threads logs what is raised here as well.
    """
    count, hook = jax.process_count, sys.unraisablehook
    absl, tasks = logging.getLogger("absl"), logging.getLogger("asyncio")
    level, threads = absl.level, set(threading.enumerate())
    jax.process_count = lambda *_: 1
    absl.setLevel(logging.CRITICAL + 1)
    # What it abandons, a write or a reader, ends when it likes: after a failure these stay.
    had_filter = _is_no_echo in tasks.filters
    tasks.addFilter(_is_no_echo)
    sys.unraisablehook = lambda found: (
        None if str(found.exc_value) == "Event loop is closed" else hook(found)
    )
    try:
        yield
        sys.unraisablehook = hook
        if not had_filter:
            tasks.removeFilter(_is_no_echo)
    except Exception:
        for thread in set(threading.enumerate()) - threads:
            thread.join(timeout=10)
        raise
    finally:
        jax.process_count = count
        absl.setLevel(level)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A checkpoint that is there, or was: `problem` says why it cannot be used."""

    step: int
    score: Score | None
    problem: str
    verified: bool

    @property
    def place(self) -> tuple[bool, Score, int]:
        """Sort key: the highest score first, the earliest of equals, those without one last."""
        return _place(self.score, self.step)


def _place(score: Score | None, step: int) -> tuple[bool, Score, int]:
    return score is None, tuple(-value for value in score or ()), step


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run: the latest `keep`, the best one, and those at milestones.

    Attributes:
      directory: their folder, made when the first one is saved.
      keep: how many of the latest are kept.
      milestones: steps that are kept.
      origin: what they were trained from, as plain JSON; stored in each.
    """

    directory: Path
    keep: int = 2
    milestones: tuple[int, ...] = ()
    origin: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def steps(self) -> list[int]:
        """Steps that have a checkpoint, ascending."""
        return sums.steps_of(self.directory)

    def _folder(self, step: int) -> Path:
        return self.directory.absolute() / str(step)

    @property
    def _records(self) -> Path:
        return self.directory.parent / "checkpoint_sums"

    def _record(self, step: int) -> Path:
        return self._records / f"{step}.json"

    def _recorded(self) -> list[int]:
        return sums.steps_of(self._records, ".json")

    def save(
        self,
        step: int,
        state: Any,
        score: Score | None,
        *,
        feed: dict | None = None,
        log: int | None = None,
    ) -> None:
        """Write a checkpoint, completely or not at all, and delete those no longer kept.

        Args:
          step: its name.
          state: a tree of arrays, replicated if there are several devices.
          score: its validation numbers; None between validations.
          feed: the position in the training data, as plain JSON; None if it follows
            from the step.
          log: digest of metrics.jsonl up to this step; None if it is not known.

        Raises:
          RunError: if writing fails, or what was written cannot be read.
        """
        from orbax.checkpoint import v1 as ocp

        # NumPy copies: arrays under pmap may be local to this process.
        host = jax.tree.map(np.asarray, state)
        about = {"step": step, "score": score, "feed": feed, "log": log, "origin": self.origin}
        last = f"step {self.steps[-1]}" if self.steps else "none"
        try:
            sums.begin(self._record(step), score)
            with _around_orbax():
                ocp.save(self._folder(step), host, custom_metadata=about, overwrite=True)
            self._load_smallest(step, host)
            sums.write(self._record(step), self._folder(step), score)
        except Exception as error:  # whatever the file system or Orbax raises
            with contextlib.suppress(OSError):
                self._delete(step)
            raise RunError(
                f"the checkpoint of step {step} could not be written to {self.directory}: "
                f"{_in_one_line(error, 300)}. The last good checkpoint is {last}; the same command "
                "goes on from there."
            ) from error
        scores = {s: sums.read_score(self._folder(s)) for s in self.steps}
        for old in scores.keys() - self._kept(scores):
            self._delete(old)

    @_around_orbax()
    def load(self, step: int, abstract: Any) -> Any:
        """Read the checkpoint of one step, with the structure of `abstract` (shapes suffice).

        Raises:
          InputError: naming the checkpoint, and its file that is missing, cut short or
            changed, or its array of another shape.
        """
        from orbax.checkpoint import v1 as ocp

        template = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), abstract)
        problem = sums.problem(self._folder(step), sums.read(self._record(step)))
        try:
            loaded = None if problem else ocp.load(self._folder(step), template)
        except Exception as error:  # Orbax and TensorStore raise many kinds
            problem = _in_one_line(error, 160)
        if problem:
            raise InputError(self._unreadable(step, problem))
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

    def describe(self, step: int) -> dict[str, Any]:
        """Read what `save` noted in a checkpoint: feed, log, origin, score; may lack any."""
        return sums.read_about(self._folder(step))

    def load_latest(self, abstract: Any, warn: Callable[[str], None]) -> tuple[int, Any] | None:
        """Read the newest readable checkpoint as (step, state); None if there is none at all.

        Damaged ones are moved to `checkpoints_damaged/`: the run goes on without them.

        Raises:
          InputError: if there are some, but none can be read.
        """
        candidates = self.examine()
        self._warn_of(candidates, warn)
        good = sorted((c.step for c in candidates if not c.problem), reverse=True)
        if candidates and not good:
            raise self._none_readable(candidates)
        self._tidy(candidates)
        for step in good:
            try:
                return step, self.load(step, abstract)
            except InputError as error:
                warn(f"{error}; trying another.")
        if good:
            raise self._none_readable(candidates)
        return None

    def load_best(
        self, abstract: Any, warn: Callable[[str], None]
    ) -> tuple[int, Any, list[str]] | None:
        """Read the readable checkpoint of the highest score, the earliest of equals.

        Returns:
          The step, the state, and notes on better ones that cannot be read; None if there
          is no checkpoint at all.

        Raises:
          InputError: if there are some, but none can be read.
        """
        for last_try in (False, True):
            candidates = self.examine()
            ranked = sorted(candidates, key=lambda c: c.place)
            good = [c for c in ranked if not c.problem]
            if not good:
                break
            try:
                state = self.load(good[0].step, abstract)
            except InputError:
                # A training that runs may have rotated it away since the look.
                if last_try or self._folder(good[0].step).exists():
                    raise
                continue
            self._warn_of(candidates, warn)
            notes = [
                f"The checkpoint of step {c.step} cannot be used ({c.problem}): another one may be "
                "called best in its place."
                for c in candidates
                if c.problem and (c.score is None or c.place < good[0].place)
            ]
            return good[0].step, state, notes
        if candidates:
            raise self._none_readable(candidates)
        return None

    def examine(self) -> list[Candidate]:
        """Check every checkpoint that is there or, by its record, should be; by step."""
        candidates = self._look()
        if any(c.problem for c in candidates):
            # A training that runs may have rotated some away during the look.
            candidates = self._look()
        return candidates

    def _look(self) -> list[Candidate]:
        records = {step: sums.read(self._record(step)) for step in self._recorded()}
        begun = {step for step, record in records.items() if sums.is_begun(record)}
        candidates = []
        for step in sorted({*self.steps, *(records.keys() - begun)}):
            folder, record = self._folder(step), records.get(step, {})
            problem = sums.problem(folder, record)
            score = sums.as_score(record.get("score")) if problem else sums.read_score(folder)
            candidates.append(Candidate(step, score, problem, bool(record)))
        kept = self._kept({c.step: c.score for c in candidates})
        # Records of what was rotated away, when a kill came between the two deletions.
        return [c for c in candidates if c.step in kept or not c.problem]

    def _kept(self, scores: dict[int, Score | None]) -> set[int]:
        """Steps that are kept of those that have these scores."""
        latest = sorted(scores)[-self.keep :]
        scored = [step for step, score in scores.items() if score is not None]
        best = sorted(scored, key=lambda step: _place(scores[step], step))[:1]
        return {*latest, *best, *(step for step in scores if step in self.milestones)}

    def _warn_of(self, candidates: list[Candidate], warn: Callable[[str], None]) -> None:
        for candidate in candidates:
            if candidate.problem:
                warn(f"{self._unreadable(candidate.step, candidate.problem)}; trying another.")
        unverified = [str(c.step) for c in candidates if not c.verified]
        if unverified:
            warn(
                f"checkpoints {', '.join(unverified)} in {self.directory} have no checksums in "
                "checkpoint_sums/: damage would go unnoticed."
            )

    def _unreadable(self, step: int, problem: str) -> str:
        return f"checkpoint {self.directory}/{step} cannot be read: {problem}"

    def _none_readable(self, candidates: list[Candidate]) -> InputError:
        steps = [c.step for c in candidates]
        reason = next((f" ({c.step}: {c.problem})" for c in candidates if c.problem), "")
        return InputError(
            f"none of the checkpoints in {self.directory} can be read: {steps}{reason}."
        )

    def _tidy(self, candidates: list[Candidate]) -> None:
        """Clear away what a killed run left, and what is damaged."""
        wanted = {c.step: c.problem for c in candidates}
        if self._records.is_dir():
            files.remove_leftovers(self._records)
        for step in set(self._recorded()) - wanted.keys():
            self._record(step).unlink(missing_ok=True)
        if not self.directory.is_dir():
            return
        for path in self.directory.iterdir():
            if path.name.startswith(_DELETED) or ".orbax-checkpoint-tmp" in path.name:
                shutil.rmtree(path, ignore_errors=True)
        for step in self.steps:
            if step not in wanted:
                self._delete(step)
            elif wanted[step]:
                aside = self.directory.parent / "checkpoints_damaged"
                aside.mkdir(exist_ok=True)
                shutil.rmtree(aside / str(step), ignore_errors=True)
                os.replace(self._folder(step), aside / str(step))

    def _delete(self, step: int) -> None:
        """Delete a checkpoint; killed at any moment, no half of it is taken for a whole."""
        aside = self.directory / f"{_DELETED}{step}"
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(self._folder(step), aside)
        self._record(step).unlink(missing_ok=True)
        shutil.rmtree(aside, ignore_errors=True)

    @_around_orbax()
    def _load_smallest(self, step: int, host: Any) -> None:
        """Read one array back: Orbax has committed checkpoints that cannot be opened."""
        from orbax.checkpoint import v1 as ocp

        leaves, structure = jax.tree.flatten(host)
        smallest = int(np.argmin([leaf.nbytes for leaf in leaves]))
        wanted = [ocp.PLACEHOLDER] * len(leaves)
        wanted[smallest] = np.zeros_like(leaves[smallest])
        template = jax.tree.unflatten(structure, wanted)
        found = jax.tree.leaves(ocp.load(self._folder(step), template))
        if not np.array_equal(found[smallest], leaves[smallest], equal_nan=False):
            raise RunError("an array reads otherwise than it was written")


def _in_one_line(error: Exception, length: int) -> str:
    return " ".join(str(error).split())[:length] or type(error).__name__
