"""Intervals cover what they say: simulated with a truth that is known."""

import numpy as np
import pytest

from gpool_jax import ops

# Standard deviations over seeds, over images, and of what is left: which of them dominates.
SPREADS = {
    "seeds": (0.1, 0.1, 0.1),
    "both": (0.02, 0.3, 0.1),
    "images": (0.0, 0.3, 0.1),
    "neither": (0.02, 0.1, 0.3),
}


def coverage(seeds, spread, *, paired, trials, images=120, draws=400):
    """The share of intervals that hold the truth."""
    over_seeds, over_images, rest = spread
    rng = np.random.default_rng(0)
    ones, hits = np.ones((seeds, images)), 0
    for _ in range(trials):
        shared = rng.normal(0.5, over_images, images)
        arms = []
        for _ in range(2 if paired else 1):
            own = rng.normal(0.0, over_seeds, (seeds, 1))
            arms.append((shared + own + rng.normal(0.0, rest, (seeds, images)), own))
        versus = (arms[1][0], ones) if paired else None
        low, high = ops.bootstrap_ratio(arms[0][0], ones, versus=versus, num_draws=draws)
        # One seed's interval is of other images, not of other seeds.
        known = arms[0][1].mean() - (arms[1][1].mean() if paired else 0.0) if seeds == 1 else 0.0
        hits += low <= known + (0.0 if paired else 0.5) <= high
    return hits / trials


@pytest.mark.parametrize("seeds", [2, 3])
def test_few_seeds_that_differ_are_covered(seeds):
    """Resampling them would cover 65 and 77 %."""
    assert 0.92 < coverage(seeds, SPREADS["seeds"], paired=False, trials=500) < 0.99


def test_images_that_share_a_draw_are_no_independent_ones():
    """Taken as independent, intervals of these would cover less than half."""
    rng = np.random.default_rng(0)
    found = []
    for size in (12, 1):
        hits = 0
        for _ in range(400):
            shared = np.repeat(rng.uniform(0.2, 0.8, 40), 12)
            scores = np.clip(shared + rng.normal(0, 0.05, 480), 0, 1)
            low, high = ops.bootstrap_interval(scores, group_size=size, num_draws=400)
            hits += low <= 0.5 <= high
        found.append(hits / 400)
    assert 0.9 < found[0] < 0.98
    assert found[1] < 0.5
    assert ops.bootstrap_interval(scores[:12], group_size=12) == (0.0, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("seeds", [1, 2, 3, 5, 10])
def test_intervals_cover(seeds, spread, paired):
    found = coverage(seeds, SPREADS[spread], paired=paired, trials=2000)
    assert 0.93 <= found <= (0.99 if seeds == 2 else 0.98)


def test_the_bound_of_all_right_and_all_wrong_covers():
    rng = np.random.default_rng(0)
    truth, hits = 0.99, 0
    for _ in range(2000):
        scores = (rng.random(120) < truth).astype(float)
        low, high = ops.bootstrap_interval(scores, num_draws=2) if scores.all() else (0.0, 1.0)
        hits += low <= truth <= high
    assert hits / 2000 > 0.95
