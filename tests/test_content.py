"""Content of latents, and the orders in which they are given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpool_jax import ops
from tests import reference

pytestmark = pytest.mark.usefixtures("strict_types")

KEY = jax.random.key(0)


def latents(seed=0, images=12, cells=4, channels=10, noise=1.0, position=1.0):
    """Latents of images in cells: the image's code plus the cell's plus noise."""
    rng = np.random.default_rng(seed)
    code = rng.normal(size=(images, 1, channels)) + position * rng.normal(size=(1, cells, channels))
    x = code + noise * rng.normal(size=(images, cells, channels))
    return (3 * x + 5).astype(np.float32)


@pytest.mark.parametrize("block", [5, 1024])
def test_content_is_matched_as_a_loop_does(block):
    # Blocks that do not divide the images, and the image's own cell left out of its mean.
    x = latents(noise=1.5)
    expected = reference.content_matches(x)
    assert 0.2 < expected.mean() < 0.95
    np.testing.assert_allclose(ops.content_matches(x, block=block), expected)
    swept = jax.vmap(ops.content_matches)(jnp.stack([x, x[::-1]]))
    np.testing.assert_allclose(swept[1][::-1], expected)


def test_an_image_is_not_recognised_by_the_very_latent_that_is_matched():
    # Nothing but noise: a mean that included the latent itself would find all of them.
    x = latents(images=40, channels=200, noise=1e3)
    assert float(ops.content_matches(x).mean()) < 0.15


def test_images_that_look_alike_share_the_hit():
    x = latents(images=5, noise=0.1)
    x[3] = x[1]
    found = np.asarray(ops.content_matches(x))
    np.testing.assert_allclose(found[[0, 2, 4]], 1.0)
    np.testing.assert_allclose(found[[1, 3]], 0.5)
    np.testing.assert_allclose(ops.content_matches(np.ones((5, 4, 3), np.float32)), 0.2)


def test_content_does_not_depend_on_the_scale_of_channels():
    x = latents(noise=1.5)
    scaled = x * np.logspace(-3, 3, 10, dtype=np.float32) - 2
    np.testing.assert_allclose(ops.content_matches(scaled), ops.content_matches(x))


def test_sorted_and_permuted_latents_are_those_of_each_row():
    x = latents()
    ordered, permuted, in_rank = ops.input_orders(KEY, x, block=7)
    np.testing.assert_array_equal(ordered, x)
    np.testing.assert_array_equal(in_rank, np.sort(x, axis=-1))
    rows = x.reshape(-1, 10)
    own = ops.draw_permutations(KEY, jnp.arange(len(rows)), 10)
    np.testing.assert_array_equal(permuted.reshape(rows.shape), ops.permute_channels(rows, own))
    assert len({tuple(order) for order in np.asarray(own)}) > 40


def test_what_order_carries_is_lost_to_the_permuted_latent():
    x = ops.standardise(latents(images=30, channels=60, noise=0.3, position=0.0))
    ordered, permuted, _ = (ops.content_matches(z).mean() for z in ops.input_orders(KEY, x))
    assert ordered > 0.99
    assert permuted < 0.15


def test_channels_are_standardised_by_the_fitting_rows():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(6, 3, 4)).astype(np.float32) * 10 + 1e3
    x[..., 2] = 7.0
    fitting = rng.random((6, 3)) < 0.6
    expected = reference.standardise(x.reshape(-1, 4), fitting.ravel()).reshape(x.shape)
    assert (expected[..., 2] == 0).all()
    found = jax.jit(lambda a, w: ops.standardise(a, fitting=w))(x, fitting)
    np.testing.assert_allclose(found, expected, atol=2e-4)
    # Constant up to the last digit: nothing but rounding would be blown up.
    x[..., 2] += 1e-6 * (rng.random((6, 3)) < 0.5)
    assert np.ptp(x[..., 2]) > 0
    np.testing.assert_array_equal(ops.standardise(x)[..., 2], 0.0)


@pytest.mark.parametrize("shape", [(1, 4, 3), (4, 1, 3)])
def test_one_image_or_one_cell_is_refused(shape):
    for measure in (ops.content_matches, ops.variance_shares):
        with pytest.raises(ValueError, match="at least 2 images in at least 2 cells"):
            measure(np.ones(shape, np.float32))
