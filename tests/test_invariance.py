"""AugShift: the views, the loss, and the arms that are compared."""

import dataclasses
import itertools
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpool_jax import ops
from gpool_jax.config import DataConfig, ShiftConfig
from gpool_jax.data import resident
from gpool_jax.errors import InputError
from gpool_jax.experiments import driver, run
from gpool_jax.experiments.invariance import comparison as invariance_comparison
from gpool_jax.experiments.invariance import training as invariance
from gpool_jax.experiments.measures import views
from gpool_jax.report import read_result
from gpool_jax.train import parallel
from gpool_jax.train.step import make_train_step
from tests import imagesets, reference
from tests.helpers import fetch_of, tiny_arms, tiny_invariance

KEY = jax.random.key(5)


def views_of(images, *, flip, **changes):
    config = ShiftConfig(**changes)
    position = jnp.arange(len(images))
    return np.asarray(invariance.make_views(KEY, images, position, config, flip=flip))


def found_shifts(views, images, mode, reach):
    """For each view and image, the (dy, dx, mirrored) that explain it: exactly one."""
    grid = list(itertools.product(range(-reach, reach + 1), repeat=2))
    found = []
    for view in views:
        for b, seen in enumerate(view):
            ways = [
                (*offset, mirrored)
                for mirrored in (False, True)
                for offset in grid
                if np.array_equal(
                    reference.shift(
                        images[b : b + 1, :, ::-1] if mirrored else images[b : b + 1],
                        [offset],
                        mode,
                    )[0],
                    seen,
                )
            ]
            assert len(ways) == 1
            found.append(ways[0])
    return np.array(found).reshape(len(views), len(images), 3)


@pytest.mark.parametrize("mode", ops.SHIFT_MODES)
def test_views_of_an_image_share_their_mirroring_and_differ_by_their_shifts(mode):
    images = np.random.default_rng(0).normal(size=(24, 7, 7, 1)).astype(np.float32)
    views = views_of(images, flip=True, views=3, max_shift=2, mode=mode)
    found = found_shifts(views, images, mode, 2)
    assert (found[0, :, 2] == found[1, :, 2]).all()
    assert (found[0, :, 2] == found[2, :, 2]).all()
    assert set(found[..., 2].ravel()) == {0, 1}
    assert {-2, -1, 0, 1, 2} == set(found[..., 0].ravel()) == set(found[..., 1].ravel())
    assert (found[0, :, :2] != found[1, :, :2]).any(axis=1).mean() > 0.8


def test_without_augmentation_views_stay_and_are_mirrored_one_by_one():
    images = np.random.default_rng(1).normal(size=(40, 5, 5, 1)).astype(np.float32)
    found = found_shifts(views_of(images, flip=True, augment=False), images, "zeros", 1)
    assert not found[..., :2].any()
    assert 0.2 < (found[0, :, 2] != found[1, :, 2]).mean() < 0.8
    still = views_of(images, flip=False, augment=False)
    np.testing.assert_array_equal(still, np.stack([images, images]))


def test_crops_move_content_as_shifts_do_and_bring_in_what_was_there():
    images = np.random.default_rng(2).normal(size=(24, 8, 8, 1)).astype(np.float32)
    views = views_of(images, flip=False, max_shift=2, mode="crop")
    assert views.shape == (2, 24, 4, 4, 1)
    corners = set()
    for view in views:
        for b, seen in enumerate(view):
            (corner,) = [
                (y, x)
                for y in range(5)
                for x in range(5)
                if np.array_equal(images[b, y : y + 4, x : x + 4], seen)
            ]
            corners.add(corner)
    assert {y for y, _ in corners} == {x for _, x in corners} == {0, 1, 2, 3, 4}
    still = views_of(images, flip=False, max_shift=2, mode="crop", augment=False)
    np.testing.assert_array_equal(still[0], images[:, 2:6, 2:6])


def loss_of(setup, batch, params=None):
    state = setup.init_state()
    loss_fn = invariance.make_loss_fn(setup.design, None)
    return jax.jit(loss_fn)(params or state.params, state.batch_stats, batch, KEY)


def batch_of(setup, count=16, step=0):
    train = setup.dataset.train
    return {
        "images": jnp.asarray(train.images[:count]),
        "labels": jnp.asarray(train.labels[:count]),
        "position": jnp.arange(count),
        "step": jnp.int32(step),
        **setup.constants,
    }


