"""Gates on channels: the gradient of the loss, and its integral from open to shut."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax import ops
from gpool_jax.experiments.channels.images import Images, map_images
from gpool_jax.experiments.channels.scores import Scores, average
from gpool_jax.experiments.channels.subject import OUTSIDE, Subject, encode, measured_boxes
from gpool_jax.train import parallel


def score_gates(
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
        found |= _of_loss(subject, "gate", one["gradient"], one["weight"], notes)
    if "integrated" in methods:
        points = ops.midpoints(subject.setup.config.rank.integration_steps)
        gradient = np.zeros_like(one["gradient"])
        for point in points:
            gradient += run(point)["gradient"] / len(points)
        shut = run(0.0)
        rise = (shut["loss"] - one["loss"]) * one["weight"]
        # Image by image, so that gaps of different signs do not hide each other.
        gap = np.abs(gradient.sum(axis=-1) * one["weight"] - rise).sum(axis=0)
        share = gap / np.maximum(np.abs(rise).sum(axis=0), 1e-12)
        listed = ", ".join(
            f"{name} {100 * s:.1f} %"
            for name, s in zip(measured_boxes(subject.boxes), share, strict=True)
        )
        notes.append(
            f"Integrated gradients, {len(points)} points: completeness gap of an image as a share "
            f"of its loss's whole rise: {listed}."
        )
        found |= _of_loss(subject, "integrated", gradient, one["weight"], notes)
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
    subject: Subject,
    method: str,
    gradient: np.ndarray,
    weight: np.ndarray,
    notes: list[str],
) -> dict[tuple[str, str], Scores]:
    """A region's score is the rise of the loss inside it less that of the loss outside."""
    at = {name: i for i, name in enumerate(measured_boxes(subject.boxes))}
    found = {}
    for name in subject.boxes:
        score, valid = gradient[:, at[name]], weight[:, at[name]]
        if name != "overall":
            other = at[OUTSIDE + name]
            score, valid = score - gradient[:, other], valid * weight[:, other]
        if valid.any():
            found[method, name] = average(score, valid)
        else:
            notes.append(
                f"No image has something to answer both in and outside {name}: it has no ranking "
                f"{method}."
            )
    return found
