"""One crop at every place: the translation difference, and a probe that names the place."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax import ops
from gpool_jax.experiments.channels.images import Images, map_images
from gpool_jax.experiments.channels.scores import average
from gpool_jax.experiments.channels.subject import Subject, encode
from gpool_jax.ops import probe
from gpool_jax.train import parallel


def score_places(
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
            found["translation", "overall"] = average(np.concatenate(absolute))
        for name, inside in known.items():
            signed = np.asarray(ops.translation_difference(jnp.asarray(latent), inside))
            found["translation", name] = average(signed)
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
        found["probe", "overall"] = average(shares.mean(axis=1))
    for name, inside in known.items():
        difference = shares[:, inside].mean(axis=1) - shares[:, ~inside].mean(axis=1)
        found["probe", name] = average(difference)
    return found
