"""Masks of channels: what a removal is, and which channels its controls remove."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpool_jax import ops

pytestmark = pytest.mark.usefixtures("strict_types")

KEY = jax.random.key(0)


def _normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_ablate_removes_what_is_not_kept():
    x, keep, fill = _normal(0, 2, 3, 3, 4), np.array([True, False, True, False]), _normal(1, 4)
    expected = x.copy()
    expected[..., [1, 3]] = fill[[1, 3]]
    np.testing.assert_allclose(jax.jit(ops.ablate)(x, keep, fill=fill), expected, atol=1e-6)
    expected[..., [1, 3]] = 0
    np.testing.assert_array_equal(ops.ablate(x, keep), expected)
    latent = x[:, 0, 0]
    np.testing.assert_array_equal(ops.ablate(latent, keep), expected[:, 0, 0])


def test_ablate_takes_one_gate_per_example_and_vmaps_over_masks():
    x, gate = _normal(2, 2, 3, 3, 4), np.random.default_rng(3).random((2, 4)).astype(np.float32)
    np.testing.assert_allclose(ops.ablate(x, gate), x * gate[:, None, None, :], atol=1e-6)
    keeps = np.eye(4, dtype=bool)
    swept = jax.vmap(lambda keep: ops.ablate(jnp.asarray(x), keep))(keeps)
    np.testing.assert_allclose(swept.sum(axis=0), x, atol=1e-6)
    with pytest.raises(ValueError, match=r"`keep` must have shape \(4,\) or \(2, 4\)"):
        ops.ablate(x, np.ones(3))


def test_removal_masks_are_nested_and_remove_as_many_as_asked():
    order = np.random.default_rng(4).permutation(16)
    masks = ops.removal_masks(order, (1, 5, 16))
    assert (~masks).sum(axis=1).tolist() == [1, 5, 16]
    for count, mask in zip((1, 5, 16), masks, strict=True):
        assert set(np.flatnonzero(~mask)) == set(order[:count])
    for counts in ((0,), (17,)):
        with pytest.raises(ValueError, match=r"`counts` must be in \[1, 16\]"):
            ops.removal_masks(order, counts)
    with pytest.raises(ValueError, match="every channel in"):
        ops.removal_masks(np.array([0, 0, 1]), (1,))


def test_random_orders_are_uniform_permutations():
    orders = ops.random_orders(KEY, 2000, 5)
    assert (np.sort(orders, axis=1) == np.arange(5)).all()
    first = np.bincount(orders[:, 0], minlength=5) / 2000
    np.testing.assert_allclose(first, 0.2, atol=0.04)
    np.testing.assert_array_equal(orders, ops.random_orders(KEY, 2000, 5))


def test_matched_channels_are_near_never_removed_and_never_twice():
    rng = np.random.default_rng(5)
    mean, variance = np.exp(rng.normal(0, 2, 100)), np.exp(rng.normal(0, 2, 100))
    removed = np.argsort(-mean)[:20]
    drawn = ops.matched_channels(KEY, removed, mean, variance, num_draws=30)
    assert drawn.shape == (30, 20)
    for row in drawn:
        assert len(set(row)) == 20
        assert not set(row) & set(removed)
    # Far nearer in strength than channels drawn at random, though the strongest are gone.
    others = np.setdiff1d(np.arange(100), removed)
    matched_mean = np.log(mean[drawn]).mean()
    assert matched_mean > np.log(mean[others]).mean() + 1.0
    assert len({tuple(row) for row in drawn}) > 20


def test_each_match_is_one_of_the_nearest_that_are_left():
    mean, variance = np.exp(np.arange(40.0) / 4), np.ones(40)
    drawn = ops.matched_channels(KEY, np.array([20]), mean, variance, num_draws=400, neighbours=4)
    assert set(drawn.ravel()) == {18, 19, 21, 22}


def test_matching_half_of_the_channels_takes_all_others_and_more_is_refused():
    mean = variance = np.exp(_normal(6, 10))
    drawn = ops.matched_channels(KEY, np.arange(5), mean, variance, num_draws=3)
    assert all(set(row) == set(range(5, 10)) for row in drawn)
    with pytest.raises(ValueError, match="at most half of the 10 channels"):
        ops.matched_channels(KEY, np.arange(6), mean, variance, num_draws=3)


def test_silent_channels_can_be_matched():
    mean = np.array([0.0, 0.0, 0.0, 1.0, 2.0, 3.0])
    drawn = ops.matched_channels(KEY, np.array([0]), mean, mean, num_draws=200, neighbours=2)
    assert set(drawn.ravel()) == {1, 2}


def test_a_match_beyond_the_caliper_is_refused():
    # Channels 0..9 lie close together; channel 10 is far from every other.
    mean, variance = np.exp(np.append(np.arange(10.0) / 100, 5.0)), np.ones(11)
    close = ops.matched_channels(KEY, np.array([4]), mean, variance, num_draws=50, caliper=0.1)
    assert close.shape == (50, 1)
    far = ops.matched_channels(KEY, np.array([4, 10]), mean, variance, num_draws=50, caliper=0.1)
    assert far.shape == (0, 2)
    # Two channels with one match between them: whichever comes second finds none.
    mean = np.exp(np.array([0.0, 0.1, 0.05, 9.0, 9.1]))
    assert not len(
        ops.matched_channels(KEY, np.array([0, 1]), mean, np.ones(5), num_draws=9, caliper=0.1)
    )


def test_a_wide_caliper_draws_what_none_does():
    rng = np.random.default_rng(7)
    mean, variance = np.exp(rng.normal(size=30)), np.exp(rng.normal(size=30))
    options = {"num_draws": 8, "neighbours": 5}
    free = ops.matched_channels(KEY, np.arange(6), mean, variance, **options)
    wide = ops.matched_channels(KEY, np.arange(6), mean, variance, **options, caliper=1e3)
    np.testing.assert_array_equal(free, wide)


def test_balance_is_the_difference_of_means_in_pooled_deviations():
    rng = np.random.default_rng(8)
    mean, variance = np.exp(rng.normal(size=40)), np.exp(3 * rng.normal(size=40))
    channels, controls = np.arange(5), rng.integers(5, 40, (6, 5))
    found = ops.standardised_differences(channels, controls, mean, variance)
    for value, values in zip(found, (mean, variance), strict=True):
        first, second = np.log(values)[channels], np.log(values)[controls.ravel()]
        pooled = np.sqrt((first.std() ** 2 + second.std() ** 2) / 2)
        assert value == pytest.approx((first.mean() - second.mean()) / pooled)
    # A matched set is better balanced than the other channels.
    removed, others = np.split(np.argsort(-mean)[4:], [8])
    matched = ops.matched_channels(KEY, removed, mean, mean, num_draws=20, neighbours=3)
    near, far = (ops.standardised_differences(removed, c, mean, mean)[0] for c in (matched, others))
    assert abs(near) < 0.8 < far


def test_balance_without_controls_or_without_spread():
    ones = np.ones(4)
    assert np.isnan(ops.standardised_differences([0], np.empty((0, 1), int), ones, ones)).all()
    assert ops.standardised_differences([0], [1], np.exp([1.0, 2, 3, 4]), ones) == (-np.inf, 0.0)
