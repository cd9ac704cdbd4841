"""The protocol itself: what the network is shown, what it is asked, what is kept."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpool_jax import ops
from gpool_jax.data import split as splits
from gpool_jax.errors import InputError, RunError
from gpool_jax.experiments import driver, saved, workdir
from gpool_jax.experiments.position import exhaustive, measure
from gpool_jax.experiments.position import training as position
from gpool_jax.experiments.position.rows import make_rows
from gpool_jax.train.optimizer import evaluated_variables
from tests import reference
from tests.helpers import tiny

KEY = jax.random.key(7)


class Spy:
    """Stands in for the network: notes what it is given, answers with made-up logits."""

    num_permutable = 5
    shares_background = False

    def __init__(self, num_outputs):
        self.logits = jnp.asarray(np.random.default_rng(0).normal(size=(6, num_outputs)))

    def apply(self, variables, canvases, *, train, permutation, mutable):
        assert train
        self.canvases, self.permutation = np.asarray(canvases), permutation
        return (self.logits, {}), {"batch_stats": {"seen": 1}}


def show(key=KEY, **sections):
    """One pass of the loss: (setup, batch, spy, loss, aux)."""
    setup = position.prepare(tiny(**sections))
    split = setup.dataset.train
    batch = {
        "images": split.images[:6],
        "labels": jnp.asarray(split.labels[:6]),
        "position": jnp.arange(6),
        **setup.constants,
    }
    spy = Spy(setup.num_outputs)
    design = dataclasses.replace(setup.design, create_model=lambda *_: spy)
    loss, aux = position.make_loss_fn(design, None)({}, {}, batch, key)
    return setup, batch, spy, float(loss), aux


def find_cells(setup, canvases):
    """The cell that each canvas's content stands in, and the content."""
    n, side = setup.config.n, setup.dataset.train.images.shape[1]
    tiles = canvases.reshape(len(canvases), n, side, n, side, -1).transpose(0, 1, 3, 2, 4, 5)
    tiles = tiles.reshape(len(canvases), n * n, side, side, -1)
    filled = np.abs(tiles).sum((2, 3, 4)) > 0
    assert (filled.sum(1) == 1).all()
    cells = filled.argmax(1)
    return cells, tiles[np.arange(len(cells)), cells]


@pytest.mark.parametrize("task", ["location", "recognition"])
def test_the_loss_is_that_of_the_task_on_normalised_images_in_their_cells(task):
    setup, batch, spy, loss, aux = show(task=task, data={"flip": False})
    cells, content = find_cells(setup, spy.canvases)
    mean, std = np.array(setup.dataset.mean), np.array(setup.dataset.std)
    np.testing.assert_allclose(content, (batch["images"] / 255.0 - mean) / std, atol=1e-5)
    labels = cells if task == "location" else np.asarray(batch["labels"])
    expected = reference.cross_entropy(np.asarray(spy.logits), labels)
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-5)
    total, count = aux["metrics"]["accuracy"]
    assert (float(total), float(count)) == ((spy.logits.argmax(1) == labels).sum(), 6.0)
    assert spy.permutation is None


def test_images_are_mirrored_at_random_when_asked():
    plain = find_cells(*_canvases(data={"flip": False}))[1]
    mirrored = find_cells(*_canvases(data={"flip": True}))[1]
    same = [np.allclose(a, b) for a, b in zip(plain, mirrored, strict=True)]
    turned = [np.allclose(a, b[:, ::-1]) for a, b in zip(plain, mirrored, strict=True)]
    assert all(s or t for s, t in zip(same, turned, strict=True))
    assert 0 < sum(same) < 6


def _canvases(**sections):
    setup, _, spy, _, _ = show(**sections)
    return setup, spy.canvases


def test_label_smoothing_spreads_a_share_of_the_label():
    _, batch, spy, loss, _ = show(task="recognition", train={"label_smoothing": 0.2})
    logits, labels = np.asarray(spy.logits), np.asarray(batch["labels"])
    spread = np.mean([reference.cross_entropy(logits, np.full(6, k)) for k in range(10)], axis=0)
    expected = 0.8 * reference.cross_entropy(logits, labels) + 0.2 * spread
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-5)


def permutation_of(key=KEY, **model):
    return np.asarray(show(key=key, model={"head": "permutenet", **model})[2].permutation)


def test_permutations_are_redrawn_for_each_step_one_per_batch_or_example_or_fixed():
    one, other = permutation_of(), permutation_of(jax.random.key(8))
    assert one.shape == (5,)
    assert not np.array_equal(one, other)
    each = permutation_of(permute_per="example")
    assert each.shape == (6, 5)
    assert len({tuple(row) for row in each}) > 1
    fixed = permutation_of(permutation="fixed")
    np.testing.assert_array_equal(fixed, permutation_of(jax.random.key(8), permutation="fixed"))
    for permutation in (one, each[0], fixed):
        np.testing.assert_array_equal(np.sort(permutation), np.arange(5))


@pytest.mark.parametrize(
    ("head", "point", "permuted"),
    [
        ("gapnet", "gap", False),
        ("gapnet", "stage3", True),
        ("linear", "gap", False),
        ("linear", "stage3", False),
        ("permutenet", "gap", True),
        ("permutenet", "stage3", True),
    ],
)
def test_which_networks_are_trained_through_permutation(head, point, permuted):
    sections = {"model": {"head": head, "permute_at": point}}
    assert (show(**sections)[2].permutation is not None) == permuted


