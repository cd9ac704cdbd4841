"""Plain and mirrored views: the flip difference, activations and their variance."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from gpool_jax import ops
from gpool_jax.experiments.channels.scores import ScoreTable, average
from gpool_jax.experiments.channels.subject import Arrays, Subject, Variables, encode


def make_look(subject: Subject) -> Callable:
    """Plain and mirrored views in one forward pass: differences and activations by region."""
    boxes = subject.boxes
    axes = {name: ops.mirror_axis(box) for name, box in boxes.items()}
    mirrored = [axis for axis in (2, 1) if axis == 2 or axis in axes.values()]

    def look(variables: Variables, _data: Arrays, inputs: Arrays) -> Arrays:
        x = subject.stimulus(inputs["images"])
        views = jnp.concatenate([x, *(jnp.flip(x, axis) for axis in mirrored)])
        features = encode(subject, variables, views)[subject.feature]
        plain, *flipped = jnp.split(features, len(mirrored) + 1)
        by_axis = dict(zip(mirrored, flipped, strict=True))
        sides = plain.shape[1:3]
        weights = {name: ops.region_weights(box, *sides) for name, box in boxes.items()}
        inside = jnp.asarray(np.stack(list(weights.values())))
        # Nothing is outside the whole: its own mean stands in, and is not asked for.
        outside = jnp.where(jnp.all(inside == 1, axis=(1, 2), keepdims=True), inside, 1 - inside)
        square = plain.astype(jnp.float32) ** 2
        out = {
            "absolute": ops.absolute_flip_difference(plain, by_axis[2]),
            "inside": ops.region_means(plain, inside),
            "outside": ops.region_means(plain, outside),
            "inside_square": ops.region_means(square, inside),
            "outside_square": ops.region_means(square, outside),
            "all": ops.global_average_pool(plain),
            "all_square": ops.global_average_pool(square),
        }
        for name, axis in axes.items():
            if axis is not None:
                signed = ops.flip_difference(
                    plain, by_axis[axis], jnp.asarray(weights[name])[None], axis=axis
                )
                out[f"signed {name}"] = signed[:, 0]
        # One row for each image: the mean over its canvases.
        return {k: v.reshape(-1, subject.views, *v.shape[1:]).mean(1) for k, v in out.items()}

    return look


def activation_of(seen: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean [C] and variance [C] of the channels over images and space."""
    mean = seen["all"].astype(np.float64).mean(axis=0)
    square = seen["all_square"].astype(np.float64).mean(axis=0)
    return mean, np.maximum(square - mean**2, 0.0)


def score_views(
    subject: Subject, seen: dict[str, np.ndarray], methods: tuple[str, ...], notes: list[str]
) -> ScoreTable:
    """Flip difference, mean and variance (about the mean over all pixels and images).

    A region's mean or variance is the value inside it, minus the value outside if contrasted;
    overall, the value.
    """
    contrast = subject.setup.config.rank.contrast != "inside"
    scores: ScoreTable = {}
    for name in subject.boxes if "flip" in methods else ():
        key = "absolute" if name == "overall" else f"signed {name}"
        if key in seen:
            scores["flip", name] = average(seen[key])
        else:
            notes.append(
                f"The flip difference says nothing of {name}: it is its own mirror image. It has "
                "no such ranking."
            )
    sides, parts = ("inside", "outside"), {}
    if "mean" in methods:
        parts["mean"] = [seen[side] for side in sides]
    if "variance" in methods:
        centre = activation_of(seen)[0][None, None]
        parts["variance"] = [
            seen[f"{side}_square"] - 2 * centre * seen[side] + centre**2 for side in sides
        ]
    for method, (inside, outside) in parts.items():
        for i, name in enumerate(subject.boxes):
            alone = name == "overall" or not contrast
            scores[method, name] = average(inside[:, i] - (0.0 if alone else outside[:, i]))
    return scores
