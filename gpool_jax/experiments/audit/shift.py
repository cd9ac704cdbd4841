"""How sensitive answers and vectors are to shifts of the input, without labels."""

import numpy as np

from gpool_jax.config import AuditConfig
from gpool_jax.experiments.audit.latents import Classify, Latents, answers_of, distances
from gpool_jax.experiments.audit.scores import Score


def measure(
    config: AuditConfig,
    latents: Latents,
    stage: str,
    classify: Classify | None,
) -> list[Score]:
    """Share of changed answers and distance of latents, by protocol and distance in pixels.

    Distances are in units of the root mean square distance of two images' latents.
    """
    scores, still = [], latents.centred
    scale = _distance_of_images(still)
    own = None if classify is None else answers_of(classify, still)[:, None, None]
    for protocol, moved in latents.shifted.items():
        gaps = np.linalg.norm(moved - still[:, None, None], axis=-1) / scale
        changed = None
        if classify is not None:
            changed = (answers_of(classify, moved) != own).astype(np.float64)
        for place, pixels in enumerate(distances(config)):
            condition = f"{protocol}, {pixels} px"
            values = gaps[:, place].mean(axis=1)
            scores.append(
                Score("shift", "latent distance", condition, stage, values, None, "ratio")
            )
            if changed is not None:
                values = changed[:, place].mean(axis=1)
                scores.append(Score("shift", "answers changed", condition, stage, values))
        if changed is not None:
            values = changed.mean(axis=(1, 2))
            scores.append(Score("shift", "answers changed", protocol, stage, values))
        values = gaps.mean(axis=(1, 2))
        scores.append(Score("shift", "latent distance", protocol, stage, values, None, "ratio"))
    return scores


def _distance_of_images(latent: np.ndarray) -> float:
    """Root mean square distance between the latents [N, C] of two different images."""
    variance = latent.astype(np.float64).var(axis=0, ddof=1).sum()
    return float(np.sqrt(2.0 * variance)) or 1.0
