"""Contenders at the same work, in turn: what one call takes, alone and against the others."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Contender:
    """One way of doing a case's work.

    Attributes:
      name: "ours" or a variant of it, "torch-reference", "torch-tuned".
      build: makes the data and the program, and returns the call to be timed. A call
        ends when its result is there: it synchronises by itself.
      repeats: how often a call does the case's work (steps of one dispatch).
      alone: whether its memory and compilation are measured, too: they take longer
        than all rounds.
    """

    name: str
    build: Callable[[], Callable[[], Any]]
    repeats: int = 1
    alone: bool = True


@dataclasses.dataclass(frozen=True)
class Case:
    """Work of one size, and those that do it.

    Attributes:
      suite: it belongs to.
      name: the size, as the table says it.
      contenders: the first is ours.
      images: that one call goes through.
      flops: floating point operations of the plain network for this work, counted
        without any short cut; None where there is nothing to count.
      dtype: of the computation.
    """

    suite: str
    name: str
    contenders: tuple[Contender, ...]
    images: int
    flops: Callable[[], float] | None = None
    dtype: str = "float32"


@dataclasses.dataclass(frozen=True)
class Spread:
    """Median and extremes of repeated measurements."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Summarise."""
        return cls(statistics.median(values), min(values), max(values), len(values))


def alternate(
    calls: dict[str, Callable[[], Any]],
    *,
    repetitions: int,
    warm_up: int = 2,
    short: float = 1.0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time every call in turn, round after round, so that a slow minute meets them all.

    A short call is timed right after an untimed one: else it would pay for what the
    contender before it left behind, cold caches and threads that still spin for work.

    Args:
      calls: by name; each synchronises by itself.
      repetitions: rounds.
      warm_up: untimed calls of each, at least 1.
      short: seconds below which a call is a short one.
      clock: seconds.

    Returns:
      Seconds of each call, in the order of the rounds.
    """

    def timed(call: Callable[[], Any]) -> float:
        started = clock()
        call()
        return clock() - started

    lead_in = {
        name: [timed(call) for _ in range(warm_up)][-1] < short for name, call in calls.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repetitions):
        for name, call in calls.items():
            if lead_in[name]:
                call()
            seconds[name].append(timed(call))
    return seconds


def speed_up(ours: Sequence[float], other: Sequence[float]) -> Spread:
    """How many times faster we are, round by round: noise that lasts meets both alike."""
    return Spread.of([b / a for a, b in zip(ours, other, strict=True)])
