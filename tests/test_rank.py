"""Scores of channels: against loops and finite differences, and the null test of the control."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gpool_jax import models, ops


def _normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _masks(*names, height=4, width=6):
    return np.stack([ops.region_mask(ops.region_box(n), height, width) for n in names])


def test_region_means_are_means_over_the_regions_pixels():
    x, masks = _normal(0, 2, 4, 6, 3), _masks("left", "0.5,0,1,1", "overall")
    weights = masks.astype(np.float32)
    means = np.asarray(jax.jit(ops.region_means)(x, weights))
    for r, mask in enumerate(masks):
        for b in range(2):
            expected = x[b][mask].astype(np.float64).mean(axis=0)
            np.testing.assert_allclose(means[b, r], expected, atol=1e-6)


@pytest.mark.parametrize("axis", [1, 2])
def test_signed_flip_difference_compares_the_same_content_on_both_sides(axis):
    x, mirrored = _normal(1, 2, 4, 6, 3), _normal(2, 2, 4, 6, 3)
    mask = _masks("left" if axis == 2 else "top")
    got = np.asarray(ops.flip_difference(x, mirrored, mask.astype(np.float32), axis=axis))
    for b in range(2):
        total, count = np.zeros(3), 0
        for i in range(4):
            for j in range(6):
                if mask[0, i, j]:
                    other = (i, 5 - j) if axis == 2 else (3 - i, j)
                    total += x[b, i, j] - mirrored[b][other]
                    count += 1
        np.testing.assert_allclose(got[b, 0], total / count, atol=1e-5)


def test_absolute_flip_difference_is_that_of_the_pooled_channels():
    x, mirrored = _normal(3, 2, 4, 6, 3), _normal(4, 2, 4, 6, 3)
    expected = np.abs(x.mean(axis=(1, 2)) - mirrored.mean(axis=(1, 2)))
    np.testing.assert_allclose(ops.absolute_flip_difference(x, mirrored), expected, atol=1e-6)
    # Mirroring the map itself moves nothing out of it.
    np.testing.assert_allclose(ops.absolute_flip_difference(x, x[:, :, ::-1]), 0.0, atol=1e-6)


def test_translation_difference_is_inside_less_outside():
    latent = _normal(5, 2, 4, 3)
    inside = np.array([True, False, True, False])
    expected = latent[:, [0, 2]].mean(axis=1) - latent[:, [1, 3]].mean(axis=1)
    got = jax.jit(lambda x: ops.translation_difference(x, inside))(latent)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    opposite = ops.translation_difference(jnp.asarray(latent), ~inside)
    np.testing.assert_allclose(opposite, -expected, atol=1e-6)


def test_absolute_translation_difference_is_the_mean_over_all_pairs_of_places():
    latent = _normal(6, 2, 4, 3)
    expected = np.zeros((2, 3))
    for p in range(4):
        for q in range(p):
            expected += np.abs(latent[:, p] - latent[:, q]) / 6
    np.testing.assert_allclose(ops.absolute_translation_difference(latent), expected, atol=1e-6)


def _latents_and_flips(padding):
    """Pooled channels of one crop in all cells, and of canvases and their mirror images."""
    model = models.create("cifar_resnet20", num_outputs=2, head="linear", padding=padding)
    images = _normal(7, 2, 16, 16, 3)
    canvases = np.asarray(ops.place_everywhere(jnp.asarray(images), 2))
    variables = model.init(jax.random.key(0), canvases[0])
    apply = jax.jit(lambda v, x: model.apply(v, x)[1]["pre_gap"])
    maps = apply(variables, canvases.reshape(-1, 32, 32, 3))
    flipped = apply(variables, canvases.reshape(-1, 32, 32, 3)[:, :, ::-1])
    return np.asarray(ops.global_average_pool(maps)).reshape(2, 4, -1), maps, flipped


def test_a_network_that_cannot_know_position_scores_zero_by_translation_but_not_by_flip():
    latent, maps, flipped = _latents_and_flips("circular")
    scale = np.abs(latent).mean()
    absolute = np.asarray(ops.absolute_translation_difference(latent))
    assert absolute.max() < 1e-5 * scale
    signed = np.asarray(ops.translation_difference(latent, np.array([1, 0, 1, 0], bool)))
    assert np.abs(signed).max() < 1e-5 * scale
    # The paper's difference is not zero there: a mirrored image is another image.
    assert np.asarray(ops.absolute_flip_difference(maps, flipped)).mean() > 1e-2 * scale


def test_a_network_with_a_border_scores_above_zero_by_translation():
    latent, _, _ = _latents_and_flips("zeros")
    # The place of the crop moves a good part of the channels visibly.
    share = np.asarray(ops.absolute_translation_difference(latent)).mean(0) / np.abs(latent).mean()
    assert (share > 1e-2).mean() > 0.25


def _losses(weights):
    """Two regions' losses of three examples, each a function of its own gate."""

    def losses(gate):
        hidden = jnp.tanh(jnp.einsum("bc,rbc->rb", gate, weights))
        return hidden**2 + gate.sum(axis=1)[None] * 0.1

    return losses


