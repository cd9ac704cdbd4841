"""Probes: against closed forms, on data whose answer is known, and blind to the held-out rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpool_jax.ops import probe
from tests import reference

KEY = jax.random.key(0)


def blobs(seed=0, images=60, cells=4, channels=6, noise=0.3):
    """Rows (image, cell) whose mean is the cell's."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(cells, channels))
    x = centres[None] + noise * rng.normal(size=(images, cells, channels))
    fold = np.repeat(np.arange(images) % 5, cells)
    return x.reshape(-1, channels).astype(np.float32), np.tile(np.arange(cells), images), fold


def correct(x, y, fold, kind, classes=4):
    answers = probe.cross_validate(
        KEY, x, jnp.asarray(y), jnp.asarray(fold), kind=kind, num_classes=classes, num_folds=5
    )
    return np.asarray(answers[0])


@pytest.mark.parametrize("kind", probe.KINDS)
def test_a_probe_reads_what_is_there_and_nothing_else(kind):
    x, y, fold = blobs()
    assert correct(x, y, fold, kind).mean() > 0.97
    shuffled = np.random.default_rng(1).permutation(y)
    assert abs(correct(x, shuffled, fold, kind).mean() - 0.25) < 0.12


def test_ridge_gives_the_closed_form_answers():
    x, y, fold = blobs(noise=1.5)
    found = correct(x, y, fold, "ridge")
    expected = np.zeros_like(found)
    for k in range(5):
        picking, fitting = fold == (k + 1) % 5, (fold != k) & (fold != (k + 1) % 5)
        answers = [reference.ridge_answers(x, y, fitting, s, 4) for s in probe.STRENGTHS]
        best = int(np.argmax([(a == y)[picking].sum() for a in answers]))
        expected[fold == k] = (answers[best] == y)[fold == k]
    assert 0.3 < expected.mean() < 0.95
    # A tie of two scores may fall either way in float32.
    assert (found == expected).mean() > 0.99


def test_logistic_agrees_with_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y, _ = blobs(noise=1.0)
    weight = jnp.ones(len(y))
    z, _ = probe._standardise(jnp.asarray(x), weight)
    logits = probe._logistic(KEY, z, jnp.asarray(y), weight, 1e-2, 4)
    model = linear_model.LogisticRegression(C=1 / (1e-2 * len(y)), tol=1e-8, max_iter=1000)
    expected = model.fit(np.asarray(z), y).predict_log_proba(np.asarray(z))
    np.testing.assert_allclose(jax.nn.log_softmax(logits), expected, atol=2e-2)


def test_an_image_memorised_is_not_an_image_known():
    # Every row of an image is the image's own random code and so is its label:
    # folds of rows would score 100 %, folds of images are left at chance.
    rng = np.random.default_rng(2)
    codes, labels = rng.normal(size=(60, 30)), rng.integers(0, 4, 60)
    x = np.repeat(codes, 4, axis=0).astype(np.float32)
    y, image = np.repeat(labels, 4), np.repeat(np.arange(60), 4)
    by_image = correct(x, y, image % 5, "ridge").mean()
    by_row = correct(x, y, np.arange(240) % 5, "ridge").mean()
    assert by_row > by_image + 0.2


def test_the_sorted_latent_is_the_maximal_invariant():
    x = np.random.default_rng(3).normal(size=(5, 8)).astype(np.float32)
    permuted = np.stack([np.random.default_rng(i).permutation(row) for i, row in enumerate(x)])
    np.testing.assert_array_equal(probe.sorted_latent(x), probe.sorted_latent(permuted))
    assert not np.array_equal(probe.sorted_latent(x[:1]), probe.sorted_latent(x[1:2]))


def test_a_dead_channel_changes_nothing():
    x, y, fold = blobs()
    dead = np.concatenate([x, np.full((len(x), 1), 1e6, np.float32)], axis=1)
    np.testing.assert_array_equal(correct(x, y, fold, "ridge"), correct(dead, y, fold, "ridge"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "tree", "num_folds": 5}, "`kind` must be one of"),
        ({"kind": "ridge", "num_folds": 2}, "`num_folds` must be at least 3; got 2"),
    ],
)
def test_bad_options_are_refused(options, message):
    x, y, fold = blobs()
    with pytest.raises(ValueError, match=message):
        probe.cross_validate(KEY, x, jnp.asarray(y), jnp.asarray(fold), num_classes=4, **options)
