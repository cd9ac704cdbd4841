"""Gates on channels: the gradient of the loss, and its integral from open to shut."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax import ops
from gpool_jax.experiments.channels.images import Images, map_images
from gpool_jax.experiments.channels.scores import ScoreTable, average
from gpool_jax.experiments.channels.subject import (
    OUTSIDE,
    Arrays,
    Subject,
    Variables,
    encode,
    gated,
    measured_boxes,
)
from gpool_jax.train import parallel


def score_gates(
    subject: Subject,
    variables: Variables,
    images: Images,
    methods: tuple[str, ...],
    notes: list[str],
) -> ScoreTable:
    """Gate gradient, and its integral from the open gate to the shut one.

    The two may disagree, since the loss of a trained network is saturated: all gates close
    together, and while most are open hardly any loss is at stake. In a small network of digits
    (recognition, VGG-5, mean loss 0.28) the gradients of all channels summed to 0.05 with the
    gates open, to 8.3 with them shut; nine tenths of the integral came from gates below a half.
    There the order of the channels is another: its rank correlation with the open gate's is above
    0.97 down to a gate of 0.56, 0.73 at 0.31, 0.16 at 0.19 and -0.6 at 0. No kink is needed for
    that, and the completeness gap is small. What removing one channel costs (correlation 0.99) is
    what the gate ranks by; integrated gradients (0.75) share out the loss of removing all.
    """
    program = parallel.map_batch(_make_gate(subject))

    def run(opening: float) -> dict[str, np.ndarray]:
        data, title = {"gate": np.float32(opening)}, f"gate at {opening:.3g}"
        return map_images(program, variables, data, images, title=title)

    whole = run(1.0)
    weight = whole["weight"]
    scores: ScoreTable = {}
    if "gate" in methods:
        scores |= _compare(subject, "gate", whole["gradient"], weight, notes)
    if "integrated" in methods:
        points = ops.midpoints(subject.setup.config.rank.integration_steps)
        gradient = np.zeros_like(whole["gradient"])
        for point in points:
            gradient += run(point)["gradient"] / len(points)
        rise = (run(0.0)["loss"] - whole["loss"]) * weight
        # Image by image, so that gaps of different signs do not hide each other.
        gap = np.abs(gradient.sum(axis=-1) * weight - rise).sum(axis=0)
        share = gap / np.maximum(np.abs(rise).sum(axis=0), 1e-12)
        listed = ", ".join(
            f"{name} {100 * s:.1f} %"
            for name, s in zip(measured_boxes(subject.boxes), share, strict=True)
        )
        notes.append(
            f"Integrated gradients, {len(points)} points: completeness gap of an image as a share "
            f"of its loss's whole rise: {listed}."
        )
        scores |= _compare(subject, "integrated", gradient, weight, notes)
    return scores


def _make_gate(subject: Subject) -> Callable[[Variables, Arrays, Arrays], Arrays]:
    def gate_batch(variables: Variables, data: Arrays, inputs: Arrays) -> Arrays:
        features = encode(subject, variables, subject.stimulus(inputs["images"]))
        features = {name: features[name] for name in subject.needed}
        labels = inputs["labels"]
        _, weight = subject.region_losses(variables, features, labels)

        def losses(gate: jax.Array) -> jax.Array:
            return subject.region_losses(variables, gated(subject, features, gate), labels)[0]

        gate = jnp.full((len(labels), subject.num_channels), data["gate"])
        values, gradient = ops.gate_gradient(losses, gate)
        return {"loss": values.T, "weight": weight.T, "gradient": jnp.swapaxes(gradient, 0, 1)}

    return gate_batch


def _compare(
    subject: Subject, method: str, gradient: np.ndarray, weight: np.ndarray, notes: list[str]
) -> ScoreTable:
    """A region's score is the rise of the loss inside it, minus that outside if contrasted."""
    contrast = subject.setup.config.rank.contrast != "inside"
    at = {name: i for i, name in enumerate(measured_boxes(subject.boxes))}
    scores: ScoreTable = {}
    for name in subject.boxes:
        score, valid = gradient[:, at[name]], weight[:, at[name]]
        if name != "overall" and contrast:
            other = at[OUTSIDE + name]
            score, valid = score - gradient[:, other], valid * weight[:, other]
        if valid.any():
            scores[method, name] = average(score, valid)
        else:
            notes.append(
                f"No image has labels {'both in and outside' if contrast else 'in'} {name}: it has "
                f"no ranking {method}."
            )
    return scores
