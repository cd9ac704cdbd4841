"""One crop in every cell: the translation difference, and a probe that names the cell."""

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax import ops
from gpool_jax.experiments.channels.images import Images, map_images
from gpool_jax.experiments.channels.scores import ScoreTable, average
from gpool_jax.experiments.channels.subject import Arrays, Subject, Variables, encode
from gpool_jax.ops import probe
from gpool_jax.train import parallel


def score_cells(
    subject: Subject,
    variables: Variables,
    images: Images,
    methods: tuple[str, ...],
    notes: list[str],
) -> ScoreTable:
    """Translation difference and location probe, from one crop in every cell."""
    num_cells = subject.grid**2

    def look(variables: Variables, _data: Arrays, inputs: Arrays) -> Arrays:
        features = encode(subject, variables, subject.tiled(inputs["images"]))
        latent = ops.global_average_pool(features[subject.feature])
        return {"latent": latent.reshape(-1, num_cells, latent.shape[-1])}

    run = parallel.map_batch(look)
    latent = map_images(run, variables, {}, images, title="crops in every cell")["latent"]
    cells = {name: ops.region_cells(box, subject.grid) for name, box in subject.boxes.items()}
    contrast = subject.setup.config.rank.contrast != "inside"
    # Alone, a region needs two places that can differ.
    least = 1 if contrast else 2
    known = {name: inside for name, inside in cells.items() if least <= inside.sum() < num_cells}
    overall = "overall" in subject.boxes
    notes += [
        f"The translation difference and the location probe say nothing of {name}: of the "
        f"{subject.grid} x {subject.grid} places, {'none' if contrast else 'at most one'} or all "
        "lie in it."
        for name in subject.boxes
        if name != "overall" and name not in known
    ]
    scores: ScoreTable = {}
    if "translation" in methods:
        if overall:
            scores["translation", "overall"] = average(_absolute_differences(latent))
        for name, inside in known.items():
            if contrast:
                found = np.asarray(ops.translation_difference(jnp.asarray(latent), inside))
            else:
                found = _absolute_differences(latent[:, inside])
            scores["translation", name] = average(found)
    if "probe" in methods:
        shares = _probe_shares(latent, notes)
        if overall:
            scores["probe", "overall"] = average(shares.mean(axis=1))
        for name, inside in known.items():
            outside = shares[:, ~inside].mean(axis=1) if contrast else 0.0
            scores["probe", name] = average(shares[:, inside].mean(axis=1) - outside)
    return scores


def _absolute_differences(latent: np.ndarray) -> np.ndarray:
    """Mean absolute difference over all pairs of places [N, C], from latents [N, places, C]."""
    # In blocks: all pairs of cells of all images at once would fill any memory.
    blocks = np.array_split(latent, max(1, len(latent) // 16))
    difference_of = jax.jit(ops.absolute_translation_difference)
    return np.concatenate([np.asarray(difference_of(block)) for block in blocks])


def _probe_shares(latent: np.ndarray, notes: list[str]) -> np.ndarray:
    """Gradient x activation [N, cells, C] of the logit that a probe gives to the right cell."""
    num_cells = latent.shape[1]
    cell = np.tile(np.arange(num_cells), len(latent))
    flat = jnp.asarray(latent.reshape(-1, latent.shape[-1]))
    kernel, bias = probe.fit_logistic(flat, jnp.asarray(cell), num_classes=num_cells)
    correct = float(((flat @ kernel + bias[None, :]).argmax(-1) == cell).mean())
    notes.append(
        f"The location probe names the place of {100 * correct:.1f} % of the crops that it was "
        f"fitted on (chance {100 / num_cells:.1f})."
    )
    shares = ops.gradient_times_activation(kernel, flat, jnp.asarray(cell))
    return np.asarray(shares).reshape(latent.shape)