def test_validation_is_the_mean_over_every_image_in_its_cell():
    # 21 images over 8 devices: the last batch is partly padding.
    setup = position.prepare(tiny(train={"num_val": 21}, eval={"batch_size": 2}))
    state = setup.init_state()
    found = position.make_validate(setup)(state)
    val = setup.dataset.val
    rows = splits.stratified_rows(val.labels, 21, seed=0)
    mean, std = np.array(setup.dataset.mean), np.array(setup.dataset.std)
    pixels = (val.images[rows] / 255.0 - mean) / std
    cells = np.arange(21) * 7919 % 9
    canvases = reference.place(pixels, cells, 3).astype(np.float32)
    logits, _ = jax.jit(setup.model.apply)(state.variables, canvases)
    losses = reference.cross_entropy(np.asarray(logits), cells)
    np.testing.assert_allclose(found["loss"], losses.mean(), rtol=1e-4)
    assert found["accuracy"] == pytest.approx((np.asarray(logits).argmax(1) == cells).mean())
    assert len(set(cells)) == 9


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learnt") / "run"
    config = tiny(
        data={"num_train": None},
        train={"steps": 120, "batch_size": 48, "eval_every": 120, "ema_decay": 0.9},
        eval={"num_images": 100},
        probe={"enabled": False},
    )
    setup = position.prepare(config)
    return setup, folder, driver.train(setup, folder)


def test_a_gapnet_learns_where_a_digit_stands(learnt):
    setup, folder, _ = learnt
    result = measure.measure(*driver.load(setup, folder, pytest.fail)).result
    (row,) = result.rows
    assert row.accuracy > 0.95
    assert np.min(result.maps["per_cell"]) > 0.8
    assert max(result.maps["tuning_selectivity"]) > 0.8


def test_the_averaged_parameters_are_what_is_judged(learnt):
    setup, _, state = learnt
    averaged = evaluated_variables(state, 0.9)["params"]
    apart = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), averaged, state.params)
    assert max(jax.tree.leaves(apart)) > 1e-4
    assert np.isfinite(position.make_validate(setup)(state)["loss"])
    plain = dataclasses.replace(setup.config.train, ema_decay=None)
    raw = dataclasses.replace(setup, config=dataclasses.replace(setup.config, train=plain))
    assert (
        position.make_validate(setup)(state)["loss"] != position.make_validate(raw)(state)["loss"]
    )


def test_the_best_checkpoint_is_the_one_reported(tmp_path):
    setup = position.prepare(tiny(eval={"num_images": 8}))
    workdir.open_run(tmp_path, setup.config, setup.dataset.fingerprint, warn=pytest.fail)
    checkpoints = saved.open_checkpoints(setup, tmp_path)
    plain = setup.init_state()
    for step, accuracy in ((2, 0.3), (3, 0.8), (5, 0.8), (6, 0.1)):
        checkpoints.save(step, plain.replace(step=jnp.int32(step)), (accuracy,))
    result = measure.measure(*driver.load(setup, tmp_path, pytest.fail)).result
    assert [(r.checkpoint, r.steps) for r in result.rows] == [("best", [3])]
    assert any("step 3 was picked" in note for note in result.notes)


@pytest.mark.parametrize("measured", ["cells", "validation"])
def test_predictions_of_what_is_not_finite_are_refused_not_counted(measured):
    setup = position.prepare(tiny(eval={"num_images": 8}))
    state = setup.init_state()
    huge = jax.tree.map(lambda leaf: leaf * 1e30, state.params)
    state = state.replace(params=huge)
    makers = {"cells": exhaustive.make_evaluate, "validation": position.make_validate}
    measure_it = makers[measured](setup)
    with pytest.raises(RunError, match=r"the network's .* is not finite"):
        measure_it(state.variables if measured == "cells" else state)


def test_classes_that_are_bound_to_cells_are_trained_in_these_alone():
    own = np.asarray(ops.bound_cells(10, 3))
    assert own.shape == (10, 5)
    assert all(len(set(row)) == 5 for row in own)
    assert len({tuple(sorted(row)) for row in own}) > 5
    assert set(own.ravel()) == set(range(9))
    setup = position.prepare(tiny(task="recognition", cells="bound", model={"head": "linear"}))
    labels = jnp.arange(10).repeat(200)
    cells = position._choose_cells(
        setup.design, labels, lambda count: ops.draw_cells(KEY, jnp.arange(2000), count)
    )
    for label in range(10):
        seen, counts = np.unique(np.asarray(cells).reshape(10, 200)[label], return_counts=True)
        assert set(seen) == set(own[label])
        assert counts.min() > 20


def test_bound_classes_are_tested_in_their_cells_and_in_the_others():
    setup = position.prepare(tiny(task="recognition", cells="bound", model={"head": "linear"}))
    labels = np.broadcast_to(np.array([0, 4])[:, None], (2, 9))
    own = np.asarray(ops.bound_cells(10, 3))
    kept = np.where([[cell in own[label] for cell in range(9)] for label in (0, 4)], labels, 9)
    answers = exhaustive.Predictions(labels, kept, None, np.zeros((9, 3)), np.zeros((9, 3)))
    rows = [row for row, _ in make_rows(setup, answers, "best", 7)]
    assert [(row.arm, row.accuracy, row.num_predictions) for row in rows] == [
        ("linear head", pytest.approx(5 / 9), 18),
        ("linear head, in its class's cells", 1.0, 10),
        ("linear head, in other cells", 0.0, 8),
    ]


def test_a_location_cannot_be_bound_to_its_class():
    with pytest.raises(InputError, match="`cells` bound is of recognition alone"):
        position.prepare(tiny(cells="bound"))
