"""Scores of every channel by every method, image by image."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax import ops
from gpool_jax.errors import InputError
from gpool_jax.experiments.channels.images import Images, map_images
from gpool_jax.experiments.channels.subject import OUTSIDE, Subject, encode, measured_boxes
from gpool_jax.ops import probe
from gpool_jax.train import parallel

# Of the random ranking, and of the images that a stability is resampled from.
_SEED = 0


@dataclasses.dataclass(frozen=True)
class Scores:
    """One method's scores for one region.

    Attributes:
      mean: float64 [C], over images: what channels are ranked by.
      per_image: float32 [N, C]; None for a method that looks at no image.
      weights: [N], 0 for an image that says nothing about the region.
    """

    mean: np.ndarray
    per_image: np.ndarray | None = None
    weights: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Ranked:
    """Everything that ranking found.

    Attributes:
      scores: by (method, region).
      activation: mean [C] and variance [C] of the channels over images and space.
      num_images: ranked on.
      notes: what could not be scored, and how exact the integration is.
    """

    scores: dict[tuple[str, str], Scores]
    activation: tuple[np.ndarray, np.ndarray]
    num_images: int
    notes: list[str]


def rank(subject: Subject, variables: Any, images: Images, methods: tuple[str, ...]) -> Ranked:
    """Score the channels of a network.

    Args:
      subject: the network.
      variables: its weights.
      images: to rank on.
      methods: among `ops.METHODS`.

    Raises:
      InputError: for an unknown method.
    """
    for method in methods:
        if method not in ops.METHODS:
            raise InputError(
                f"`rank.methods` must be among {', '.join(ops.METHODS)}; got {method!r}."
            )
    look = parallel.map_batch(_make_look(subject))
    seen = map_images(look, variables, {}, images, title="plain and mirrored")
    activation = _activation(seen)
    found: dict[tuple[str, str], Scores] = {}
    notes: list[str] = []
    if "flip" in methods:
        found |= _flip(subject, seen, notes)
    if "mean" in methods:
        found |= _compare(subject, "mean", seen["inside"], seen["outside"])
    if "variance" in methods:
        centre = activation[0][None, None]
        inside, outside = (
            seen[f"{part}_square"] - 2 * centre * seen[part] + centre**2
            for part in ("inside", "outside")
        )
        found |= _compare(subject, "variance", inside, outside)
    if {"translation", "probe"} & set(methods):
        found |= _placed(subject, variables, images, methods, notes)
    if {"gate", "integrated"} & set(methods):
        found |= _gates(subject, variables, images, methods, notes)
    if "random" in methods:
        drawn = np.random.default_rng(_SEED).random((len(subject.boxes), len(activation[0])))
        found |= {
            ("random", name): Scores(row) for name, row in zip(subject.boxes, drawn, strict=True)
        }
    ordered = {
        (method, region): found[method, region]
        for method in methods
        for region in subject.boxes
        if (method, region) in found
    }
    return Ranked(ordered, activation, len(images), notes)


def _make_look(subject: Subject) -> Callable:
    """Plain and mirrored views in one forward pass: differences and activations by region."""
    boxes = subject.boxes
    axes = {name: ops.mirror_axis(box) for name, box in boxes.items()}
    mirrored = [axis for axis in (2, 1) if axis == 2 or axis in axes.values()]

    def look(variables: Any, _data: Any, inputs: dict) -> dict[str, jax.Array]:
        x = subject.stimulus(inputs["images"])
        views = jnp.concatenate([x, *(jnp.flip(x, axis) for axis in mirrored)])
        features = encode(subject, variables, views)[subject.feature]
        plain, *flipped = jnp.split(features, len(mirrored) + 1)
        by_axis = dict(zip(mirrored, flipped, strict=True))
        sides = plain.shape[1:3]
        masks = {name: ops.region_mask(box, *sides) for name, box in boxes.items()}
        inside = jnp.asarray(np.stack(list(masks.values())))
        square = plain.astype(jnp.float32) ** 2
        out = {
            "absolute": ops.absolute_flip_difference(plain, by_axis[2]),
            "inside": ops.region_means(plain, inside),
            "outside": ops.region_means(plain, ~inside),
            "inside_square": ops.region_means(square, inside),
            "outside_square": ops.region_means(square, ~inside),
            "all": ops.global_average_pool(plain),
            "all_square": ops.global_average_pool(square),
        }
        for name, axis in axes.items():
            if axis is not None:
                mask = jnp.asarray(masks[name])[None]
                signed = ops.flip_difference(plain, by_axis[axis], mask, axis=axis)
                out[f"signed {name}"] = signed[:, 0]
        # One row for each image: the mean over its canvases.
        return {k: v.reshape(-1, subject.views, *v.shape[1:]).mean(1) for k, v in out.items()}

    return look


def _activation(seen: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    mean = seen["all"].astype(np.float64).mean(axis=0)
    square = seen["all_square"].astype(np.float64).mean(axis=0)
    return mean, np.maximum(square - mean**2, 0.0)


def _scores(per_image: np.ndarray, weights: np.ndarray | None = None) -> Scores:
    weights = np.ones(len(per_image)) if weights is None else weights
    total = max(weights.sum(), 1e-12)
    return Scores(weights @ per_image.astype(np.float64) / total, per_image, weights)


def _flip(subject: Subject, seen: dict[str, np.ndarray], notes: list[str]) -> dict:
    found = {}
    for name in subject.boxes:
        if name == "overall":
            found["flip", name] = _scores(seen["absolute"])
        elif f"signed {name}" in seen:
            found["flip", name] = _scores(seen[f"signed {name}"])
        else:
            notes.append(
                f"The flip difference says nothing of {name}: it is its own mirror image. It has "
                "no such ranking."
            )
    return found


def _compare(subject: Subject, method: str, inside: np.ndarray, outside: np.ndarray) -> dict:
    """A region's score is the value inside it less the value outside; overall, the value."""
    return {
        (method, name): _scores(inside[:, i] if name == "overall" else inside[:, i] - outside[:, i])
        for i, name in enumerate(subject.boxes)
    }


