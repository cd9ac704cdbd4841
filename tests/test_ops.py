"""Pure functions against NumPy loops: eager, jitted and vmapped, and one property each."""

import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gpool_jax import ops
from tests import reference

pytestmark = pytest.mark.usefixtures("strict_types")
KEY = jax.random.key(0)


def _normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def check_everywhere(fn, args, expected, atol=1e-5):
    """The same case eager, jitted, and vmapped over a doubled leading axis."""
    chex.assert_trees_all_close(np.asarray(fn(*args)), expected, atol=atol)
    chex.assert_trees_all_close(np.asarray(jax.jit(fn)(*args)), expected, atol=atol)
    doubled = jax.tree.map(lambda a: jnp.stack([a, a]), args)
    both = np.asarray(jax.vmap(fn)(*doubled))
    chex.assert_trees_all_close(both, np.stack([expected, expected]), atol=atol)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_place_pastes_each_image_into_its_cell(n):
    images, cells = _normal(1, 4, 3, 5, 2), np.array([0, 1, n, n * n - 1])
    expected = reference.place(images, cells, n)
    check_everywhere(lambda x, c: ops.place(x, c, n), (images, cells), expected, atol=0)


def test_place_everywhere_is_place_in_each_cell_in_row_major_order():
    images = _normal(2, 2, 3, 3, 1)
    everywhere = np.asarray(ops.place_everywhere(images, 3))
    for cell in range(9):
        expected = reference.place(images, [cell, cell], 3)
        np.testing.assert_array_equal(everywhere[:, cell], expected)


def test_normalise_takes_bytes_and_leaves_the_background_zero():
    images = np.random.default_rng(3).integers(0, 256, (2, 3, 3, 3), np.uint8)
    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    expected = (images / 255.0 - np.array(mean)) / np.array(std)
    check_everywhere(lambda x: ops.normalise(x, mean, std), (images,), expected)
    floats = (images / 255.0).astype(np.float32)
    np.testing.assert_allclose(ops.normalise(floats, mean, std), expected, atol=1e-5)
    canvas = ops.place(ops.normalise(images, mean, std), np.array([0, 0]), 2)
    assert float(jnp.abs(canvas[:, 3:]).max()) == 0.0


def test_draws_are_uniform_and_belong_to_the_global_index():
    index = jnp.arange(20_000)
    cells = np.asarray(ops.draw_cells(KEY, index, 9))
    assert stats.chisquare(np.bincount(cells, minlength=9)).pvalue > 1e-3
    np.testing.assert_array_equal(ops.draw_cells(KEY, index[500:900], 9), cells[500:900])
    images = jnp.broadcast_to(jnp.arange(2.0)[None, None, :, None], (4000, 1, 2, 1))
    flipped = np.asarray(ops.random_flip(KEY, images, index[:4000]))[:, 0, 0, 0]
    assert abs(flipped.mean() - 0.5) < 0.03
    part = ops.random_flip(KEY, images[7:9], index[7:9])
    np.testing.assert_array_equal(part[:, 0, 0, 0], flipped[7:9])


def test_permutations_are_uniform_and_independent_per_example():
    draws = np.asarray(ops.draw_permutations(KEY, jnp.arange(6000), 3))
    codes = draws @ np.array([9, 3, 1])
    _, counts = np.unique(codes, return_counts=True)
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 1e-3
    one = np.asarray(ops.draw_permutation(KEY, 50))
    np.testing.assert_array_equal(np.sort(one), np.arange(50))


def test_permute_channels_and_its_inverse():
    x = _normal(4, 3, 2, 2, 5)
    shared = np.array([3, 0, 4, 1, 2])
    check_everywhere(lambda a: ops.permute_channels(a, shared), (x,), x[..., shared], atol=0)
    each = np.stack([shared, shared[::-1], np.arange(5)])
    expected = np.stack([row[..., p] for row, p in zip(x, each, strict=True)])
    check_everywhere(ops.permute_channels, (x, each), expected, atol=0)
    back = ops.permute_channels(ops.permute_channels(x, each), np.argsort(each, axis=1))
    np.testing.assert_array_equal(back, x)
    with pytest.raises(ValueError, match=r"`permutation` must have shape .*got \(4,\)"):
        ops.permute_channels(x, np.arange(4))


def test_global_average_pool():
    x = _normal(5, 3, 4, 6, 2)
    expected = x.astype(np.float64).mean(axis=(1, 2))
    check_everywhere(ops.global_average_pool, (x,), expected)
    assert ops.global_average_pool(jnp.asarray(x, jnp.bfloat16)).dtype == jnp.float32


