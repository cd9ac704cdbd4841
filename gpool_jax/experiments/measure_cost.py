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
# Measurements that can be left out, each with its own number of images.
_OPTIONAL = ("probe", "consistency")


def predict_seconds(setup: Setup, state: TrainState) -> float:
    """Predict the time of all measurements of one run, without compilation.

    What every run measures and each further measurement are timed apart, since each uses its own
    number of images. A run of a comparison may be quicker: its untrained network is measured once
    for all.
    """
    whole = len(setup.dataset.test)
    if whole <= _SOME:
        return _time(setup, state)
    names = [n for n in _OPTIONAL if getattr(getattr(setup.config, n, None), "enabled", False)]
    plain = _with_only(setup, ())
    base = [_time(_with_images(plain, size), state) for size in (_FEW, _SOME)]
    asked = getattr(getattr(setup.config, "eval", None), "num_images", None)
    total = extrapolate(base[0], base[1], min(asked or whole, whole))
    for name in names:
        both = [_time(_with_images(_with_only(setup, (name,)), n), state) for n in (_FEW, _SOME)]
        added = [max(0.0, one - other) for one, other in zip(both, base, strict=True)]
        count = getattr(setup.config, name).num_images
        total += extrapolate(added[0], added[1], min(count or whole, whole))
    return total


def extrapolate(few: float, some: float, count: int) -> float:
    """Seconds for `count` images from those for few and for some, on a line that does not fall.

    >>> extrapolate(1.0, 3.0, 160)
    5.0
    """
    return some + max(0.0, some - few) / (_SOME - _FEW) * (count - _SOME)


def _with_only(setup: Setup, names: tuple[str, ...]) -> Setup:
    """The setup with none of the optional measurements but these."""
    config = setup.config
    for name in _OPTIONAL:
        if hasattr(config, name):
            section = dataclasses.replace(getattr(config, name), enabled=name in names)
            config = dataclasses.replace(config, **{name: section})
    return dataclasses.replace(setup, config=config)


def _with_images(setup: Setup, count: int) -> Setup:
    splits = {name: getattr(setup.dataset, name).draw(count, seed=0) for name in ("val", "test")}
    return dataclasses.replace(setup, dataset=dataclasses.replace(setup.dataset, **splits))


def _time(setup: Setup, state: TrainState) -> float:
    """Seconds of the measurements, programs compiled before."""
    measure = registry.experiment(setup.config).measure
    train = setup.config.train
    # The milestones, the last step and the best one, as a training leaves them.
    steps = sorted({*train.milestones, train.steps})
    entries = [Snapshot(f"step {step}", step, state.variables) for step in steps]
    entries.append(Snapshot("best", train.steps - 1, state.variables))
    seconds = 0.0
    for _ in range(2):
        probing.forget_untrained()
        started = time.perf_counter()
        measure(setup, Snapshots(entries, []))
        seconds = time.perf_counter() - started
    return seconds
