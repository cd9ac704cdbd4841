"""Every method's scores against a plain reference on the features themselves, sign and all."""

import dataclasses
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpool_jax import ops
from gpool_jax.config.measurements import Method
from gpool_jax.experiments import targets
from gpool_jax.experiments.channels import rank
from gpool_jax.experiments.channels.images import images_of
from gpool_jax.experiments.channels.subject import gated, measured_boxes
from gpool_jax.experiments.position import training as position
from gpool_jax.experiments.segmentation import training as segmentation
from tests.helpers import pixel_dataset, tiny, tiny_pixels

METHODS = typing.get_args(Method)
RANK = {"regions": ("overall", "left", "top"), "grid": 2, "integration_steps": 3}
# Three images for each of the eight devices: what mixes images within a batch shows.
NUM_IMAGES = 24


def _sensitive(variables):
    """Kernels of He's size, and a bias to the statistics: no channel is silent or alike."""
    params = jax.tree.map(lambda p: p * 6**0.5 if p.ndim > 1 else p, variables["params"])
    return {**variables, "params": params}


@pytest.fixture(scope="module", params=[pytest.param("pixels", marks=pytest.mark.slow), "canvas"])
def case(request):
    """Subject, weights, its images, and what every method found on them."""
    if request.param == "pixels":
        setup = segmentation.prepare(tiny_pixels(rank=RANK), dataset=pixel_dataset())
    else:
        setup = position.prepare(tiny(rank=RANK, n=2, model={"width": 1 / 16}))
    subject = targets.make_subject(setup)
    variables = _sensitive(setup.init_state().variables)
    images = images_of(setup, ("train",), NUM_IMAGES, 16)
    ranked = rank.score_channels(subject, variables, images, METHODS)
    return subject, variables, images.get(np.arange(NUM_IMAGES)), ranked


def _features(case, x):
    subject, variables, _, _ = case
    maps = jax.jit(subject.setup.model.apply)(variables, x)[1][subject.feature]
    return np.asarray(maps, np.float64)


def _per_image(case, rows):
    subject = case[0]
    return rows.reshape(NUM_IMAGES, subject.views, *rows.shape[1:]).mean(axis=1)


def _halves(maps, region):
    """A map's pixels inside and outside the left or the top half, by slicing."""
    height, width = maps.shape[1:3]
    if region == "left":
        weight = np.broadcast_to(np.clip(width / 2 - np.arange(width), 0, 1), (height, width))
    else:
        weight = np.broadcast_to(
            np.clip(height / 2 - np.arange(height), 0, 1)[:, None], (height, width)
        )
    weight = weight[None, :, :, None]
    return weight / weight.sum(), (1 - weight) / (1 - weight).sum()


def _check(found, expected):
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(found.per_image, expected, atol=2e-3 * scale, rtol=1e-3)
    np.testing.assert_allclose(found.mean, expected.mean(axis=0), atol=2e-3 * scale, rtol=1e-3)


def test_flip(case):
    subject, _, inputs, ranked = case
    x = np.asarray(subject.stimulus(jnp.asarray(inputs["images"])))
    plain = _features(case, x)
    sideways, upside = _features(case, x[:, :, ::-1]), _features(case, x[:, ::-1])
    change = np.abs(plain.mean(axis=(1, 2)) - sideways.mean(axis=(1, 2)))
    _check(ranked.scores["flip", "overall"], _per_image(case, change))
    for region, back in (("left", sideways[:, :, ::-1]), ("top", upside[:, ::-1])):
        inside, _ = _halves(plain, region)
        signed = ((plain - back) * inside).sum(axis=(1, 2))
        _check(ranked.scores["flip", region], _per_image(case, signed))


def test_mean_and_variance(case):
    subject, _, inputs, ranked = case
    plain = _features(case, np.asarray(subject.stimulus(jnp.asarray(inputs["images"]))))
    centre = plain.mean(axis=(0, 1, 2))
    spread = (plain - centre) ** 2
    for name, values in (("mean", plain), ("variance", spread)):
        _check(ranked.scores[name, "overall"], _per_image(case, values.mean(axis=(1, 2))))
        for region in ("left", "top"):
            inside, outside = _halves(plain, region)
            difference = (values * inside).sum(axis=(1, 2)) - (values * outside).sum(axis=(1, 2))
            _check(ranked.scores[name, region], _per_image(case, difference))
    mean, variance = ranked.activation
    np.testing.assert_allclose(mean, centre, rtol=1e-3)
    np.testing.assert_allclose(variance, spread.mean(axis=(0, 1, 2)), rtol=1e-2)


def test_translation_and_probe(case):
    subject, _, inputs, ranked = case
    x = np.asarray(subject.tiled(jnp.asarray(inputs["images"])))
    latent = _features(case, x).mean(axis=(1, 2)).reshape(NUM_IMAGES, 4, -1)
    pairs = [np.abs(latent[:, p] - latent[:, q]) for p in range(4) for q in range(p)]
    _check(ranked.scores["translation", "overall"], np.mean(pairs, axis=0))
    for region, places in (("left", [0, 2]), ("top", [0, 1])):
        others = [p for p in range(4) if p not in places]
        expected = latent[:, places].mean(axis=1) - latent[:, others].mean(axis=1)
        _check(ranked.scores["translation", region], expected)
        # What raises the logit of the region's places where they are right, and lowers it
        # elsewhere: for channels that differ clearly the sign is that of the difference
        # times that of the probe's weight, so the sum over channels is positive.
        found = ranked.scores["probe", region]
        assert found.per_image.shape == expected.shape
    overall = ranked.scores["probe", "overall"]
    assert overall.mean.sum() > 0  # the right place's logit stands above the mean of all