@pytest.mark.parametrize(
    ("norm", "normalise", "classify"), [("l2", "batch", "all"), ("cosine", "none", "first")]
)
def test_the_loss_is_cross_entropy_plus_the_weighted_invariance(norm, normalise, classify):
    shift = {"weight": 0.7, "norm": norm, "normalise": normalise, "classify": classify, "views": 3}
    setup = invariance.prepare(tiny_invariance(shift=shift, data={"flip": False}))
    batch = batch_of(setup)
    loss, aux = loss_of(setup, batch)
    images = ops.normalise(batch["images"], setup.dataset.mean, setup.dataset.std)
    views = invariance.make_views(KEY, images, batch["position"], setup.config.shift, flip=False)
    variables = setup.init_state().variables
    (logits, features), updates = jax.jit(
        lambda x: setup.model.apply(variables, x, train=True, mutable=["batch_stats"])
    )(views.reshape(-1, 16, 16, 1))
    count = 48 if classify == "all" else 16
    labels = np.tile(batch["labels"], 3)[:count]
    expected = reference.cross_entropy(np.asarray(logits)[:count], labels).mean()
    latent = np.asarray(features["gap"]).reshape(3, 16, -1)
    # A channel that is silent in this batch stays silent.
    alive = latent[..., latent.std((0, 1)) > 1e-3] if normalise == "batch" else latent
    apart = reference.invariance_loss(alive, norm, normalise)
    apart = apart * alive.shape[-1] / latent.shape[-1] if normalise == "batch" else apart
    assert float(loss) == pytest.approx(expected + 0.7 * apart.mean(), rel=1e-3)
    assert float(aux["metrics"]["invariance"][0]) == pytest.approx(apart.sum(), rel=2e-3)
    chex.assert_trees_all_close(aux["batch_stats"], updates["batch_stats"], rtol=1e-5)


def test_weight_zero_is_augmentation_alone_and_the_weight_warms_up():
    setup = invariance.prepare(tiny_invariance(shift={"weight": 0.0}))
    loss, aux = loss_of(setup, batch_of(setup))
    total, count = aux["metrics"]["cross_entropy"]
    assert float(loss) == pytest.approx(float(total / count), rel=1e-6)
    shift = ShiftConfig(weight=2.0, warmup_steps=4)
    found = [float(invariance.weight_at(jnp.int32(s), shift)) for s in (0, 1, 3, 9)]
    assert found == [0.5, 1.0, 2.0, 2.0]
    assert float(invariance.weight_at(jnp.int32(0), ShiftConfig(weight=2.0))) == 2.0


@pytest.mark.slow
@pytest.mark.parametrize("normalise", [pytest.param("length", marks=pytest.mark.slow), "batch"])
def test_eight_devices_equal_one(normalise):
    setup = invariance.prepare(tiny_invariance(shift={"normalise": normalise, "weight": 3.0}))
    state = setup.init_state()
    inputs = resident.inputs_at(0, 1, num_examples=160, batch_size=16, seed=0)
    data = setup.dataset.train.resident()

    def step(axis):
        import optax

        loss_fn = invariance.make_loss_fn(setup.design, axis)
        return make_train_step(loss_fn, optax.sgd(1.0), fetch_of(setup), axis), optax.sgd(1.0)

    one, sgd = step("one")
    state = state.replace(opt_state=sgd.init(state.params))
    whole, _ = jax.jit(jax.vmap(one, in_axes=(None, None, 0), out_axes=None, axis_name="one"))(
        state, data, {k: v[:1] for k, v in inputs.items()}
    )
    eight = parallel.map_train_step(step(parallel.AXIS)[0])
    shared, _ = eight(
        parallel.replicate(jax.tree.map(np.array, state)),
        parallel.replicate(data),
        parallel.shard(inputs, axis=1),
    )
    # At rate 1 the parameters moved by the gradient itself.
    chex.assert_trees_all_close(shared.params, whole.params, atol=2e-5, rtol=1e-4)
    chex.assert_trees_all_close(shared.batch_stats, whole.batch_stats, atol=1e-5)