CONV_CASES = [
    # size, stride, dilation, height, width, channels, features
    (3, 1, 1, 5, 6, 3, 4),
    (3, 2, 1, 6, 8, 3, 4),
    (7, 2, 1, 12, 10, 2, 3),
    (1, 2, 1, 6, 6, 3, 4),
    (3, 1, 2, 7, 7, 2, 3),
    (3, 1, 1, 2, 6, 3, 5),  # lowered to a matmul on CPU
    (3, 2, 1, 4, 4, 3, 5),  # the same, strided
]
# Taps that lie outside the map wherever the kernel stands.
WIDE_CASES = [
    (3, 1, 6, 5, 6, 3, 4),  # only the middle tap sees it
    (3, 2, 6, 5, 6, 3, 4),  # the same, strided
    (3, 1, 5, 5, 6, 3, 4),  # the outer ones see one column of it
    (5, 1, 3, 5, 6, 3, 4),  # all but the outermost see it
]


@pytest.mark.parametrize("mode", ops.PADDING_MODES)
@pytest.mark.parametrize("case", CONV_CASES, ids=str)
def test_conv2d(mode, case):
    check_conv2d(mode, case)


@pytest.mark.parametrize("mode", ["zeros", "partial"])
@pytest.mark.parametrize("case", WIDE_CASES, ids=str)
def test_conv2d_of_taps_outside_the_map(mode, case):
    check_conv2d(mode, case)


def test_taps_outside_the_map_cost_nothing_and_learn_nothing():
    x = _normal(6, 1, 9, 9, 2)

    def fn(kernel):
        return ops.conv2d(jnp.asarray(x, jnp.float32), kernel, dilation=12)

    kernel = jnp.ones((3, 3, 2, 4))
    # What is left is a 1x1 kernel, which a CPU takes as a product; one of nine taps it would not.
    assert "stablehlo.convolution" not in jax.jit(fn).lower(kernel).as_text()
    gradient = jax.grad(lambda k: fn(k).sum())(kernel)
    np.testing.assert_allclose(gradient[1, 1, :, 0], x.sum((0, 1, 2)), rtol=1e-4, atol=1e-4)
    assert not gradient.at[1, 1].set(0.0).any()


def check_conv2d(mode, case):
    size, stride, dilation, height, width, channels, features = case
    x = _normal(6, 2, height, width, channels)
    kernel = _normal(7, size, size, channels, features)
    expected = reference.conv2d(x, kernel, stride, dilation, mode)

    def fn(a, b):
        return ops.conv2d(a, b, stride=stride, dilation=dilation, padding=mode)

    check_everywhere(fn, (x, kernel), expected, atol=2e-4)


@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect", "replicate", "partial"])
def test_max_pool2d(mode):
    x = _normal(10, 2, 6, 8, 3) - 2.0  # mostly negative: a border of zeros would win
    expected = reference.max_pool2d(x, 3, 2, 1, mode)

    def fn(a):
        return ops.max_pool2d(a, size=3, stride=2, amount=1, padding=mode)

    check_everywhere(fn, (x,), expected)


def test_the_gradient_of_a_max_pool_goes_to_the_winners():
    x = _normal(14, 1, 4, 4, 1)
    gradient = jax.jit(jax.grad(lambda a: ops.max_pool2d(a, size=2, stride=2).sum()))(x)
    winners = np.zeros((4, 4))
    for i in (0, 2):
        for j in (0, 2):
            block = x[0, i : i + 2, j : j + 2, 0]
            winners[i + block.argmax() // 2, j + block.argmax() % 2] = 1
    np.testing.assert_array_equal(np.asarray(gradient)[0, :, :, 0], winners)


def test_the_gradient_of_a_max_pool_of_overlapping_windows_is_that_of_the_plain_one():
    x = _normal(15, 2, 9, 12, 3)

    def plain(a):
        window, step, pad = (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0))
        return jax.lax.reduce_window(a, -jnp.inf, jax.lax.max, window, step, pad)

    def fast(a):
        return ops.max_pool2d(a, size=3, stride=2, amount=1)

    weights = _normal(16, *plain(x).shape)
    found, expected = (
        jax.jit(jax.grad(lambda a, f=f: (weights * f(a)).sum()))(x) for f in (plain, fast)
    )
    assert jnp.abs(expected).max() > 1.0
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_circular_convolution_commutes_with_circular_shifts_and_zeros_does_not():
    x, kernel = _normal(11, 1, 8, 8, 2), _normal(12, 3, 3, 2, 2)

    def gap(mode):
        rolled = ops.conv2d(jnp.roll(x, (2, 3), (1, 2)), kernel, padding=mode)
        return float(
            jnp.abs(rolled - jnp.roll(ops.conv2d(x, kernel, padding=mode), (2, 3), (1, 2))).max()
        )

    assert gap("circular") < 1e-4
    assert gap("zeros") > 0.1