def _placed(
    subject: Subject, variables: Any, images: Images, methods: tuple[str, ...], notes: list[str]
) -> dict:
    """Translation difference and location probe, from one crop at every place."""
    num_places = subject.places() ** 2

    def look(variables: Any, _data: Any, inputs: dict) -> dict[str, jax.Array]:
        x = subject.placed(inputs["images"])
        latent = ops.global_average_pool(encode(subject, variables, x)[subject.feature])
        return {"latent": latent.reshape(-1, num_places, latent.shape[-1])}

    run = parallel.map_batch(look)
    latent = map_images(run, variables, {}, images, title="crops in every place")["latent"]
    cells = {name: ops.region_cells(box, subject.places()) for name, box in subject.boxes.items()}
    known = {name: inside for name, inside in cells.items() if 0 < inside.sum() < num_places}
    for name in subject.boxes:
        if name != "overall" and name not in known:
            notes.append(
                f"The translation difference and the location probe say nothing of {name}: of the "
                f"{subject.places()} x {subject.places()} places, none or all lie in it."
            )
    found = {}
    if "translation" in methods:
        if "overall" in subject.boxes:
            # In blocks: all pairs of places of all images at once would fill any memory.
            blocks = np.array_split(latent, max(1, len(latent) // 16))
            difference = jax.jit(ops.absolute_translation_difference)
            absolute = [np.asarray(difference(b)) for b in blocks]
            found["translation", "overall"] = _scores(np.concatenate(absolute))
        for name, inside in known.items():
            signed = np.asarray(ops.translation_difference(jnp.asarray(latent), inside))
            found["translation", name] = _scores(signed)
    if "probe" in methods:
        found |= _probe(latent, known, "overall" in subject.boxes, notes)
    return found


def _probe(latent: np.ndarray, known: dict, overall: bool, notes: list[str]) -> dict:
    """Gradient x activation of the logit that a location probe gives to the right place."""
    num_places = latent.shape[1]
    place = np.tile(np.arange(num_places), len(latent))
    flat = jnp.asarray(latent.reshape(-1, latent.shape[-1]))
    kernel, bias = probe.fit_logistic(flat, jnp.asarray(place), num_classes=num_places)
    right = float(((flat @ kernel + bias[None, :]).argmax(-1) == place).mean())
    notes.append(
        f"The location probe names the place of {100 * right:.1f} % of the crops that it was "
        f"fitted on (chance {100 / num_places:.1f})."
    )
    of_rows = ops.gradient_times_activation(kernel, flat, jnp.asarray(place))
    shares = np.asarray(of_rows).reshape(latent.shape)
    found = {}
    if overall:
        found["probe", "overall"] = _scores(shares.mean(axis=1))
    for name, inside in known.items():
        difference = shares[:, inside].mean(axis=1) - shares[:, ~inside].mean(axis=1)
        found["probe", name] = _scores(difference)
    return found


def _gates(
    subject: Subject, variables: Any, images: Images, methods: tuple[str, ...], notes: list[str]
) -> dict:
    """Gate gradient, and its integral from the open gate to the shut one."""
    program = parallel.map_batch(_make_gate(subject))

    def run(opening: float) -> dict[str, np.ndarray]:
        data, title = {"gate": np.float32(opening)}, f"gate at {opening:.3g}"
        return map_images(program, variables, data, images, title=title)

    one = run(1.0)
    found: dict[tuple[str, str], Scores] = {}
    if "gate" in methods:
        found |= _of_loss(subject, "gate", one["gradient"], one["weight"])
    if "integrated" in methods:
        points = ops.midpoints(subject.setup.config.rank.integration_steps)
        gradient = np.zeros_like(one["gradient"])
        for point in points:
            gradient += run(point)["gradient"] / len(points)
        shut = run(0.0)
        rise = (shut["loss"] - one["loss"]) * one["weight"]
        gap = np.abs((gradient.sum(axis=-1) * one["weight"] - rise).sum(axis=0))
        share = gap / np.maximum(np.abs(rise.sum(axis=0)), 1e-12)
        listed = ", ".join(
            f"{name} {100 * s:.1f} %"
            for name, s in zip(measured_boxes(subject.boxes), share, strict=True)
            if name in subject.boxes
        )
        notes.append(
            f"Integrated gradients, {len(points)} points: completeness gap as a share of the "
            f"loss's whole rise: {listed}."
        )
        found |= _of_loss(subject, "integrated", gradient, one["weight"])
    return found


def _make_gate(subject: Subject) -> Callable:
    def gate_batch(variables: Any, data: dict, inputs: dict) -> dict[str, jax.Array]:
        features = encode(subject, variables, subject.stimulus(inputs["images"]))
        features = {name: features[name] for name in subject.needed()}
        batch = len(inputs["images"])
        channels = features[subject.feature].shape[-1]
        gate = jnp.full((batch, channels), data["gate"])
        _, weight = subject.region_losses(variables, features, inputs, gate)

        def losses(gate: jax.Array) -> jax.Array:
            return subject.region_losses(variables, features, inputs, gate)[0]

        values, gradient = ops.gate_gradient(losses, gate)
        return {
            "loss": values.T,
            "weight": weight.T,
            "gradient": jnp.swapaxes(gradient, 0, 1),
        }

    return gate_batch


def _of_loss(
    subject: Subject, method: str, gradient: np.ndarray, weight: np.ndarray
) -> dict[tuple[str, str], Scores]:
    """A region's score is the rise of the loss inside it less that of the loss outside."""
    at = {name: i for i, name in enumerate(measured_boxes(subject.boxes))}
    found = {}
    for name in subject.boxes:
        score, valid = gradient[:, at[name]], weight[:, at[name]]
        if name != "overall":
            other = at[OUTSIDE + name]
            score, valid = score - gradient[:, other], valid * weight[:, other]
        found[method, name] = _scores(score, valid)
    return found
