"""Predict how long a run's measurements take: measure fresh weights on a few images, twice."""

import dataclasses
import time

from gpool_jax.experiments import registry
from gpool_jax.experiments.measures import probing
from gpool_jax.experiments.saved import Snapshot, Snapshots
from gpool_jax.experiments.training import Setup
from gpool_jax.train.state import TrainState

# Images of the two tries; the rest is a straight line.
_FEW, _SOME = 32, 96
# Sections that say how many test images they use.
_SECTIONS = ("eval", "probe", "consistency")


def predict_seconds(setup: Setup, state: TrainState) -> float:
    """Predict the time of all measurements of one run, without compilation.

    A run of a comparison may be quicker: its untrained network is measured once for all.
    """
    whole = len(setup.dataset.test)
    if whole <= _SOME:
        return _time(setup, state)
    few, some = (_time(_with_images(setup, size), state) for size in (_FEW, _SOME))
    work = {size: _count(setup, size) for size in (_FEW, _SOME, whole)}
    return extrapolate((work[_FEW], few), (work[_SOME], some), work[whole])


def extrapolate(first: tuple[int, float], second: tuple[int, float], work: int) -> float:
    """Seconds for `work` from two pairs (work, seconds), on a line that does not fall.

    >>> extrapolate((100, 2.0), (300, 3.0), 1100)
    7.0
    """
    slope = max(0.0, (second[1] - first[1]) / max(1, second[0] - first[0]))
    return second[1] + slope * (work - second[0])


def _count(setup: Setup, num_images: int) -> int:
    """Images that pass through the network if the test split has `num_images`."""
    sections = [getattr(setup.config, name) for name in _SECTIONS if hasattr(setup.config, name)]
    counts = [section.num_images for section in sections if getattr(section, "enabled", True)]
    return sum(min(num_images if count is None else count, num_images) for count in counts)


def _with_images(setup: Setup, count: int) -> Setup:
    splits = {name: getattr(setup.dataset, name).draw(count, seed=0) for name in ("val", "test")}
    return dataclasses.replace(setup, dataset=dataclasses.replace(setup.dataset, **splits))


def _time(setup: Setup, state: TrainState) -> float:
    """Seconds of all measurements, programs compiled before."""
    measure = registry.experiment(setup.config).measure
    steps = [*setup.config.train.milestones, setup.config.train.steps]
    entries = [Snapshot(f"step {step}", step, state.variables) for step in steps]
    entries[-1] = dataclasses.replace(entries[-1], name="best")
    seconds = 0.0
    for _ in range(2):
        probing.forget_untrained()
        started = time.perf_counter()
        measure(setup, Snapshots(entries, []))
        seconds = time.perf_counter() - started
    return seconds
