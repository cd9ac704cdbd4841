"""Plain and mirrored views: the flip difference, activations and their variance."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax import ops
from gpool_jax.experiments.channels.scores import average
from gpool_jax.experiments.channels.subject import Subject, encode


def make_look(subject: Subject) -> Callable:
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


def score_flip(subject: Subject, seen: dict[str, np.ndarray], notes: list[str]) -> dict:
    """The flip difference, of the regions that have one."""
    found = {}
    for name in subject.boxes:
        if name == "overall":
            found["flip", name] = average(seen["absolute"])
        elif f"signed {name}" in seen:
            found["flip", name] = average(seen[f"signed {name}"])
        else:
            notes.append(
                f"The flip difference says nothing of {name}: it is its own mirror image. It has "
                "no such ranking."
            )
    return found


def score_variance(subject: Subject, seen: dict[str, np.ndarray]) -> dict:
    """Variance of each channel over the pixels and images, about its mean over all of them."""
    centre = activation_of(seen)[0][None, None]
    inside, outside = (
        seen[f"{part}_square"] - 2 * centre * seen[part] + centre**2
        for part in ("inside", "outside")
    )
    return compare(subject, "variance", inside, outside)


def compare(subject: Subject, method: str, inside: np.ndarray, outside: np.ndarray) -> dict:
    """A region's score is the value inside it less the value outside; overall, the value."""
    return {
        (method, name): average(inside[:, i] if name == "overall" else inside[:, i] - outside[:, i])
        for i, name in enumerate(subject.boxes)
    }
