"""Values, differences and intervals from counts made by hand."""

import dataclasses

import numpy as np
import pytest

from gpool_jax.config import AttackConfig
from gpool_jax.experiments.channels import attack, plan
from gpool_jax.experiments.channels.files import Ranking
from gpool_jax.experiments.channels.summary import Summary
from gpool_jax.experiments.channels.sweep import SweepCounts
from gpool_jax.experiments.measures.quantity import Quantity
from gpool_jax.report.channel_result import NONE

IMAGES, REGIONS = 40, 3  # overall, left, outside left
BOXES = {"overall": (0, 0, 1, 1), "left": (0, 0, 1, 0.5)}


def _ratio(counts):
    return counts[..., 0] / counts[..., 1]


def _plan(**options):
    rng = np.random.default_rng(0)
    config = AttackConfig(
        **{"counts": (2, 4), "random_draws": 5, "matched_draws": 5, "fills": ("zero",),
           "keep_only": False, "table_count": 2, **options}
    )  # fmt: skip
    activation = rng.random(16) + 0.1, rng.random(16) + 0.1
    return plan.make_plan(
        config,
        [
            Ranking("gate", "left", rng.permutation(16)),
            Ranking("class", "overall", rng.permutation(16)),
        ],
        activation,
        seed=0,
    )


def _summary(bootstrap=400, right=None, clusters=None, **options):
    """Each mask gets accuracies of its own in every region; 10 answers in each."""
    laid = _plan(**options)
    if right is None:
        right = np.random.default_rng(1).integers(0, 11, (len(laid.keep), IMAGES, REGIONS))
    counts = np.stack([right, np.full_like(right, 10)], axis=-1)
    quantities = {"head": Quantity("head", "head", _ratio, chance=0.1)}
    swept = SweepCounts({"head": counts}, 1.0, 1.0, IMAGES)
    return (
        laid,
        right / 10,
        Summary(quantities, BOXES, laid, swept, bootstrap=bootstrap, clusters=clusters),
    )


def _rows(laid, ranking, count):
    return [
        row
        for arm, row in zip(laid.arms, laid.row, strict=True)
        if (arm.ranking, arm.count) == (ranking, count)
    ]


@pytest.fixture(scope="module")
def case():
    laid, right, summary = _summary()
    return laid, right, summary.removals()


def _find(removals, **wanted):
    found = [r for r in removals if all(getattr(r, k) == v for k, v in wanted.items())]
    assert len(found) == 1
    return found[0]


def test_values_are_means_over_images_and_draws(case):
    laid, right, removals = case
    intact = _find(removals, ranking=NONE, measured="left")
    assert intact.value == pytest.approx(right[0, :, 1].mean())
    assert intact.num_images == IMAGES
    one = _find(removals, ranking="gate", count=4, measured="overall", measure="value")
    (row,) = _rows(laid, "gate", 4)
    assert one.value == pytest.approx(right[row, :, 0].mean())
    many = _find(removals, ranking="random", count=4, measured="overall", measure="value")
    rows = _rows(laid, "random", 4)
    assert many.value == pytest.approx(right[rows, :, 0].mean())
    assert many.num_draws == 5
    draws = right[rows, :, 0].mean(axis=1)
    np.testing.assert_allclose([many.low, many.high], np.quantile(draws, [0.025, 0.975]))


def test_drops_and_selectivities_are_differences_of_values(case):
    laid, right, removals = case
    (row,) = _rows(laid, "gate", 2)
    drop = right[0].mean(axis=0) - right[row].mean(axis=0)
    found = _find(removals, ranking="gate", measure="drop", measured="left", versus=None)
    assert found.value == pytest.approx(drop[1])
    found = _find(removals, ranking="gate", count=2, measure="selectivity", versus=None)
    assert found.value == pytest.approx(drop[1] - drop[2])
    for versus in ("random", "matched to gate", "class"):
        others = right[0].mean(axis=0) - right[_rows(laid, versus, 2)].mean(axis=(0, 1))
        beyond = _find(removals, ranking="gate", measure="drop", measured="left", versus=versus)
        assert beyond.value == pytest.approx(drop[1] - others[1])
        beyond = _find(removals, ranking="gate", measure="selectivity", versus=versus)
        assert beyond.value == pytest.approx((drop[1] - drop[2]) - (others[1] - others[2]))


