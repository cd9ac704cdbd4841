"""Exact evaluation: every test image in every cell, many permutations, one backbone pass."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax import ops
from gpool_jax.data import resident
from gpool_jax.data.split import ArraySplit
from gpool_jax.experiments.position.training import draw_permutation, place
from gpool_jax.experiments.training import Setup
from gpool_jax.train import parallel

TEST_IMAGES_SEED = 0
# Keeps test permutations apart from everything that training drew.
_TEST_KEY = 0x7E57


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a network answered on every (image, cell), with and without permutation.

    Attributes:
      labels: int [N] or [N, cells], the right answers.
      kept: int [N, cells], answers with the channel order kept.
      permuted: int [N, cells, P], answers through permutations; None for a
        network that has none.
      latent_sum: float64 [cells, C], of the pooled latent over images.
      latent_square_sum: float64 [cells, C].
    """

    labels: np.ndarray
    kept: np.ndarray
    permuted: np.ndarray | None
    latent_sum: np.ndarray
    latent_square_sum: np.ndarray


def test_split(setup: Setup) -> ArraySplit:
    """The test images that the evaluation uses, in memory: all, or a stratified draw.

    The same images for every training seed: intervals pair them.
    """
    return setup.dataset.test.draw(setup.config.eval.num_images, seed=TEST_IMAGES_SEED).load()


def can_permute(setup: Setup) -> bool:
    """Whether the network has a place where channels can be permuted."""
    return setup.config.model.head != "gapnet" or setup.config.model.permute_at != "gap"


def make_evaluate_batch(setup: Setup):
    """The device program: `(variables, data, inputs) -> answers and sums` of its images.

    `inputs` are `index` int [B] and `mask` bool [B]. A permutation of the pooled
    latent costs one more pass of the linear head; one inside the network, one
    more pass of the network.
    """
    config, dataset, model = setup.config, setup.dataset, setup.model
    cells, num_permutations = config.n * config.n, config.eval.permutations

    def evaluate_batch(variables: Any, data: dict, inputs: dict) -> dict[str, Any]:
        index = inputs["index"]
        images = ops.normalise(data["images"][index], dataset.mean, dataset.std)
        every_cell = jnp.tile(jnp.arange(cells), len(images))
        canvases = place(setup, jnp.repeat(images, cells, axis=0), every_cell)
        logits, features = model.apply(variables, canvases)
        latent = features["gap"].reshape(len(index), cells, -1)
        kept_rows = jnp.where(inputs["mask"][:, None, None], latent, 0.0)
        outputs = {
            "kept": logits.argmax(-1).reshape(-1, cells),
            "latent_sum": kept_rows.sum(0),
            "latent_square_sum": (kept_rows**2).sum(0),
        }
        if not can_permute(setup):
            return outputs

        def through(draw: jax.Array) -> jax.Array:
            key = jax.random.fold_in(jax.random.key(config.seed ^ _TEST_KEY), draw)
            permutation = draw_permutation(key, config, index, model.num_permutable, per="example")
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


def make_evaluate(setup: Setup) -> Callable[[Any], Answers]:
    """Compile once, put the test images on the devices once, evaluate any number of times.

    Args:
      setup: from `position.prepare`.

    Returns:
      `variables -> answers`: every test image in every cell.
    """
    config, split = setup.config, test_split(setup)
    cells = config.n * config.n
    data = parallel.replicate(split.resident())
    per_device = min(max(1, config.eval.batch_size // cells), len(split))
    batches = resident.padded_batches(len(split), per_device * jax.local_device_count())
    run = parallel.map_batch(make_evaluate_batch(setup))
    labels = np.arange(cells) if config.task == "location" else split.labels[:, None]

    def evaluate(variables: Any) -> Answers:
        variables = parallel.replicate(variables)
        parts: dict[str, list[np.ndarray]] = {"kept": [], "permuted": []}
        sums = dict.fromkeys(("latent_sum", "latent_square_sum"), np.zeros((), np.float64))
        for batch in batches:
            outputs = jax.device_get(run(variables, data, parallel.shard(batch)))
            for name in sums:
                # [devices, cells, C]: each device summed its own share.
                sums[name] = sums[name] + outputs.pop(name).astype(np.float64).sum(axis=0)
            for name, value in parallel.unshard(outputs).items():
                parts[name].append(value[batch["mask"]].astype(np.int16))
        kept = np.concatenate(parts["kept"])
        return Answers(
            labels=np.broadcast_to(labels, kept.shape),
            kept=kept,
            permuted=np.concatenate(parts["permuted"]) if parts["permuted"] else None,
            latent_sum=sums["latent_sum"],
            latent_square_sum=sums["latent_square_sum"],
        )

    return evaluate
