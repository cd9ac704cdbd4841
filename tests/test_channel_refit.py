"""Probes fitted again on the channels that are left, against a regression in float64."""

import jax.numpy as jnp
import numpy as np

from gpool_jax.experiments.channels import refit
from gpool_jax.ops import ridge

ROWS, CHANNELS, CLASSES = 600, 12, 3


def _latent():
    """Every class is told by four channels, each of them well."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, CLASSES, ROWS)
    told = np.eye(CLASSES)[label][:, np.arange(CHANNELS) % CLASSES]
    return told + rng.normal(0, 0.3, (ROWS, CHANNELS)) + rng.normal(0, 5, CHANNELS), label


def _moments(x, label):
    fold = jnp.zeros(len(x), int)
    return ridge.fold_moments(
        jnp.asarray(x, jnp.float32), np.eye(CLASSES)[label], fold, num_folds=1
    )


def test_a_probe_without_channels_is_the_regression_on_the_others():
    x, label = _latent()
    masks = np.ones((3, CHANNELS), bool)
    masks[1, [0, 3, 7]] = False
    masks[2, :] = False
    mean, kernel, offset = map(np.asarray, refit.fit_without(_moments(x, label), masks))
    for keep, m, w, b in zip(masks, mean, kernel[:, 0], offset, strict=True):
        left = x[:, keep]
        z = (left - left.mean(axis=0)) / left.std(axis=0)
        y = np.eye(CLASSES)[label]
        gram = z.T @ z / ROWS + 0.01 * np.eye(keep.sum())
        expected = z @ np.linalg.solve(gram, z.T @ (y - y.mean(axis=0)) / ROWS) + y.mean(axis=0)
        np.testing.assert_allclose((x - m) @ w + b, expected, atol=1e-3)
        assert (w[~keep] == 0).all()


def test_what_others_tell_too_is_lost_to_the_old_probe_and_not_to_the_new_one():
    x, label = _latent()
    keep = np.ones(CHANNELS, bool)
    keep[[0, 3, 6]] = False  # three of the four that tell class 0
    mean, kernel, offset = map(
        np.asarray, refit.fit_without(_moments(x, label), np.stack([np.ones_like(keep), keep]))
    )
    without = np.where(keep, x, 0.0)

    def accuracy(i):
        return (((without - mean[i]) @ kernel[i, 0] + offset[i]).argmax(axis=1) == label).mean()

    assert accuracy(1) > 0.95
    assert accuracy(0) < accuracy(1) - 0.1
