"""Training of segmentation networks: devices, labels that are left out, validation, streams."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gpool_jax import ops
from gpool_jax.data import resident
from gpool_jax.data.pixels.files import IGNORE
from gpool_jax.experiments import driver
from gpool_jax.experiments.segmentation import training as segmentation
from gpool_jax.train import parallel
from gpool_jax.train.events import read_events
from gpool_jax.train.step import make_train_step
from tests.helpers import fetch_of, pixel_dataset, tiny_pixels
from tests.pixelsets import write_folder

SGD = optax.sgd(1.0)


def _uneven():
    """Images of which some have hardly a label: devices then hold different numbers of them."""
    data = pixel_dataset()
    labels = data.train.labels.copy()
    labels[::3, 3:] = IGNORE
    return dataclasses.replace(data, train=dataclasses.replace(data.train, labels=labels))


def test_validation_without_a_labelled_pixel_says_nothing(monkeypatch):
    counted = {"confusion": np.zeros((2, 3, 3), int), "loss": np.zeros(2), "weight": np.zeros(2)}
    monkeypatch.setattr(segmentation, "make_count", lambda *_, **__: lambda _: counted)
    monkeypatch.setattr(segmentation, "evaluated_variables", lambda state, decay: state)
    validate = segmentation.make_validate(segmentation.prepare(tiny_pixels(), dataset=_uneven()))
    assert validate(None) == {}
    counted["confusion"] += np.eye(3, dtype=int)
    assert validate(None) == {"loss": 0.0, "accuracy": 1.0, "miou": 1.0}


def test_a_batch_without_a_labelled_pixel_has_no_gradient():
    labels = np.full((2, 3, 3), IGNORE)

    def loss(logits):
        losses, weights = segmentation.pixel_losses(tiny_pixels().loss, logits, labels)
        return (losses * weights).sum() / jnp.maximum(weights.sum(), 1e-6)

    value, gradient = jax.value_and_grad(loss)(jnp.ones((2, 3, 3, 4)))
    assert float(value) == 0.0
    np.testing.assert_array_equal(gradient, np.zeros((2, 3, 3, 4)))


@pytest.mark.slow
def test_eight_devices_equal_one_with_dropout_and_uneven_labels():
    setup = segmentation.prepare(tiny_pixels(), dataset=_uneven())
    state = setup.init_state()
    state = state.replace(opt_state=SGD.init(state.params))
    inputs = resident.inputs_at(0, 1, num_examples=24, batch_size=8, seed=0)

    def make(axis):
        loss_fn = segmentation.make_loss_fn(setup.design, axis)
        return make_train_step(loss_fn, SGD, fetch_of(setup), axis)

    data = setup.dataset.train.resident()
    single = jax.vmap(make("one"), in_axes=(None, None, 0), out_axes=None, axis_name="one")
    on_device = {name: jnp.asarray(value) for name, value in data.items()}
    one, metrics_one = jax.jit(single)(state, on_device, inputs)
    mapped = parallel.map_train_step(make(parallel.AXIS))
    copied = parallel.replicate(jax.tree.map(np.array, state))
    eight, metrics = mapped(copied, parallel.replicate(data), parallel.shard(inputs, axis=1))
    chex.assert_trees_all_close(one.params, eight.params, atol=2e-5)
    chex.assert_trees_all_close(one.batch_stats, eight.batch_stats, atol=1e-5)
    metrics = jax.tree.map(lambda m: m[0], metrics)
    chex.assert_trees_all_close(metrics_one["loss"], metrics["loss"], rtol=1e-4)
    chex.assert_trees_all_close(metrics_one["accuracy"], metrics["accuracy"], rtol=1e-4)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), state.params, eight.params)
    assert max(jax.tree.leaves(moved)) > 1e-2


def _batch(count=6):
    split = pixel_dataset().train
    return {
        "images": jnp.asarray(split.images[:count]),
        "labels": jnp.asarray(split.labels[:count]),
        "position": jnp.arange(count),
        "mean": jnp.full(3, 0.5),
        "std": jnp.full(3, 0.25),
    }


def test_images_and_labels_are_mirrored_together():
    config = {"min_scale": 1.0, "max_scale": 1.0, "jitter": 0.0, "crop": None}
    setup = segmentation.prepare(tiny_pixels(data=config), dataset=pixel_dataset())
    batch = _batch()
    images, labels = jax.jit(lambda k: segmentation.augment(k, batch, setup.config))(
        jax.random.key(0)
    )
    plain = np.asarray(ops.normalise(batch["images"], (0.5,) * 3, (0.25,) * 3))
    mirrored = 0
    for i in range(6):
        flipped = np.allclose(images[i], plain[i][:, ::-1], atol=1e-4)
        assert flipped or np.allclose(images[i], plain[i], atol=1e-4)
        expected = batch["labels"][i][:, ::-1] if flipped else batch["labels"][i]
        np.testing.assert_array_equal(labels[i], expected)
        mirrored += flipped
    assert 0 < mirrored < 6


def test_what_lies_outside_a_scaled_image_is_neutral_and_not_labelled():
    config = {"min_scale": 0.5, "max_scale": 0.5, "jitter": 0.0, "crop": (32, 40)}
    setup = segmentation.prepare(tiny_pixels(data=config), dataset=pixel_dataset())
    images, labels = segmentation.augment(jax.random.key(0), _batch(), setup.config)
    images, labels = np.asarray(images), np.asarray(labels)
    share = (labels == IGNORE).mean()
    assert 0.7 < share < 0.85  # three quarters, and the row that has no label
    outside = np.abs(images).max(axis=-1) < 1e-6
    assert 0.7 < outside.mean() < 0.8
    assert (labels[outside] == IGNORE).all()


def test_a_streams_crops_are_not_cropped_again():
    config = {"jitter": 0.0, "flip": False, "stream": True, "crop": (32, 40)}
    setup = segmentation.prepare(tiny_pixels(data=config), dataset=pixel_dataset())
    batch = _batch()
    images, labels = segmentation.augment(jax.random.key(0), batch, setup.config)
    np.testing.assert_array_equal(labels, batch["labels"])
    expected = ops.normalise(batch["images"], (0.5,) * 3, (0.25,) * 3)
    np.testing.assert_allclose(images, expected, atol=1e-5)


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param({}, marks=pytest.mark.slow),
        {"class_weights": (1.0, 0.0, 3.0), "focal_gamma": 1.0},
    ],
)
def test_validation_is_that_of_all_labelled_pixels(loss):
    setup = segmentation.prepare(tiny_pixels(loss=loss), dataset=pixel_dataset())
    state = setup.init_state()
    found = segmentation.make_validate(setup)(state)
    val = setup.dataset.val
    x = ops.normalise(val.images, setup.dataset.mean, setup.dataset.std)
    logits, _ = setup.model.apply(state.variables, x)
    answers = np.asarray(logits.argmax(-1))
    known = val.labels != IGNORE
    assert found["accuracy"] == pytest.approx((answers == val.labels)[known].mean(), abs=1e-6)
    ious = []
    for k in range(3):
        truth, answer = (val.labels == k), (answers == k) & known
        if (truth | answer).any():
            ious.append((truth & answer).sum() / (truth | answer).sum())
    assert found["miou"] == pytest.approx(np.mean(ious), abs=1e-6)
    log_p = np.asarray(jax.nn.log_softmax(logits), np.float64)
    chosen = np.take_along_axis(log_p, np.where(known, val.labels, 0)[..., None], -1)[..., 0]
    weight = np.array(loss.get("class_weights", (1.0, 1.0, 1.0)))[np.where(known, val.labels, 0)]
    focal = (1 - np.exp(chosen)) ** loss.get("focal_gamma", 0.0)
    expected = -(chosen * focal * weight)[known].sum() / weight[known].sum()
    assert found["loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_training_learns_the_scenes_and_the_best_miou_is_picked(tmp_path):
    config = tiny_pixels(
        data={"min_scale": 1.0, "max_scale": 1.0, "jitter": 0.0},
        train={"steps": 24, "eval_every": 8, "learning_rate": 0.2},
        model={"dropout": 0.0},
    )
    dataset = dataclasses.replace(pixel_dataset(), notes=("All is small.",))
    setup = segmentation.prepare(config, dataset=dataset)
    validate = segmentation.make_validate(setup)
    before = validate(setup.init_state())
    state = driver.train(setup, tmp_path / "run")
    assert validate(state)["accuracy"] > max(0.6, before["accuracy"] + 0.05)
    events = [e for e in read_events(tmp_path / "run") if "val_miou" in e]
    assert [e["step"] for e in events] == [8, 16, 24]
    best = max(events, key=lambda e: e["val_miou"])
    setup, snapshots = driver.load(setup, tmp_path / "run", pytest.fail)
    assert snapshots.best.step == best["step"]
    assert "All is small." in snapshots.notes


@pytest.mark.slow
def test_a_streamed_set_trains(tmp_path):
    write_folder(tmp_path / "data", train=20, val=4, test=5, size=(24, 32))
    data = {"path": str(tmp_path / "data"), "stream": True, "workers": 0, "crop": (24, 32)}
    setup = segmentation.prepare(tiny_pixels(data=data, train={"steps": 2}))
    state = driver.train(setup, tmp_path / "run", warn=pytest.fail)
    assert int(state.step) == 2
    moved = jax.tree.map(
        lambda a, b: float(jnp.abs(a - b).max()), setup.init_state().params, state.params
    )
    assert max(jax.tree.leaves(moved)) > 1e-3