def test_arms_differ_in_what_their_names_say():
    config = tiny_arms(
        arms=("baseline", "shift", "augshift", "blurpool", "augshift_blurpool", "aps"),
        weights=(0.1,),
        shift={"weight": 0.5},
        model={"antialias": 3},
        num_seeds=1,
    )
    found = {
        name: (c.shift.augment, c.shift.weight, c.model.antialias, c.shift.views)
        for name, c in invariance_comparison.arm_configs(config).items()
    }
    assert found == {
        "baseline": (False, 0.0, 0, 2),
        "shift": (True, 0.0, 0, 2),
        "augshift": (True, 0.5, 0, 2),
        "blurpool": (False, 0.0, 3, 2),
        "augshift_blurpool": (True, 0.5, 3, 2),
        "aps": (False, 0.0, 0, 2),
        "augshift_weight0.1": (True, 0.1, 0, 2),
    }
    arms = invariance_comparison.arm_configs(config)
    assert [name for name, c in arms.items() if c.model.subsampling == "aps"] == ["aps"]
    assert invariance.network_name(arms["aps"]) == "APS"
    assert invariance.network_name(arms["augshift_blurpool"]) == "AugShift + BlurPool-3"
    # Without mirroring, unshifted views would be copies of each other.
    config = dataclasses.replace(config, data=DataConfig(flip=False))
    views = {n: c.shift.views for n, c in invariance_comparison.arm_configs(config).items()}
    assert views["baseline"] == views["blurpool"] == 1
    assert views["augshift"] == 2


@pytest.mark.slow
def test_training_for_invariance_brings_latents_together(tmp_path):
    """The mechanism, not the claim: more weight, closer latents, all else equal."""
    distances = []
    for weight in (0.0, 10.0):
        config = tiny_invariance(
            shift={"weight": weight, "max_shift": 3},
            train={"steps": 60, "eval_every": 60, "learning_rate": 3e-3},
            consistency={"num_images": 100, "max_shift": 3},
            probe={"enabled": False},
        )
        result = run(config, tmp_path / f"{weight}")
        (found,) = [m for m in result.measurements if m.quantity == "latent_distance"]
        distances.append(found.value)
    assert distances[1] < 0.8 * distances[0]