def test_class(case):
    subject, _, inputs, ranked = case
    maps = _features(case, np.asarray(subject.stimulus(jnp.asarray(inputs["images"]))))
    if subject.class_names:  # the class at the centre of every pixel of the map
        stride = [
            whole / side
            for whole, side in zip(inputs["labels"].shape[1:], maps.shape[1:3], strict=True)
        ]
        at = np.ix_(
            *(
                ((np.arange(side) + 0.5) * s).astype(int)
                for side, s in zip(maps.shape[1:3], stride, strict=True)
            )
        )
        x = maps.reshape(-1, maps.shape[-1])
        labels = np.concatenate([image[at].ravel() for image in inputs["labels"]])
        x, labels = x[labels != 255], labels[labels != 255]
    else:
        x, labels = maps.mean(axis=(1, 2)), np.repeat(inputs["labels"], subject.views)
    centred = x - x.mean(axis=0)
    within = sum(
        ((x[labels == k] - x[labels == k].mean(axis=0)) ** 2).sum(axis=0) for k in np.unique(labels)
    )
    expected = 1 - within / (centred**2).sum(axis=0)
    assert 0 < expected.min() < expected.max() < 1
    np.testing.assert_allclose(ranked.scores["class", "overall"].mean, expected, atol=2e-3)
    assert {region for method, region in ranked.scores if method == "class"} == {"overall"}


def test_gates(case):
    subject, variables, inputs, ranked = case
    features = jax.jit(subject.setup.model.apply)(
        variables, subject.stimulus(jnp.asarray(inputs["images"]))
    )[1]
    features = {name: features[name] for name in subject.needed}
    names = measured_boxes(subject.boxes)
    channels, labels = features[subject.feature].shape[-1], inputs["labels"]

    @jax.jit
    def losses(gate):
        return subject.region_losses(variables, gated(subject, features, gate), labels)[0]

    def rise_at(opening, channel, step=0.02):
        """Central difference of every image's loss, by region: the gate one channel less."""
        shut, wide = (np.full((NUM_IMAGES, channels), opening, np.float32) for _ in range(2))
        shut[:, channel] -= step
        wide[:, channel] += step
        rise = np.asarray(losses(shut) - losses(wide)) / (2 * step)
        return dict(zip(names, rise, strict=True))

    for channel in (1, channels - 2):
        open_, half = rise_at(1.0, channel), [rise_at(p, channel) for p in ops.midpoints(3)]
        integrated = {name: np.mean([h[name] for h in half], axis=0) for name in names}
        for method, rise in (("gate", open_), ("integrated", integrated)):
            scale = np.abs(ranked.scores[method, "overall"].per_image).max()
            for region in ("overall", "left", "top"):
                expected = rise[region]
                if region != "overall":
                    expected = expected - rise[f"outside {region}"]
                found = ranked.scores[method, region].per_image[:, channel]
                np.testing.assert_allclose(found, expected, atol=0.03 * scale)


def test_a_region_can_be_scored_alone(case):
    """Contrasted, two halves are one list read from both ends; alone, they are not."""
    subject, variables, inputs, ranked = case
    config = subject.setup.config
    config = dataclasses.replace(config, rank=dataclasses.replace(config.rank, contrast="inside"))
    own = targets.make_subject(dataclasses.replace(subject.setup, config=config))
    chosen = images_of(own.setup, ("train",), NUM_IMAGES, 16)
    methods = ("translation", "gate", "mean", "variance")
    alone = rank.score_channels(own, variables, chosen, methods)
    plain = _features(case, np.asarray(own.stimulus(jnp.asarray(inputs["images"]))))
    centre = plain.mean(axis=(0, 1, 2))
    inside, _ = _halves(plain, "left")
    for name, values in (("mean", plain), ("variance", (plain - centre) ** 2)):
        expected = _per_image(case, (values * inside).sum(axis=(1, 2)))
        _check(alone.scores[name, "left"], expected)
    latent = _features(case, np.asarray(own.tiled(jnp.asarray(inputs["images"])))).mean(axis=(1, 2))
    latent = latent.reshape(NUM_IMAGES, 4, -1)
    _check(alone.scores["translation", "left"], np.abs(latent[:, 0] - latent[:, 2]))
    # Contrasted, what is inside less what is outside; the same outside would be taken off.
    gate = {name: alone.scores["gate", name].per_image for name in ("left", "overall")}
    contrasted = ranked.scores["gate", "left"].per_image
    assert np.abs(gate["left"] - contrasted).max() > 1e-3 * np.abs(gate["left"]).max()
    if not subject.class_names:  # cells of the left and the right weigh alike
        np.testing.assert_allclose(
            2 * gate["left"] - contrasted, 2 * gate["overall"], atol=1e-4 * np.abs(contrasted).max()
        )


def test_inside_and_outside_make_the_whole(case):
    subject, variables, inputs, _ = case
    features = jax.jit(subject.setup.model.apply)(
        variables, subject.stimulus(jnp.asarray(inputs["images"]))
    )[1]
    counted = subject.count(variables, features, inputs["labels"])
    at = {name: i for i, name in enumerate(measured_boxes(subject.boxes))}
    for counts in map(np.asarray, counted.values()):
        for region in ("left", "top"):
            both = counts[:, at[region]] + counts[:, at[f"outside {region}"]]
            np.testing.assert_array_equal(both, counts[:, at["overall"]])
            assert (counts[:, at[region]] != counts[:, at["overall"]]).any()
