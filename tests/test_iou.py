"""Confusion matrices, IoUs and pixel losses, against loops in NumPy and scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn import metrics

from gpool_jax import ops

pytestmark = pytest.mark.usefixtures("strict_types")

K = 4


def _case(seed=0, ignore=0.2):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, K, (3, 5, 6))
    labels[rng.random(labels.shape) < ignore] = 255
    return rng.integers(0, K, (3, 5, 6)), labels.astype(np.uint8)


def _masks():
    names = ("overall", "left", "right", "centre")
    return np.stack([ops.region_mask(ops.region_box(n), 5, 6) for n in names])


def _reference(answers, labels, mask):
    confusion = np.zeros((K, K), int)
    for i in range(5):
        for j in range(6):
            if mask[i, j] and labels[i, j] < K:
                confusion[labels[i, j], answers[i, j]] += 1
    return confusion


def test_confusion_matrix_counts_each_pixel_in_every_region_that_holds_it():
    answers, labels = _case()
    count = jax.jit(lambda a, t: ops.confusion_matrix(a, t, _masks(), num_classes=K))
    got = np.asarray(count(answers, labels))
    assert got.dtype == np.int32
    for b in range(3):
        for r, mask in enumerate(_masks()):
            np.testing.assert_array_equal(got[b, r], _reference(answers[b], labels[b], mask))


def test_confusion_matrix_is_scikit_learns_and_vmaps_over_answers():
    answers, labels = _case(1)
    many = np.stack([answers, (answers + 1) % K])
    everywhere = np.ones((1, 5, 6), bool)
    got = jax.vmap(
        lambda a: ops.confusion_matrix(a, jnp.asarray(labels), everywhere, num_classes=K)
    )(many)
    known = labels < K
    for m in range(2):
        expected = metrics.confusion_matrix(labels[known], many[m][known], labels=range(K))
        np.testing.assert_array_equal(got[m].sum(axis=(0, 1)), expected)


def test_mean_iou_is_scikit_learns_where_every_class_is_there():
    answers, labels = _case(2)
    known = labels < K
    confusion = ops.confusion_matrix(answers, labels, np.ones((1, 5, 6), bool), num_classes=K)
    counts = np.asarray(ops.class_counts(confusion))[:, 0].sum(axis=0)
    expected = metrics.jaccard_score(labels[known], answers[known], average=None)
    np.testing.assert_allclose(ops.class_iou(counts), expected, atol=1e-12)
    assert ops.mean_iou(counts) == pytest.approx(expected.mean())
    right = metrics.accuracy_score(labels[known], answers[known])
    assert ops.pixel_accuracy(counts) == pytest.approx(right)


def test_a_class_that_is_nowhere_is_left_out_and_one_only_answered_counts_zero():
    # Class 0: 2 of 3 right; class 1: answered once, wrongly; class 2 and 3: nowhere.
    answers, labels = np.array([[[0, 0, 1]]]), np.array([[[0, 0, 0]]])
    confusion = ops.confusion_matrix(answers, labels, np.ones((1, 1, 3), bool), num_classes=K)
    counts = np.asarray(ops.class_counts(confusion))[0, 0]
    np.testing.assert_allclose(ops.class_iou(counts), [2 / 3, 0.0, np.nan, np.nan])
    assert ops.mean_iou(counts) == pytest.approx(1 / 3)


def test_an_image_without_labels_counts_nothing_and_breaks_nothing():
    answers, labels = _case(3)
    everywhere = np.ones((1, 5, 6), bool)

    def counts(a, t):
        confusion = ops.confusion_matrix(a, t, everywhere, num_classes=K)
        return np.asarray(ops.class_counts(confusion)).sum(axis=0)

    empty = np.full_like(labels[:1], 255)
    with_empty = counts(np.concatenate([answers, answers[:1]]), np.concatenate([labels, empty]))
    np.testing.assert_array_equal(with_empty, counts(answers, labels))
    assert np.isnan(ops.mean_iou(counts(answers[:1], empty)[0]))
    assert np.isnan(ops.pixel_accuracy(counts(answers[:1], empty)[0]))


def test_pixel_cross_entropy_is_that_of_each_labelled_pixel():
    logits = np.random.default_rng(4).normal(size=(3, 5, 6, K)).astype(np.float32)
    _, labels = _case(4)
    losses, weights = jax.jit(ops.pixel_cross_entropy)(logits, labels)
    np.testing.assert_array_equal(weights, labels < K)
    expected = optax.softmax_cross_entropy_with_integer_labels(
        logits, np.where(labels < K, labels, 0)
    )
    np.testing.assert_allclose(losses, np.where(labels < K, expected, 0.0), atol=1e-5)


def test_class_weights_and_focal_loss():
    logits = np.random.default_rng(5).normal(size=(3, 5, 6, K)).astype(np.float32)
    _, labels = _case(5)
    known, safe = labels < K, np.where(labels < K, labels, 0)
    given = np.array([1.0, 0.0, 2.0, 0.5], np.float32)
    plain, _ = ops.pixel_cross_entropy(logits, labels)
    focal, weights = ops.pixel_cross_entropy(
        logits, labels, class_weights=jnp.asarray(given), focal_gamma=2.0
    )
    np.testing.assert_allclose(weights, np.where(known, given[safe], 0.0))
    p = np.exp(-np.asarray(plain))
    np.testing.assert_allclose(focal, np.where(known, (1 - p) ** 2 * plain, 0.0), atol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_the_gradient_is_finite_at_certainty_and_absent_where_nothing_is_labelled(gamma):
    logits = jnp.array([[[[200.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0]]]])
    labels = jnp.array([[[0, 255]]])
    gradient = jax.grad(lambda x: ops.pixel_cross_entropy(x, labels, focal_gamma=gamma)[0].sum())(
        logits
    )
    assert np.isfinite(gradient).all()
    assert np.abs(np.asarray(gradient)[0, 0, 1]).max() == 0.0