@pytest.mark.slow
def test_a_comparison_pairs_its_arms_and_goes_on_where_it_stopped(tmp_path):
    config = tiny_arms()
    result = run(config, tmp_path)
    quantities = {m.quantity for m in result.measurements if m.versus is None}
    assert quantities >= {
        "accuracy",
        "shifted_accuracy",
        "worst_case_accuracy",
        "consistency",
        "consistency_given_correct",
        "probability_change",
        "latent_distance",
        "latent_cosine",
        "shift_r2",
        "cell_decoding",
        "agreement at 2 px",
    }
    assert {m.num_seeds for m in result.measurements} == {2}
    # By hand, from what the runs stored for each image.
    shares = {}
    for arm in ("baseline", "augshift"):
        tables = [np.load(tmp_path / f"{arm}-seed{s}" / "per_image.npz") for s in (0, 1)]
        totals = np.sum([t["zeros/consistency"].sum(-1) for t in tables], axis=0)
        shares[arm] = totals[0] / totals[1]
        assert tables[0]["zeros/consistency"].shape == (2, 21)
    found = {
        (m.arm, m.versus): m.value
        for m in result.measurements
        if (m.protocol, m.quantity) == ("zeros", "consistency")
    }
    assert found[("AugShift", None)] == pytest.approx(shares["augshift"], abs=1e-6)
    difference = shares["augshift"] - shares["baseline"]
    assert found[("AugShift", "baseline")] == pytest.approx(difference, abs=1e-6)
    for m in result.measurements:
        if m.versus is None and m.quantity not in ("latent_distance", "shift_r2"):
            assert m.low - 1e-6 <= m.value <= m.high + 1e-6, m
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 5
    assert "protocol zeros: difference from baseline" in page

    # Again: nothing is trained, and nothing changes but the time it took.
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/checkpoints/*")}
    again = run(config, tmp_path)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/checkpoints/*")} == before
    assert again.measurements == result.measurements
    assert read_result(tmp_path).measurements == result.measurements
    # An arm is compared once all of its seeds are there.
    (tmp_path / "augshift-seed1" / "results.json").unlink()
    some = run(dataclasses.replace(config, only=("baseline*",)), tmp_path)
    assert {m.arm for m in some.measurements} == {"baseline"}
    assert "3 of 4 runs are finished." in some.notes


@pytest.mark.slow
def test_a_run_is_measured_again_otherwise(tmp_path):
    config = tiny_invariance(probe={"enabled": False})
    run(config, tmp_path / "run")
    other = dataclasses.replace(
        config, consistency=dataclasses.replace(config.consistency, protocols=("crop", "reflect"))
    )
    result = driver.evaluate(config, other, tmp_path / "run", tmp_path / "out")
    assert {m.protocol for m in result.measurements} == {"crop", "reflect"}
    stored = json.loads((tmp_path / "out" / "results.json").read_text())
    assert len(stored["measurements"]) == len(result.measurements)
    changed = dataclasses.replace(config, shift=ShiftConfig(max_shift=2, weight=2.0))
    with pytest.raises(InputError, match="shift.weight: 1.0 -> 2.0"):
        driver.evaluate(config, changed, tmp_path / "run", tmp_path / "no")


BAD = [
    ({"shift": {"max_shift": 16}}, "`shift.max_shift` must be smaller than the image side 16"),
    (
        {"shift": {"max_shift": 8, "mode": "crop"}},
        "`shift.max_shift` must be less than half the image side 16",
    ),
    ({"shift": {"views": 1}}, "`shift.views` must be at least 2 for an invariance loss .*got 1"),
    ({"shift": {"weight": -1.0}}, "`shift.weight` must be at least 0 and finite; got -1.0"),
    ({"shift": {"norm": "l3"}}, "`shift.norm` must be l1, l2, smooth_l1, cosine; got 'l3'"),
    ({"consistency": {"max_shift": 16}}, "`consistency.max_shift` must be smaller than .* 16"),
    (
        {"consistency": {"protocols": ("crop",), "crop": 17}},
        r"`consistency.crop` must be in \[1, 16\], the side of the images; got 17",
    ),
    ({"consistency": {"protocols": ()}}, "`consistency.protocols` must name at least one"),
    ({"consistency": {"protocols": ("roll",)}}, "`consistency.protocols` must be several of zeros"),
    (
        {"consistency": {"num_pairs": 0, "grid_step": 3}},
        "`consistency.grid_step` must be at most consistency.max_shift = 2; got 3",
    ),
    ({"model": {"head": "permutenet"}}, "`model.head` must be linear or gapnet"),
    ({"model": {"antialias": 6}}, "`model.antialias` must be 0, 2, 3, 4, 5; got 6"),
    ({"train": {"batch_size": 480}}, "at most the 160 training images; got 480"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=lambda v: str(v)[:40])
def test_bad_input_is_refused_before_anything_is_written(changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        run(tiny_invariance(**changes), tmp_path / "run")
    with pytest.raises(InputError, match=message):
        run(tiny_arms(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_comparison_needs_seeds_and_arms(tmp_path):
    for changes, message in (
        ({"num_seeds": 0}, "`num_seeds` must be at least 1; got 0"),
        ({"arms": ()}, "`arms` must name at least one"),
        ({"weights": (-0.5,)}, "`weights` must be at least 0 and finite; got -0.5"),
        ({"weights": (0.5, 0.5)}, "`weights` names one twice"),
        ({"arms": ("shift", "shift")}, "`arms` names one twice"),
        ({"arms": ("blurpool",)}, "`model.antialias` must be 3 or 5 for the blurpool arms"),
        ({"weights": (1.0,)}, "`weights` must not repeat the weight of the augshift arm; got 1"),
        ({"shift": {"weight": 0.0}}, "`shift.weight` must be positive for the augshift arms"),
    ):
        with pytest.raises(InputError, match=message):
            run(tiny_arms(**changes), tmp_path / "run")


@pytest.mark.slow
def test_a_streamed_set_is_trained_on_and_measured_from_disk(tmp_path):
    """Views are crops of what the stream cuts; test crops come from larger images."""
    imagesets.write_folder(tmp_path / "set", train=40, test=12)
    config = tiny_invariance(
        data={
            "source": "folder",
            "path": str(tmp_path / "set"),
            "side": 20,
            "resize": 24,
            "eval_side": 23,
            "num_train": None,
            "stream": True,
            "workers": 0,
        },
        train={"steps": 2, "batch_size": 8, "num_val": 4},
        shift={"mode": "crop", "max_shift": 2},
        consistency={"protocols": ("crop", "zeros"), "crop": 16, "num_images": None},
        probe={"num_images": 9},
    )
    setup = invariance.prepare(config)
    assert invariance.view_side(setup.design) == 16
    stimulus = invariance.stimulus(setup)
    # Corners 0 to 7 of 23 pixels, and the middle at 3.
    assert views.offset_range(stimulus, config.consistency, "crop") == (-4, 3)
    result = run(config, tmp_path / "run")
    found = {(m.protocol, m.quantity): m for m in result.measurements}
    assert found[("crop", "consistency")].num_images == 12
    # Both protocols begin with the same 16 pixels in the middle.
    clean = [found[(p, "accuracy")].value for p in ("crop", "zeros")]
    assert clean[0] == clean[1]
    assert found[("canvas", "cell_decoding")].num_images == 9