def test_unknown_padding_is_refused():
    with pytest.raises(ValueError, match="`mode` must be one of .*got 'mirror'"):
        ops.pad2d(jnp.zeros((1, 4, 4, 1)), 1, "mirror")


def test_cross_entropy_is_float32_and_exact_for_large_logits():
    logits, labels = 50 * _normal(13, 6, 4), np.array([0, 1, 2, 3, 0, 1])
    expected = reference.cross_entropy(logits, labels)
    check_everywhere(ops.cross_entropy, (logits, labels), expected, atol=1e-3)
    assert ops.cross_entropy(jnp.asarray(logits, jnp.bfloat16), labels).dtype == jnp.float32


def test_masked_sum_leaves_padding_out():
    values, mask = np.array([1.0, 5.0, 3.0]), np.array([True, False, True])
    assert [float(v) for v in ops.masked_sum(values, mask=mask)] == [4.0, 2.0]
    assert [float(v) for v in ops.masked_sum(values)] == [9.0, 3.0]


def test_resamples_draw_as_many_images_as_there_are_and_the_same_for_one_seed():
    drawn = ops.draw_resamples(40, num_draws=500, seed=3)
    rows = np.random.default_rng(3).integers(0, 40, (500, 40))
    np.testing.assert_array_equal(drawn, [np.bincount(row, minlength=40) for row in rows])
    with pytest.raises(ValueError, match="read-only"):
        drawn[0, 0] = 1


def test_clusters_are_drawn_whole():
    clusters = np.array(["b", "a", "b", "c", "c", "c"])
    drawn = ops.cluster_resamples(clusters, num_draws=300, seed=1)
    assert (drawn[:, [0, 3, 3]] == drawn[:, [2, 4, 5]]).all()
    assert (drawn[:, [1, 0, 3]].sum(axis=1) == 3).all()
    # Every image a cluster of its own: images are drawn.
    alone = ops.cluster_resamples(np.arange(40), num_draws=9, seed=3)
    np.testing.assert_array_equal(alone, ops.draw_resamples(40, num_draws=9, seed=3))
    # Means over resamples spread as those of clusters do.
    frames = np.repeat(np.arange(50), 8)
    scores = np.random.default_rng(0).normal(size=50)[frames][:, None]
    options = {"num_draws": 500, "seed": 0}
    by_video = ops.resampled_means(scores, np.ones(400), clusters=frames, **options)
    by_frame = ops.resampled_means(scores, np.ones(400), **options)
    assert by_video.std() == pytest.approx(8**0.5 * by_frame.std(), rel=0.15)


def test_bootstrap_interval_has_the_textbook_width_and_widens_with_seeds():
    scores = (np.random.default_rng(0).random(1000) < 0.7).astype(float)
    low, high = ops.bootstrap_interval(scores)
    half = 1.96 * scores.std() / np.sqrt(1000)
    assert low < scores.mean() < high
    assert abs((high - low) / 2 - half) < 0.15 * half
    apart = np.stack([scores, scores - 0.3, scores + 0.3])
    wide_low, wide_high = ops.bootstrap_interval(apart)
    assert wide_high - wide_low > 0.3


def test_an_interval_of_all_right_or_all_wrong_still_has_a_width():
    low, high = ops.bootstrap_interval(np.ones(359))
    assert (low, high) == (pytest.approx(stats.beta.ppf(0.025, 359, 1)), 1.0)
    low, high = ops.bootstrap_interval(np.zeros((3, 40)))
    assert (low, high) == (0.0, pytest.approx(stats.beta.ppf(0.975, 1, 40)))


def test_position_selectivity_is_one_zero_or_in_between():
    rng = np.random.default_rng(1)
    cells, images = 9, 400
    latent = rng.normal(size=(images, cells, 4))
    latent[:, :, 0] = np.arange(cells)  # the cell alone
    latent[:, :, 2] += 2 * np.arange(cells)  # both: variance 80/12*4 between, 1 within
    latent[:, :, 3] = 7.0  # dead
    found = ops.position_selectivity(latent.sum(0), (latent**2).sum(0), images)
    between = 4 * np.var(np.arange(cells))
    np.testing.assert_allclose(found, [1, 0, between / (between + 1), 0], atol=0.02)


def test_key_is_the_first_argument_of_every_random_function():
    for name, fn in vars(ops).items():
        if callable(fn):
            names = list(inspect.signature(fn).parameters)
            assert "rng" not in names
            assert "key" not in names[1:], name
