"""The random code: what is kept, what is drawn anew, and that it is as legible as asked."""

import jax
import numpy as np
import pytest

from gpool_jax import ops
from tests import reference

pytestmark = pytest.mark.usefixtures("strict_types")

KEY = jax.random.key(0)


def latents(seed=0, images=30, cells=9, channels=16, noise=1.5):
    rng = np.random.default_rng(seed)
    code = rng.normal(size=(1, cells, channels))
    return (code + noise * rng.normal(size=(images, cells, channels))).astype(np.float32)


def test_each_channel_keeps_its_cell_means_but_not_which_cell_has_which():
    x = latents()
    means, deviations = (np.asarray(part) for part in ops.shuffle_code(KEY, x))
    observed = x.mean(axis=0)
    np.testing.assert_allclose(np.sort(means, axis=0), np.sort(observed, axis=0), atol=1e-5)
    np.testing.assert_allclose(deviations, x - observed, atol=1e-5)
    # A permutation of its own: shared by all channels, it would leave the code as it is.
    orders = {
        tuple(np.argsort(means[:, c])[np.argsort(np.argsort(observed[:, c]))]) for c in range(16)
    }
    assert len(orders) > 10


def test_nearest_means_are_those_of_the_other_images():
    x = latents(images=12, noise=2.5)
    expected = reference.nearest_mean_hits(x)
    assert 0.3 < expected.mean() < 0.95
    np.testing.assert_array_equal(ops.nearest_mean_hits(x), expected)
    # Nothing but noise: a mean that included the latent itself would find its cell.
    noise = np.random.default_rng(1).normal(size=(20, 4, 300)).astype(np.float32)
    assert float(ops.nearest_mean_hits(noise).mean()) < 0.45


def test_the_random_code_is_as_legible_as_the_observed_one():
    # All channels alike: far less legible than when each has a code of its own.
    x = latents(channels=1) + 0.3 * latents(1)
    observed = float(ops.nearest_mean_hits(x).mean())
    found = ops.random_code(KEY, x, tolerance=0.01)
    assert found.accuracy == pytest.approx(observed, abs=0.01)
    assert float(ops.nearest_mean_hits(found.latent).mean()) == pytest.approx(found.accuracy)
    assert found.noise > 1.1
    # Only the means are shuffled: what is left is the observed noise, scaled.
    spread = np.asarray(found.latent).std(axis=0) / x.std(axis=0)
    np.testing.assert_allclose(spread, found.noise, rtol=1e-4)


@pytest.mark.parametrize(("target", "noise"), [(0.9, 0.5), (0.3, 4.0), (0.6, 1.0)])
def test_the_noise_is_found_on_both_sides_of_one(target, noise):
    x = latents()
    scale = np.asarray(ops.shuffle_code(KEY, x)[1]).std()

    def accuracy(latent):  # falls with the noise, and is `target` at `noise`
        ratio = float((latent - latent.mean(axis=0)[None]).std()) / scale
        return target - 0.1 * np.log2(ratio / noise)

    found = ops.random_code(KEY, x, accuracy=accuracy, target=target, tolerance=1e-3)
    assert found.noise == pytest.approx(noise, rel=0.02)


def test_a_saturated_accuracy_leaves_the_noise_as_observed():
    found = ops.random_code(KEY, latents(noise=0.1))
    assert (found.noise, found.accuracy) == (1.0, 1.0)


def test_an_accuracy_out_of_reach_gives_the_nearest():
    tried = []

    def accuracy(latent):
        tried.append(latent)
        return 0.5 - 0.01 * len(tried)

    found = ops.random_code(KEY, latents(), accuracy=accuracy, target=0.9, max_steps=4)
    assert len(tried) == 4
    assert found.accuracy == pytest.approx(0.49)
    with pytest.raises(ValueError, match="`max_steps` must be at least 1; got 0"):
        ops.random_code(KEY, latents(), target=0.5, max_steps=0)
