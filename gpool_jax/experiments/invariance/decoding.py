"""Read position from the latent of a network trained on whole images."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from gpool_jax.experiments.measures import held_out, probing, views
from gpool_jax.experiments.measures.tallies import Tallies, Tally
from gpool_jax.experiments.measures.views import Stimulus
from gpool_jax.experiments.programs import shared
from gpool_jax.experiments.training import Setup, run_batches
from gpool_jax.ops import probe
from gpool_jax.report import Probe
from gpool_jax.train import parallel

CELL = ("canvas", "cell_decoding")
# Random shifts of each probed image, as many as a 3 x 3 canvas has cells.
_NUM_SHIFTS = 9


def cell_tally(setup: Setup, probes: list[Probe], scores: dict[str, np.ndarray]) -> Tallies:
    """Tally the selected probe that reads the cell of a canvas from the latent, if there is one.

    `probes` and `scores` are those of `probing.measure_probes`.
    """
    wanted = ("gap", "latent", "selected", "cell")
    for i, p in enumerate(probes):
        if (p.stage, p.input, p.probe, p.target) == wanted:
            correct = scores[f"probe{i}"][0]
            return {CELL: Tally(correct, np.ones_like(correct), 1.0 / setup.config.n**2)}
    return {}


def shift_tallies(setup: Setup, stimulus: Stimulus, variables: Any) -> Tallies:
    """Tally R^2 of a ridge regression from the latent of a shifted image to its shift.

    Folds are groups of images; 0 is the best constant answer, 1 a perfect one,
    and below 0 is worse than the constant. Both axes together.

    Returns:
      For each protocol, the sum of squares explained and in all, per image.
    """
    config = setup.config
    split = held_out.draw(setup, config.probe.num_images, split=config.consistency.split).load()
    fold = np.repeat(probing.image_folds(split.labels, config.probe.folds), _NUM_SHIFTS)
    variables = parallel.replicate(variables)
    tallies = {}
    for protocol in config.consistency.protocols:
        low, high = views.offset_range(stimulus, config.consistency, protocol)
        if low == high:
            continue  # nothing moves, so there is nothing to read
        latent, offset = _shifted_latents(setup, stimulus, variables, split, protocol)
        predicted = probe.cross_validate_regression(
            jnp.asarray(latent.reshape(len(fold), -1)),
            jnp.asarray(offset.reshape(len(fold), 2)),
            jnp.asarray(fold),
            num_folds=config.probe.folds,
        )
        errors = (np.asarray(predicted).reshape(offset.shape) - offset) ** 2
        spread = (offset - offset.mean(axis=(0, 1))) ** 2
        total = spread.sum(axis=(1, 2))
        tallies[(protocol, "shift_r2")] = Tally(total - errors.sum(axis=(1, 2)), total, 0.0)
    return tallies


def _shifted_latents(
    setup: Setup, stimulus: Stimulus, variables: Any, split: Any, protocol: str
) -> tuple[np.ndarray, np.ndarray]:
    """Latents [N, V, C] of randomly shifted images, and the shifts [N, V, 2] in pixels."""
    config, args = setup.config.consistency, (setup.design, stimulus, protocol)
    program = shared(parallel.map_batch, views.make_answer_views, *args)
    bounds = views.offset_range(stimulus, config, protocol)
    constants = parallel.replicate(setup.constants)

    def run_rows(rows: np.ndarray) -> dict[str, np.ndarray]:
        offset = views.draw_offsets(bounds, protocol, rows, _NUM_SHIFTS)
        images = split.batch(rows)["images"]
        outputs = views.run_views(program, variables, constants, images, offset)
        return {"latent": outputs["latent"][:, 1:], "offset": offset}

    batch_size = max(1, config.batch_size // (_NUM_SHIFTS + 1))
    outputs = run_batches(run_rows, len(split), batch_size)
    return outputs["latent"], outputs["offset"].astype(np.float64)
