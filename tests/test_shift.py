"""Shifts, BlurPool, invariance losses and consistency against loops over pixels and pairs."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpool_jax import ops
from tests import reference
from tests.helpers import slow_but_first
from tests.test_ops import KEY, _normal, check_everywhere

pytestmark = pytest.mark.usefixtures("strict_types")


@pytest.mark.parametrize("mode", ops.SHIFT_MODES)
def test_shift_moves_content_down_and_right_by_each_images_own_offset(mode):
    images = _normal(1, 5, 4, 6, 2)
    offsets = np.array([[0, 0], [1, 2], [-3, 1], [2, -3], [3, 3]], np.int32)
    expected = reference.shift(images, offsets, mode)
    check_everywhere(lambda x, o: ops.shift(x, o, mode=mode), (images, offsets), expected, atol=0)


def test_shift_keeps_bytes_and_empties_an_image_that_leaves_it():
    images = np.full((1, 3, 3, 1), 200, np.uint8)
    moved = ops.shift(images, np.array([[3, 0]]), mode="zeros")
    assert moved.dtype == jnp.uint8
    assert int(moved.max()) == 0


def test_shift_refuses_an_unknown_mode():
    with pytest.raises(ValueError, match="`mode` must be one of .*got 'wrap'"):
        ops.shift(jnp.zeros((1, 2, 2, 1)), jnp.zeros((1, 2), int), mode="wrap")


def test_crop_cuts_at_each_images_own_corner():
    images = _normal(2, 3, 6, 7, 2)
    corners = np.array([[0, 0], [2, 3], [1, 2]], np.int32)
    expected = np.stack([images[b, y : y + 4, x : x + 4] for b, (y, x) in enumerate(corners)])
    check_everywhere(lambda x, c: ops.crop(x, c, 4), (images, corners), expected, atol=0)
    with pytest.raises(ValueError, match="`side` must be at most 6; got 7"):
        ops.crop(images, corners, 7)


@pytest.mark.parametrize("side", slow_but_first([7, 8]))
def test_fourier_shift_is_exact_for_whole_pixels_and_for_waves_between_them(side):
    images = _normal(3, 3, side, side, 2)
    offsets = np.array([[0, 0], [2, -3], [-1, side]], np.int32)
    expected = reference.shift(images, offsets, "circular")
    check_everywhere(ops.fourier_shift, (images, offsets.astype(np.float32)), expected, atol=1e-4)

    # A wave below the highest frequency, moved by fractions: known in closed form.
    rows, columns = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")

    def wave(dy, dx):
        phase = 2 * np.pi * (2 * (rows - dy) + 1 * (columns - dx)) / side
        return np.cos(phase)[None, :, :, None]

    moved = ops.fourier_shift(wave(0, 0).astype(np.float32), np.array([[0.5, -1.25]], np.float32))
    np.testing.assert_allclose(moved, wave(0.5, -1.25), atol=1e-5)


def test_two_half_pixels_are_one_but_for_the_highest_frequency():
    images = _normal(4, 1, 9, 9, 1)  # an odd side has none
    half = np.array([[0.5, 0.5]], np.float32)
    twice = ops.fourier_shift(ops.fourier_shift(images, half), half)
    whole = reference.shift(images, [[1, 1]], "circular")
    np.testing.assert_allclose(twice, whole, atol=1e-5)


def test_drawn_shifts_are_uniform_inclusive_and_belong_to_the_example():
    drawn = np.asarray(ops.draw_shifts(KEY, jnp.arange(20_000), 2))
    cells = (drawn[:, 0] + 2) * 5 + drawn[:, 1] + 2
    counts = np.bincount(cells, minlength=25)
    assert counts.size == 25
    assert abs(counts - 800).max() < 5 * np.sqrt(800)
    again = np.asarray(ops.draw_shifts(KEY, jnp.array([7, 3]), 2))
    np.testing.assert_array_equal(again, drawn[[7, 3]])
    low_high = np.asarray(ops.draw_offsets(KEY, jnp.arange(500), 0, 3))
    assert (low_high.min(), low_high.max()) == (0, 3)


@pytest.mark.parametrize(
    ("padding", "taps"),
    [(padding, 3) for padding in ops.PADDING_MODES]
    + [("reflect", taps) for taps in ops.BLUR_TAPS if taps != 3],
)
def test_blur_pool_is_a_binomial_filter_then_subsampling(padding, taps):
    x = _normal(5, 2, 6, 7, 2)
    expected = reference.blur_pool2d(x, taps, 2, padding)
    check_everywhere(
        lambda v: ops.blur_pool2d(v, taps=taps, stride=2, padding=padding), (x,), expected
    )


def test_blur_pool_keeps_a_constant_and_removes_the_highest_frequency():
    ones = jnp.ones((1, 8, 8, 1))
    for padding in ("circular", "reflect", "replicate", "partial", "resize"):
        out = ops.blur_pool2d(ones, taps=3, stride=2, padding=padding)
        np.testing.assert_allclose(out, np.ones((1, 4, 4, 1)), atol=1e-6)
    checkers = jnp.asarray((-1.0) ** np.add.outer(np.arange(8), np.arange(8)))[None, :, :, None]
    for taps in ops.BLUR_TAPS:
        out = ops.blur_pool2d(checkers, taps=taps, stride=2, padding="circular")
        np.testing.assert_allclose(out, np.zeros((1, 4, 4, 1)), atol=1e-6)
    with pytest.raises(ValueError, match=r"`taps` must be one of \(2, 3, 4, 5\); got 6"):
        ops.blur_pool2d(ones, taps=6, stride=2)


def test_max_pool_pads_on_one_side_only():
    x = _normal(6, 1, 4, 4, 1)
    out = np.asarray(ops.max_pool2d(x, size=2, stride=1, amount=(0, 1), padding="circular"))
    wrapped = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)), "wrap")
    expected = reference.max_pool2d(wrapped, 2, 1, 0, "zeros")
    np.testing.assert_allclose(out, expected, atol=1e-6)


@pytest.mark.parametrize("normalise", ops.LATENT_SCALES)
@pytest.mark.parametrize("norm", ops.INVARIANCE_NORMS)
def test_invariance_loss_against_a_loop_over_pairs(norm, normalise):
    latent = 2 * _normal(7, 3, 4, 5)
    expected = reference.invariance_loss(latent, norm, normalise)
    check_everywhere(
        lambda z: ops.invariance_loss(z, norm=norm, normalise=normalise), (latent,), expected
    )


@pytest.mark.parametrize("norm", ops.INVARIANCE_NORMS)
def test_invariance_loss_is_zero_at_identity_and_scales_as_its_norm(norm):
    latent = _normal(8, 1, 4, 6)
    same = ops.invariance_loss(np.repeat(latent, 2, axis=0), norm=norm)
    np.testing.assert_allclose(same, np.zeros(4), atol=1e-6)
    small = 1e-3 * np.repeat(latent, 2, axis=0)
    np.testing.assert_allclose(ops.invariance_loss(small, norm=norm), np.zeros(4), atol=1e-6)
    views = _normal(9, 2, 4, 6)
    # Small, so that smooth_l1 stays on its parabola.
    one, ten = (ops.invariance_loss(s * views, norm=norm) for s in (0.01, 0.1))
    power = {"l1": 1, "l2": 2, "smooth_l1": 2, "cosine": 0}[norm]
    np.testing.assert_allclose(ten / one, np.full(4, 10.0**power), rtol=1e-4)
    scaled = ops.invariance_loss(7 * views, norm=norm, normalise="length")
    np.testing.assert_allclose(
        scaled, ops.invariance_loss(views, norm=norm, normalise="length"), rtol=1e-4, atol=1e-6
    )


def test_normalised_l2_is_twice_the_cosine_loss():
    views = _normal(10, 2, 4, 6)
    l2 = ops.invariance_loss(views, norm="l2", normalise="length")
    np.testing.assert_allclose(l2, 2 * ops.invariance_loss(views, norm="cosine"), rtol=1e-4)


@pytest.mark.parametrize("normalise", ops.LATENT_SCALES)
@pytest.mark.parametrize("norm", ops.INVARIANCE_NORMS)
def test_invariance_gradient_is_that_of_finite_differences(norm, normalise):
    latent = _normal(11, 3, 2, 3)

    def total(z):
        return ops.invariance_loss(z, norm=norm, normalise=normalise).sum()

    gradient = np.asarray(jax.grad(total)(latent))
    numeric = np.zeros(latent.shape)
    for at in np.ndindex(*latent.shape):
        step = np.zeros(latent.shape)
        step[at] = 1e-5
        up, down = (
            reference.invariance_loss(latent + s * step, norm, normalise).sum() for s in (1, -1)
        )
        numeric[at] = (up - down) / 2e-5
    np.testing.assert_allclose(gradient, numeric, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("normalise", ops.LATENT_SCALES)
@pytest.mark.parametrize("norm", ops.INVARIANCE_NORMS)
def test_a_stopped_branch_gets_no_gradient_and_the_other_keeps_its_own(norm, normalise):
    latent = _normal(12, 2, 3, 4)

    def total(z, stop):
        options = {"norm": norm, "normalise": normalise, "stop_gradient": stop}
        return ops.invariance_loss(z, **options).sum()

    both = jax.grad(total)(latent, False)
    one = jax.grad(total)(latent, True)
    assert float(jnp.abs(one[0]).max()) == 0.0
    assert float(jnp.abs(both[0]).max()) > 0.0
    assert float(jnp.abs(one[1]).max()) > 0.0
    if normalise != "batch":  # whose statistics move, too, when both branches do
        np.testing.assert_allclose(one[1], both[1], rtol=1e-5, atol=1e-7)


def test_a_latent_of_zeros_has_a_finite_loss_and_gradient():
    latent = jnp.zeros((2, 1, 4)).at[1].set(1.0)
    for norm, normalise in itertools.product(ops.INVARIANCE_NORMS, ops.LATENT_SCALES):
        value, gradient = jax.value_and_grad(
            lambda z, n=norm, m=normalise: ops.invariance_loss(z, norm=n, normalise=m).sum()
        )(latent)
        chex.assert_tree_all_finite((value, gradient))


def test_scaled_by_the_batch_only_closeness_compared_with_other_images_counts():
    views = _normal(13, 2, 6, 5)
    loss = ops.invariance_loss(views, normalise="batch")
    scales, offsets = np.exp(_normal(14, 5)), 10 * _normal(15, 5)
    moved = ops.invariance_loss((scales * views + offsets).astype(np.float32), normalise="batch")
    np.testing.assert_allclose(moved, loss, rtol=1e-3)


def test_invariance_loss_refuses_one_view_and_an_unknown_norm():
    with pytest.raises(ValueError, match="at least 2 views; got 1"):
        ops.invariance_loss(jnp.zeros((1, 2, 3)))
    with pytest.raises(ValueError, match="`norm` must be one of .*got 'l3'"):
        ops.invariance_loss(jnp.zeros((2, 2, 3)), norm="l3")
    with pytest.raises(ValueError, match="`normalise` must be one of .*got 'layer'"):
        ops.invariance_loss(jnp.zeros((2, 2, 3)), normalise="layer")


def _answers(seed, images=30, views=6, classes=3):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, images)
    answers = np.where(rng.random((images, views)) < 0.7, labels[:, None], 0)
    answers[:4] = labels[:4, None]
    return answers, np.where(rng.random(images) < 0.8, labels, 1), labels


def _totals(scores):
    return {name: float(s.sum() / c.sum()) for name, (s, c) in scores.items()}


def test_pairs_and_grids_are_counted_as_one_by_one():
    answers, clean, labels = _answers(0)
    expected = reference.consistency(answers, clean, labels, [(0, 1), (2, 3), (4, 5)])
    # Given correct counts both roles of a pair.
    swapped = reference.consistency(
        answers, clean, labels, [(0, 1), (2, 3), (4, 5), (1, 0), (3, 2), (5, 4)]
    )
    found = _totals(jax.jit(ops.pair_agreement)(answers, labels))
    assert found["consistency"] == pytest.approx(expected["consistency"])
    assert found["consistency_given_correct"] == pytest.approx(swapped["consistency_given_correct"])
    every = list(itertools.permutations(range(6), 2))
    expected = reference.consistency(answers, clean, labels, every)
    found = _totals(ops.grid_agreement(answers, labels, 3))
    found |= _totals(ops.accuracy_under_shift(answers, clean, labels))
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value), name


def test_agreement_by_distance_sorts_views_into_their_ring():
    answers = np.array([[1, 1, 2, 1], [0, 0, 0, 0]])
    clean, distance = np.array([1, 5]), np.array([[0, 1, 2, 2], [2, 2, 2, 2]])
    sums, counts = ops.agreement_by_distance(answers, clean, distance, 3)
    np.testing.assert_array_equal(sums, [[1, 1, 1], [0, 0, 0]])
    np.testing.assert_array_equal(counts, [[1, 1, 2], [0, 0, 4]])


def test_view_changes_by_hand():
    clean_logits = np.array([[2.0, 0.0, 0.0]], np.float32)
    logits = np.array([[[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]], np.float32)
    clean_latent = np.array([[3.0, 4.0]], np.float32)
    latent = np.array([[[3.0, 4.0], [-4.0, 3.0]]], np.float32)
    found = ops.view_changes(logits, clean_logits, latent, clean_latent)
    top = np.exp(2) / (np.exp(2) + 2)
    np.testing.assert_allclose(found["probability_change"], [[top - 1 / 3, 0.0]], atol=1e-6)
    np.testing.assert_allclose(found["latent_distance"], [[0.0, np.sqrt(50)]], atol=1e-5)
    np.testing.assert_allclose(found["latent_cosine"], [[1.0, 0.0]], atol=1e-6)


def test_bootstrap_of_a_ratio_weighs_images_by_their_counts():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 5, (1, 400)).astype(float)
    sums = counts * (rng.random((1, 400)) < 0.3)
    low, high = ops.bootstrap_ratio(sums, counts)
    share = sums.sum() / counts.sum()
    # The delta method's standard error of a ratio.
    error = np.sqrt(((sums - share * counts) ** 2).sum()) / counts.sum()
    assert low == pytest.approx(share - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(share + 1.96 * error, abs=0.2 * error)
    empty = np.zeros((1, 3))
    assert all(np.isnan(ops.bootstrap_ratio(empty, empty)))


def test_a_paired_difference_knows_what_the_arms_share():
    rng = np.random.default_rng(1)
    hard = rng.random((2, 500))
    ones = np.ones((2, 500))
    better = (hard < 0.6).astype(float)
    worse = (hard < 0.5).astype(float)
    low, high = ops.bootstrap_ratio(better, ones, versus=(worse, ones))
    difference = (better - worse).mean()
    alone = np.subtract(*ops.bootstrap_ratio(better, ones)[::-1])
    assert low < difference < high
    assert high - low < alone  # images hard for both cancel
    # Arms that agree on all of 500 images may differ on a few others.
    low, high = ops.bootstrap_ratio(better, ones, versus=(better, ones))
    assert low == pytest.approx(-high)
    assert high == pytest.approx(1 - 0.025 ** (1 / 500))
