"""Values and intervals of quantities, against loops over images."""

import numpy as np
import pytest
from scipy import stats

from gpool_jax import ops
from gpool_jax.experiments.measures import intervals
from gpool_jax.experiments.measures.quantity import Quantity
from gpool_jax.experiments.segmentation.quantities import make_quantities

NUM_IMAGES, DRAWS = 30, 40


def _ratio(counts):
    counts = counts.astype(np.float64)
    return counts[..., 0] / np.where(counts[..., 1] > 0, counts[..., 1], np.nan)


def _counts(seed=0):
    total = np.random.default_rng(seed).integers(1, 20, NUM_IMAGES)
    return np.stack([np.random.default_rng(seed + 1).integers(0, total + 1), total], axis=-1)


def test_an_estimate_is_total_over_total_of_images_and_of_resampled_images():
    counts = _counts()
    resamples = ops.draw_resamples(NUM_IMAGES, num_draws=DRAWS, seed=3)
    found = intervals.estimate(Quantity("ratio", "r", _ratio), counts, resamples)
    assert found.value == counts[:, 0].sum() / counts[:, 1].sum()
    assert found.num_classes is None
    generator, values = np.random.default_rng(3), []
    for rows in generator.integers(0, NUM_IMAGES, (DRAWS, NUM_IMAGES)):
        hits = sum(counts[row, 0] for row in rows)
        values.append(hits / sum(counts[row, 1] for row in rows))
    low, high = np.quantile(values, [0.025, 0.975])
    # Thirty images: wider by Student's t and the small sample.
    wider = np.sqrt(30 / 29) * stats.t.ppf(0.975, 29) / stats.norm.ppf(0.975)
    expected = found.value - wider * (found.value - low), found.value + wider * (high - found.value)
    np.testing.assert_allclose([found.low, found.high], expected)


def test_resamples_hold_as_many_images_as_there_are():
    resamples = ops.draw_resamples(NUM_IMAGES, num_draws=DRAWS, seed=0)
    assert resamples.shape == (DRAWS, NUM_IMAGES)
    assert (resamples.sum(axis=1) == NUM_IMAGES).all()
    assert len(np.unique(resamples, axis=0)) == DRAWS


def test_what_no_resampled_image_tells_is_left_out_of_an_interval():
    assert intervals.percentile_interval(np.array([1.0, np.nan, 1.0])) == (1.0, 1.0)
    assert np.isnan(intervals.percentile_interval(np.array([np.nan]))).all()


def test_the_quantities_of_a_segmentation():
    # Two images of three classes, of which the last is nowhere: hits, labels, predictions.
    counts = np.array([[[3, 1, 0], [4, 6, 0], [8, 2, 0]], [[2, 2, 0], [5, 5, 0], [4, 6, 0]]])
    quantities = make_quantities(("sky", "ground", "box"))
    resamples = ops.draw_resamples(2, num_draws=DRAWS, seed=0)
    found = {k: intervals.estimate(q, counts, resamples) for k, q in quantities.items()}
    assert list(found) == ["miou", "pixel_accuracy", "iou_sky", "iou_ground", "iou_box"]
    sky, ground = 5 / (9 + 12 - 5), 3 / (11 + 8 - 3)
    assert found["iou_sky"].value == pytest.approx(sky)
    assert found["iou_ground"].value == pytest.approx(ground)
    assert np.isnan(found["iou_box"].value)
    assert found["miou"].value == pytest.approx((sky + ground) / 2)
    assert found["miou"].num_classes == 2
    assert found["pixel_accuracy"].value == pytest.approx(8 / 20)
    assert found["miou"].low < found["miou"].value < found["miou"].high


@pytest.mark.parametrize("hits", [0, 20])
def test_a_value_that_every_image_agrees_on_has_the_exact_binomial_bound(hits):
    counts = np.tile([hits, 20], (NUM_IMAGES, 1))
    resamples = ops.draw_resamples(NUM_IMAGES, num_draws=DRAWS, seed=0)
    found = intervals.estimate(Quantity("ratio", "r", _ratio), counts, resamples)
    exact = stats.binomtest(hits // 20 * NUM_IMAGES, NUM_IMAGES).proportion_ci(method="exact")
    assert (found.low, found.high) == (pytest.approx(exact.low), pytest.approx(exact.high))
    # Half of the images tell nothing of this region: there are fewer to bound by.
    counts[::2] = 0
    fewer = intervals.estimate(Quantity("ratio", "r", _ratio), counts, resamples)
    assert fewer.high - fewer.low > 1.8 * (found.high - found.low)
    # All images are of one cluster: one independent observation.
    one = intervals.estimate(
        Quantity("ratio", "r", _ratio), counts, resamples, np.zeros(NUM_IMAGES, int)
    )
    assert one.high - one.low == pytest.approx(0.975)


def test_p_values_are_students_by_the_resamples_or_exact_where_these_do_not_spread():
    draws = np.random.default_rng(0).normal(0.2, 0.1, 4000)
    expected = 2 * stats.t.sf(2 * np.sqrt(49 / 50), 49)
    assert intervals.p_value(0.2, draws, 50, (-1, 1)) == pytest.approx(expected, rel=0.1)
    assert intervals.p_value(-0.2, draws, 50, (-1, 1)) == pytest.approx(expected, rel=0.1)
    # Two videos say little, however they spread.
    assert intervals.p_value(0.2, draws, 2, (-1, 1)) > 0.3
    # Every image loses: a sign test. One image, resampled for ever, proves nothing.
    assert intervals.p_value(1.0, np.ones(9), 6, (-1, 1)) == pytest.approx(2 * 0.5**6)
    assert intervals.p_value(-1.0, -np.ones(9), 1, (-1, 1)) == 1.0
    assert intervals.p_value(0.0, np.zeros(9), 50, (-1, 1)) == 1.0
    assert np.isnan(intervals.p_value(0.0, np.full(9, np.nan), 50, (-1, 1)))


@pytest.mark.parametrize("clusters", [3, 8, 25])
def test_few_videos_are_covered(clusters):
    """Frames of a video are alike; resampled one by one they would cover half, or less."""
    rng, hits, naive, trials = np.random.default_rng(0), 0, 0, 300
    frames = np.repeat(np.arange(clusters), 20)
    quantity = Quantity("ratio", "r", _ratio)
    by_video = ops.cluster_resamples(frames, num_draws=400, seed=0)
    by_frame = ops.draw_resamples(len(frames), num_draws=400, seed=0)
    for _ in range(trials):
        truth = 0.5 + 0.1 * rng.normal(size=clusters)[frames] + 0.05 * rng.normal(size=len(frames))
        counts = np.stack([np.round(1000 * truth), np.full(len(frames), 1000)], axis=-1).astype(int)
        found = intervals.estimate(quantity, counts, by_video, frames)
        hits += found.low <= 0.5 <= found.high
        found = intervals.estimate(quantity, counts, by_frame)
        naive += found.low <= 0.5 <= found.high
    assert 0.9 <= hits / trials <= 0.99
    assert naive / trials < 0.6