def test_intervals_are_those_of_means_over_images(case):
    laid, right, removals = case
    (row,) = _rows(laid, "gate", 2)

    def expect(found, per_image, extra=0.0):
        half = 1.96 * np.sqrt(per_image.var(ddof=1) / IMAGES + extra)
        assert found.high - found.low == pytest.approx(2 * half, rel=0.2)
        assert (found.high + found.low) / 2 == pytest.approx(found.value, abs=0.35 * half)

    value = _find(removals, ranking="gate", count=2, measure="value", measured="overall")
    expect(value, right[row, :, 0])
    # Paired by image: the spread of the differences, not of the two values.
    lost = right[0] - right[row]
    drop = _find(removals, ranking="gate", measure="drop", measured="overall", versus=None)
    expect(drop, lost[:, 0])
    both = _find(removals, ranking="gate", count=2, measure="selectivity", versus=None)
    expect(both, lost[:, 1] - lost[:, 2])
    rows = _rows(laid, "random", 2)
    beyond = _find(removals, ranking="gate", measure="drop", measured="overall", versus="random")
    # Which controls are drawn is by chance too.
    of_draws = right[rows, :, 0].mean(axis=1).var() / len(rows)
    expect(beyond, right[rows, :, 0].mean(axis=0) - right[row, :, 0], of_draws)


def test_matched_channels_of_the_plan_are_as_strong_as_those_removed():
    channels = 64
    strength = np.exp(np.linspace(0, 6, channels))
    config = AttackConfig(counts=(8,), random_draws=20, matched_draws=20)
    order = np.argsort(-strength)[8:]  # the strongest but eight
    ranking = Ranking("mean", "overall", np.concatenate([order, np.argsort(-strength)[:8]]))
    laid = plan.make_plan(config, [ranking], (strength, strength), seed=0)

    def removed(name):
        rows = [
            row
            for arm, row in zip(laid.arms, laid.row, strict=True)
            if arm.ranking == name and arm.action == "zero"
        ]
        return np.log([strength[~laid.keep[row]].mean() for row in rows]).mean()

    own = removed("mean")
    assert abs(removed("matched to mean") - own) < 0.5
    assert abs(removed("random") - own) > 0.5


def test_what_all_images_agree_on_has_exact_bounds():
    """Intact all right; the ranking's channels removed all wrong; the controls' all right."""
    laid = _plan()
    right = np.full((len(laid.keep), IMAGES, REGIONS), 10)
    right[_rows(laid, "gate", 2)] = 0
    removals = _summary(right=right)[2].removals()
    beyond = 1 - 0.025 ** (1 / IMAGES)

    def expect(value, low, high, **wanted):
        found = _find(removals, count=2, ranking="gate", **wanted)
        assert found.value == value
        assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))

    expect(0.0, 0.0, beyond, measure="value", measured="overall")
    # An image may gain what others lose: a drop reaches from -1 to 1.
    for versus in (None, "random", "matched to gate", "class"):
        expect(1.0, 1 - 2 * beyond, 1.0, measure="drop", measured="left", versus=versus)
        expect(0.0, -2 * beyond, 2 * beyond, measure="selectivity", versus=versus)
    intact = _find(removals, ranking=NONE, measured="left")
    assert (intact.low, intact.high) == (pytest.approx(1 - beyond), 1.0)


def test_matches_beyond_the_caliper_are_refused_and_the_balance_is_told():
    channels = 64
    strength = np.exp(np.linspace(0, 6, channels))
    order = np.argsort(-strength)
    config = AttackConfig(counts=(4,), random_draws=0, matched_draws=10, caliper=0.25)
    near = Ranking("near", "overall", order[np.r_[4:8, 0:4, 8:channels]])
    # The strongest twenty have no other as strong, whichever is asked first.
    far = Ranking("far", "overall", order)
    laid = plan.make_plan(config, [near], (strength, strength), seed=0)
    (balance,) = laid.balances
    assert (balance.num_draws, balance.num_refused) == (10, 0)
    assert abs(balance.mean) < 1
    config = dataclasses.replace(config, counts=(20,))
    laid = plan.make_plan(config, [far], (strength, strength), seed=0)
    (balance,) = laid.balances
    assert (balance.num_draws, balance.num_refused) == (0, 10)
    assert np.isnan(balance.mean)
    assert {arm.ranking for arm in laid.arms} == {"far"}
    (note,) = attack._describe_matches(0.25, laid)
    assert note.startswith("10 of 10 matched sets were refused")
    assert note.endswith("none is left for the first 20 of far overall.")
    laid = plan.make_plan(
        dataclasses.replace(config, caliper=None), [far], (strength, strength), seed=0
    )
    assert laid.balances[0].num_draws == 10
    assert laid.balances[0].mean > 1
    assert attack._describe_matches(None, laid) == []


def test_images_of_a_video_do_not_count_as_independent():
    frames = np.repeat(np.arange(10), 4)
    laid = _plan()
    right = np.random.default_rng(1).integers(0, 11, (len(laid.keep), 10, REGIONS))[:, frames]
    found = [
        _find(_summary(right=right, clusters=c)[2].removals(), ranking="gate", count=2,
              measure="drop", measured="left", versus="random")
        for c in (None, frames)
    ]  # fmt: skip
    assert found[0].value == found[1].value
    assert found[1].high - found[1].low > 1.7 * (found[0].high - found[0].low)
    assert found[1].p > found[0].p
