"""Bits that a probe finds, and the share of a score that survives sorting."""

import jax
import numpy as np
import pytest

from gpool_jax import ops
from tests import reference

pytestmark = pytest.mark.usefixtures("strict_types")


def test_bits_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(50, 8)).astype(np.float32) * 3, rng.integers(0, 8, 50)
    expected = 3.0 - reference.cross_entropy(logits, targets) / np.log(2)
    np.testing.assert_allclose(ops.row_bits(logits, targets), expected, atol=1e-5)
    sure = logits + 20 * np.eye(8, dtype=np.float32)[targets]
    found = jax.jit(ops.information_bits)(sure, targets)
    np.testing.assert_allclose(found, 3.0, atol=1e-3)


def test_no_bits_are_found_by_a_guess_or_by_a_probe_that_is_sure_and_wrong():
    targets = np.arange(9)
    assert float(ops.information_bits(np.zeros((9, 9), np.float32), targets)) < 1e-6
    wrong = 50 * np.eye(9, dtype=np.float32)[(targets + 1) % 9]
    assert float(ops.information_bits(wrong, targets)) == 0.0
    # Clipped last: a row may mislead, and its bits count.
    assert (np.asarray(ops.row_bits(wrong, targets)) < -50).all()
    one_wrong = 50 * np.eye(9, dtype=np.float32)[[1, *targets[1:]]]
    assert float(ops.information_bits(one_wrong, targets)) == 0.0


def test_the_surviving_share_is_the_ratio_of_means_above_chance_in_every_draw():
    rng = np.random.default_rng(1)
    ordered, unordered = rng.uniform(0.6, 1.0, 40), rng.uniform(0.2, 0.6, 40)
    point, draws = ops.surviving_share(ordered, unordered, chance=0.1, num_draws=30, seed=3)
    assert point == pytest.approx((unordered.mean() - 0.1) / (ordered.mean() - 0.1))
    counts = ops.draw_resamples(40, num_draws=30, seed=3)
    for drawn, share in zip(counts, draws, strict=True):
        images = np.repeat(np.arange(40), drawn)
        expected = (unordered[images].mean() - 0.1) / (ordered[images].mean() - 0.1)
        assert share == pytest.approx(expected)


def test_shares_of_one_seed_are_paired_by_image():
    rng = np.random.default_rng(2)
    ordered = rng.uniform(0.5, 1.0, 60)
    _, first = ops.surviving_share(ordered, 0.5 * ordered, chance=0.0, num_draws=50)
    noisy = 0.5 * ordered + rng.normal(0, 0.3, 60)
    _, second = ops.surviving_share(ordered, noisy, chance=0.0, num_draws=50)
    _, third = ops.surviving_share(ordered, noisy + 0.1 * ordered, chance=0.0, num_draws=50)
    np.testing.assert_allclose(first, 0.5)
    np.testing.assert_allclose(third - second, 0.1)
    assert np.ptp(second) > 0.1


def test_nothing_survives_where_nothing_was_read():
    point, draws = ops.surviving_share(np.full(5, 0.1), np.full(5, 0.3), chance=0.1, num_draws=9)
    assert np.isnan(point)
    assert np.isnan(draws).all()
    # Above chance in some draws only: the others must show, too.
    _, draws = ops.surviving_share(
        np.array([0.0, 0.0, 0.4]), np.full(3, 0.2), chance=0.1, num_draws=200
    )
    assert 0.1 < np.isnan(draws).mean() < 0.9
    with pytest.raises(ValueError, match=r"same images; got shapes \(5,\) and \(4,\)"):
        ops.surviving_share(np.ones(5), np.ones(4), chance=0.1)