def test_gate_gradient_is_the_first_order_rise_of_each_regions_loss():
    weights = _normal(8, 2, 3, 4)
    losses, gate = _losses(weights), jnp.ones((3, 4))
    values, rise = jax.jit(lambda g: ops.gate_gradient(losses, g))(gate)
    np.testing.assert_allclose(values, losses(gate), atol=1e-6)
    step = 1e-2
    for c in range(4):
        shut = gate.at[:, c].add(-step)
        open_ = gate.at[:, c].add(step)
        expected = (np.asarray(losses(shut)) - np.asarray(losses(open_))) / (2 * step)
        np.testing.assert_allclose(rise[:, :, c], expected, atol=2e-3)


def test_integrated_gate_gradients_add_up_to_the_loss_of_removing_everything():
    losses = _losses(_normal(9, 2, 3, 4))
    points = ops.midpoints(64)
    assert points[0] > points[-1] > 0
    gradient = np.mean([ops.gate_gradient(losses, jnp.full((3, 4), p))[1] for p in points], axis=0)
    rise = np.asarray(losses(jnp.zeros((3, 4))) - losses(jnp.ones((3, 4))))
    np.testing.assert_allclose(gradient.sum(axis=-1), rise, atol=1e-3)


def test_gradient_times_activation_is_the_channels_share_of_the_logit():
    kernel, latent, label = _normal(10, 5, 3), _normal(11, 2, 5), np.array([2, 0])
    got = ops.gradient_times_activation(jnp.asarray(kernel), latent, label)
    logits = (latent - latent.mean(axis=0)) @ kernel
    # Summed over channels: the right class's logit above the mean of all.
    expected = logits[[0, 1], label] - logits.mean(axis=1)
    np.testing.assert_allclose(np.asarray(got).sum(axis=1), expected, atol=1e-5)
    shifted = kernel + _normal(12, 5, 1)  # the softmax of shifted logits is the same
    other = ops.gradient_times_activation(jnp.asarray(shifted), latent, label)
    np.testing.assert_allclose(got, other, atol=1e-5)


def test_what_a_channel_adds_to_every_example_alike_is_no_share_of_the_logit():
    kernel, latent, label = _normal(14, 5, 3), _normal(15, 6, 5), np.array([0, 1, 2] * 2)
    plain = ops.gradient_times_activation(jnp.asarray(kernel), latent, label)
    lifted = latent + np.array([[0, 0, 100, 0, 0]], np.float32)
    other = ops.gradient_times_activation(jnp.asarray(kernel), lifted, label)
    np.testing.assert_allclose(plain, other, atol=1e-3)


def test_region_weights_share_out_the_pixels_that_a_border_cuts():
    for side in (3, 4, 5):
        left, right = (ops.region_weights(ops.region_box(n), 2, side) for n in ("left", "right"))
        np.testing.assert_allclose(left + right, 1.0)
        np.testing.assert_allclose(left, right[:, ::-1])
    # A box smaller than a pixel still has its share of one, and whole ones are masks.
    small = ops.region_weights((0.0, 0.0, 0.1, 0.1), 4, 5)
    assert small[0, 0] == pytest.approx(0.4 * 0.5)
    assert small.sum() == small[0, 0]
    mask = ops.region_mask(ops.region_box("0,0.25,1,0.5"), 4, 8)
    np.testing.assert_array_equal(ops.region_weights((0, 0.25, 1, 0.5), 4, 8), mask)


