"""How position is removed from a vector, and what that costs."""

import jax.numpy as jnp
import numpy as np

from gpool_jax import ops
from gpool_jax.config import AuditConfig
from gpool_jax.experiments.audit import position
from gpool_jax.experiments.audit.latents import Classify, Latents, answers_of
from gpool_jax.experiments.audit.scores import Score

# Blended into the covariance, which few rows know badly.
SHRINKAGE = 0.01


def fit(latent: np.ndarray) -> ops.Eraser:
    """Fit the eraser of the cell on latents [N, M, C]."""
    num_images, cells, channels = latent.shape
    cell = np.tile(np.arange(cells), num_images)
    return ops.fit_eraser(latent.reshape(-1, channels), cell, shrinkage=SHRINKAGE)


def measure(
    config: AuditConfig,
    latents: Latents,
    stage: str,
    classify: Classify | None,
) -> list[Score]:
    """Erase the cell from the vectors of each half of the images, fitted on the other half."""
    latent = latents.cells[stage]
    num_images, cells, _ = latent.shape
    half = np.arange(num_images) % 2
    erasers = [fit(latent[half != side]) for side in (0, 1)]

    def erased(values: np.ndarray) -> np.ndarray:
        """Values [N, ..., C], each image's by the eraser that has not seen it."""
        found = np.empty_like(values)
        for side, eraser in enumerate(erasers):
            found[half == side] = np.asarray(ops.erase(jnp.asarray(values[half == side]), eraser))
        return found

    after = erased(latent)
    cell = np.tile(np.arange(cells), (num_images, 1))
    scores = []
    for kind in ("ridge", "mlp"):
        words = "linear probe" if kind == "ridge" else "non-linear probe"
        for name, x in (("before", latent), ("erased", after)):
            hits = position.cell_hits(x, cell, cells, folds=config.folds, kinds=(kind,))
            scores.append(Score("erasure", "cell", f"{words}, {name}", stage, hits, 1.0 / cells))
    for name, x in (("before", latent), ("erased", after)):
        matches = np.asarray(ops.content_matches(ops.standardise(jnp.asarray(x)))).mean(axis=1)
        scores.append(Score("erasure", "image", name, stage, matches, 1.0 / num_images))
    if classify is None:
        return scores
    answers = answers_of(classify, latents.plain)
    kept = (answers_of(classify, erased(latents.plain)) == answers).astype(np.float64)
    scores.append(Score("erasure", "answers kept", "erased", stage, kept))
    for protocol, moved in latents.shifted.items():
        for name, apply in (("before", lambda x: x), ("erased", erased)):
            own = answers_of(classify, apply(latents.centred))[:, None, None]
            values = (answers_of(classify, apply(moved)) != own).mean(axis=(1, 2))
            quantity = f"answers changed by shifts, {protocol}"
            scores.append(Score("erasure", quantity, name, stage, values))
    return scores
