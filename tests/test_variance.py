"""The two-way split of variance: against sums written out, and against what is known."""

import jax
import numpy as np
import pytest

from gpool_jax import ops
from tests import reference

pytestmark = pytest.mark.usefixtures("strict_types")


def _normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def test_shares_are_those_of_the_definition_and_add_up_to_one():
    # Means far from 0, and channels of very different scales.
    x = _normal(0, 7, 4, 5) + _normal(1, 1, 4, 5) + 2 * _normal(2, 7, 1, 5)
    x = (x * [1, 1e3, 1e-3, 1, 1] + [0, 1e4, 0, 100, -3]).astype(np.float32)
    found = ops.variance_shares(x)
    expected = np.stack([reference.variance_shares(x[..., c]) for c in range(5)], axis=1)
    np.testing.assert_allclose(np.stack(found[:3]), expected, atol=1e-5)
    np.testing.assert_allclose(sum(found[:3]), 1.0, atol=1e-6)
    swept = jax.vmap(ops.variance_shares)(np.stack([x, x[::-1]]))
    np.testing.assert_allclose(swept.position[1], found.position, atol=1e-6)


def test_each_cause_alone_takes_all_of_the_variance():
    shape = (6, 4, 1)
    position = np.broadcast_to(_normal(3, 1, 4, 1), shape)
    content = np.broadcast_to(_normal(4, 6, 1, 1), shape)
    # Only their product: means over images and over cells are all 0.
    interaction = np.outer([1, -1, 1, -1, 1, -1], [1, 1, -1, -1])[..., None]
    # One channel is constant up to its last digit.
    dead = 1e4 + 1e-3 * (_normal(5, *shape) > 0)
    x = np.concatenate([position, content, interaction, dead], axis=2)
    shares = np.stack(ops.variance_shares(x.astype(np.float32))[:3])
    np.testing.assert_allclose(shares[:, :3], np.eye(3), atol=1e-6)
    # A dead channel has no variance to share: no NaN, and no rounding taken for a cause.
    np.testing.assert_array_equal(shares[:, 3], 0.0)


def test_corrected_shares_are_zero_on_average_where_there_is_nothing():
    # Eta squared of noise: (M - 1) / (N M - 1) for position, (N - 1) / (N M - 1) for content.
    shares = ops.variance_shares(_normal(5, 8, 4, 3000).astype(np.float32))
    np.testing.assert_allclose(shares.position.mean(), 3 / 31, atol=0.01)
    np.testing.assert_allclose(shares.content.mean(), 7 / 31, atol=0.01)
    assert abs(float(shares.position_corrected.mean())) < 0.01
    assert abs(float(shares.content_corrected.mean())) < 0.01


def test_corrected_shares_are_those_of_the_textbook():
    x = (_normal(6, 7, 4) + 2 * _normal(7, 1, 4)).astype(np.float32)
    position, content, interaction = reference.variance_shares(x)
    error = interaction / (6 * 3)
    found = ops.variance_shares(x[..., None])
    for share, corrected, degrees in (
        (position, found.position_corrected, 3),
        (content, found.content_corrected, 6),
    ):
        np.testing.assert_allclose(corrected[0], (share - degrees * error) / (1 + error), atol=1e-5)