def test_rank_channels_puts_the_best_first_and_refuses_what_is_not_a_number():
    scores = np.array([[1.0, 3.0, 2.0], [5.0, 5.0, 6.0]])
    assert ops.rank_channels(scores).tolist() == [[1, 2, 0], [2, 0, 1]]
    with pytest.raises(ValueError, match="`scores` must be finite"):
        ops.rank_channels(np.array([1.0, np.nan]))


def test_overlap_counts_what_the_best_have_in_common():
    first, second = np.array([3, 1, 0, 2]), np.array([1, 3, 2, 0])
    assert [ops.overlap_at(first, second, n) for n in (1, 2, 3, 4)] == [0.0, 1.0, 2 / 3, 1.0]
    with pytest.raises(ValueError, match=r"`count` must be in \[1, 4\]; got 5"):
        ops.overlap_at(first, second, 5)


def test_rank_correlation_is_spearmans_with_shared_ranks():
    first = np.array([1.0, 2.0, 2.0, 5.0, -1.0])
    second = np.array([2.0, 1.0, 4.0, 9.0, 0.0])
    expected = stats.spearmanr(first, second).statistic
    assert ops.rank_correlation(first, second) == pytest.approx(expected, abs=1e-6)
    assert ops.rank_correlation(first, -(first**3)) == pytest.approx(-1.0)
    assert np.isnan(ops.rank_correlation(first, np.ones(5)))


def test_resampled_means_spread_as_means_do_and_skip_what_does_not_count():
    scores = _normal(13, 400, 2).astype(np.float64)
    weights = np.ones(400)
    drawn = ops.resampled_means(scores, weights, num_draws=600, seed=0)
    np.testing.assert_allclose(drawn.mean(axis=0), scores.mean(axis=0), atol=0.01)
    np.testing.assert_allclose(drawn.std(axis=0), scores.std(axis=0) / 20, rtol=0.15)
    weights[200:] = 0
    scores[200:] = 1e6
    half = ops.resampled_means(scores, weights, num_draws=50, seed=0)
    assert np.abs(half).max() < 1.0


def test_region_names():
    assert ops.region_box("5/3") == (1 / 3, 2 / 3, 2 / 3, 1.0)
    assert ops.region_box("0,0.5,0.25,1") == (0.0, 0.5, 0.25, 1.0)
    for name, message in {
        "lft": "must be among overall",
        "9/3": "i below n",
        "0,0,1.5,1": "outside the image",
        "nan,0,1,1": "outside the image",
        "0.5,0,0.5,1": "is empty",
        "0,0,1": "must be among overall",
    }.items():
        with pytest.raises(ValueError, match=message):
            ops.region_box(name)


def test_neighbouring_regions_share_no_pixel_and_leave_none_out():
    for names in (("left", "right"), ("top", "bottom"), [f"{i}/3" for i in range(9)]):
        masks = _masks(*names, height=7, width=10)
        assert (masks.sum(axis=0) == 1).all()
    centre = _masks("centre", height=2, width=8)[0]
    assert centre.tolist() == [[False, False, True, True, True, True, False, False]] * 2


def test_cells_of_a_region_have_their_centre_inside():
    assert ops.region_cells(ops.region_box("left"), 3).tolist() == [True, False, False] * 3
    assert ops.region_cells(ops.region_box("bottom"), 2).tolist() == [False, False, True, True]
    assert not ops.region_cells(ops.region_box("centre"), 2).any()


def test_mirror_axis():
    axes = {name: ops.mirror_axis(box) for name, box in ops.REGIONS.items()}
    assert axes == {
        "overall": None,
        "left": 2,
        "right": 2,
        "top": 1,
        "bottom": 1,
        "centre": None,
    }
