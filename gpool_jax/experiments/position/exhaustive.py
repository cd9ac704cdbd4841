"""Exact evaluation: every test image in every cell, many permutations, one backbone pass."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax import ops
from gpool_jax.config import PositionConfig
from gpool_jax.data import resident
from gpool_jax.experiments.measures import held_out
from gpool_jax.experiments.position.training import draw_permutation, place
from gpool_jax.experiments.programs import shared
from gpool_jax.experiments.training import Design, Setup, check_finite
from gpool_jax.train import parallel
from gpool_jax.train.events import track

# Keeps test permutations apart from everything that training drew.
_TEST_KEY = 0x7E57
_REFERENCE_KEY = 0x2EF
# Images that share a permutation in the reference's test.
REFERENCE_BATCH = 48


def is_tested_as_the_reference(config: PositionConfig) -> bool:
    """Tell whether the reference's test is asked for, and has this network."""
    heads = ("gapnet", "permutenet")
    return config.eval.reference and config.model.head in heads and config.model.permute_at == "gap"


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Predictions for every (image, cell), with and without permutation.

    Attributes:
      labels: int [N, cells].
      kept: int [N, cells], predictions with the channel order kept.
      permuted: int [N, cells, P], predictions through permutations; None for a
        network that has none.
      latent_sum: float64 [cells, C], sum of the pooled latent over images.
      latent_square_sum: float64 [cells, C], sum of its square.
      reference: int [N, cells, 2], each a random cell and the prediction in it, in one pass
        `REFERENCE_BATCH` images in a row through one permutation; None if not asked for.
    """

    labels: np.ndarray
    kept: np.ndarray
    permuted: np.ndarray | None
    latent_sum: np.ndarray
    latent_square_sum: np.ndarray
    reference: np.ndarray | None = None


def make_evaluate_batch(design: Design) -> Callable[[Any, dict, dict], dict[str, Any]]:
    """The device program: `(variables, data, inputs) -> predictions and sums` of its images.

    `inputs` are `index` int [B] and `mask` bool [B]. A permutation of the pooled
    latent costs one more pass of the linear head; one inside the network, one
    more pass of the network.
    """
    config, model = design.config, design.model()
    cells, num_permutations = config.n * config.n, config.eval.permutations

    def evaluate_batch(variables: Any, data: dict, inputs: dict) -> dict[str, Any]:
        index = inputs["index"]
        images = resident.fetch(data["resident"], {"index": index})["images"]
        images = ops.normalise(images, data["mean"], data["std"])
        every_cell = jnp.tile(jnp.arange(cells), len(images))
        canvases = place(design, jnp.repeat(images, cells, axis=0), every_cell)
        logits, features = model.apply(variables, canvases)
        latent = features["gap"].reshape(len(index), cells, -1)
        kept_rows = jnp.where(inputs["mask"][:, None, None], latent, 0.0)
        outputs = {
            "kept": logits.argmax(-1).reshape(-1, cells),
            "latent_sum": kept_rows.sum(0),
            "latent_square_sum": (kept_rows**2).sum(0),
        }
        if is_tested_as_the_reference(config):
            outputs["reference"] = _test_as_the_reference(
                design, variables, data["seed"], index, outputs["kept"], latent
            )
        if config.model.head == "gapnet" and config.model.permute_at == "gap":
            return outputs  # there is no pooled vector whose channels could be permuted

        def through(draw: jax.Array) -> jax.Array:
            key = jax.random.fold_in(jax.random.key(data["seed"] ^ _TEST_KEY), draw)
            permutation = draw_permutation(
                key, config, index, model.num_permutable, seed=data["seed"], per="example"
            )
            if permutation.ndim == 2:
                permutation = jnp.repeat(permutation, cells, axis=0)
            if config.model.permute_at == "gap":
                pooled = {"gap": features["gap"]}
                answer: Any = model.apply(
                    variables, pooled, permutation=permutation, method="classify"
                )
            else:
                answer, _ = model.apply(variables, canvases, permutation=permutation)
            return answer.argmax(-1).reshape(-1, cells)

        draws = jnp.arange(num_permutations)
        if config.model.permute_at == "gap":
            outputs["permuted"] = jax.vmap(through, out_axes=-1)(draws)
        else:
            # Unrolled: convolutions inside a loop are slow on CPU, and P networks
            # side by side would multiply the memory.
            outputs["permuted"] = jnp.stack([through(draw) for draw in draws], axis=-1)
        return outputs

    return evaluate_batch


def _test_as_the_reference(
    design: Design,
    variables: Any,
    seed: jax.Array,
    index: jax.Array,
    kept: jax.Array,
    latent: jax.Array,
) -> jax.Array:
    """Test as the reference does, in n x n passes: int [B, n * n, 2], random cells and predictions.

    `kept` [B, cells] are predictions in order, `latent` [B, cells, C] the pooled vectors. In a
    pass, each batch of test images has one permutation.
    """
    config, model, rows = design.config, design.model(), jnp.arange(len(index))

    def draw_of(key: jax.Array, batch: jax.Array) -> jax.Array:
        key = jax.random.fold_in(key, batch)
        count = model.num_permutable
        return draw_permutation(key, config, index, count, seed=seed, per="batch")

    def run_pass(number: jax.Array) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(seed ^ _REFERENCE_KEY), number)
        cell = ops.draw_cells(key, index, kept.shape[1])
        if config.model.head == "gapnet":
            return jnp.stack([cell, kept[rows, cell]], axis=-1)
        permutation = jax.vmap(draw_of, (None, 0))(key, index // REFERENCE_BATCH)
        pooled = {"gap": latent[rows, cell]}
        answer: Any = model.apply(variables, pooled, permutation=permutation, method="classify")
        return jnp.stack([cell, answer.argmax(-1)], axis=-1)

    return jax.vmap(run_pass, out_axes=1)(jnp.arange(kept.shape[1]))


def make_evaluate(setup: Setup) -> Callable[[Any], Predictions]:
    """Put the test images on the devices; returns `variables -> predictions` in every cell."""
    config, split = setup.config, held_out.draw(setup, setup.config.eval.num_images).load()
    cells = config.n * config.n
    data = parallel.replicate(setup.data_of(split))
    per_device = min(max(1, config.eval.batch_size // cells), len(split))
    batches = resident.padded_batches(len(split), per_device * jax.local_device_count())
    run = shared(parallel.map_batch, make_evaluate_batch, setup.design)
    labels = np.arange(cells) if config.task == "location" else split.labels[:, None]

    def evaluate(variables: Any) -> Predictions:
        variables = parallel.replicate(variables)
        parts: dict[str, list[np.ndarray]] = {"kept": [], "permuted": [], "reference": []}
        sums = dict.fromkeys(("latent_sum", "latent_square_sum"), np.zeros((), np.float64))
        for batch in track(batches, "evaluating"):
            outputs = jax.device_get(run(variables, data, parallel.shard(batch)))
            for name in sums:
                # [devices, cells, C]: each device summed its own share.
                sums[name] = sums[name] + outputs.pop(name).astype(np.float64).sum(axis=0)
            for name, value in parallel.unshard(outputs).items():
                parts[name].append(value[batch["mask"]].astype(np.int16))
        check_finite(sums)
        permuted, reference = (
            np.concatenate(parts[name]) if parts[name] else None
            for name in ("permuted", "reference")
        )
        return Predictions(
            labels=np.broadcast_to(labels, (len(split), cells)),
            kept=np.concatenate(parts["kept"]),
            permuted=permuted,
            latent_sum=sums["latent_sum"],
            latent_square_sum=sums["latent_square_sum"],
            reference=reference,
        )

    return evaluate
