"""Every mask in one pass: the encoder runs once per image, what follows it once per mask."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax.experiments.channels.images import Images
from gpool_jax.experiments.channels.plan import Plan
from gpool_jax.experiments.channels.subject import Subject, encode
from gpool_jax.train import parallel


@dataclasses.dataclass(frozen=True)
class Swept:
    """What a sweep counted.

    Attributes:
      counts: name to int [M, N, R', ...]: each mask, image and measured region.
      seconds: of the sweep, without the compilation.
      plain_seconds: of one evaluation of the same images with nothing removed.
      num_images: N.
    """

    counts: dict[str, np.ndarray]
    seconds: float
    plain_seconds: float
    num_images: int


def sweep(
    subject: Subject,
    variables: Any,
    images: Images,
    plan: Plan,
    activation: tuple[np.ndarray, np.ndarray],
    *,
    masks_per_pass: int,
) -> Swept:
    """Measure every mask of a plan on every image.

    Args:
      subject: the network.
      variables: its weights.
      images: to measure on.
      plan: whose masks.
      activation: mean [C], which removed channels may be put to, and variance.
      masks_per_pass: masks that are held in memory at once.
    """
    encoder, head, plain = _programs(subject)
    chunks = _chunks(plan, activation[0], masks_per_pass)
    variables = parallel.replicate(variables)
    total, plain_total, parts = 0.0, 0.0, []
    for number, (inputs, mask) in enumerate(images.batches(f"{len(plan.keep)} sets")):
        inputs = parallel.shard(inputs)
        if number == 0:  # compile outside the clock
            jax.block_until_ready(plain(variables, {}, inputs))
            jax.block_until_ready(
                head(variables, chunks[0], _join(encoder(variables, {}, inputs), inputs))
            )
        started = time.perf_counter()
        jax.block_until_ready(plain(variables, {}, inputs))
        plain_total += time.perf_counter() - started
        started = time.perf_counter()
        joined = _join(encoder(variables, {}, inputs), inputs)
        found = [parallel.unshard(head(variables, chunk, joined)) for chunk in chunks]
        total += time.perf_counter() - started
        parts.append(_stack(found, mask, len(plan.keep)))
    counts = {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}
    return Swept(counts, total, plain_total, len(images))


def _programs(subject: Subject) -> tuple[Callable, Callable, Callable]:
    """The device programs of a sweep: encoder, what follows it, and both without a mask."""

    def run_encoder(variables: Any, _data: Any, inputs: dict) -> dict[str, jax.Array]:
        features = encode(subject, variables, subject.stimulus(inputs["images"]))
        return {name: features[name] for name in subject.needed()}

    def encoder(variables: Any, data: Any, inputs: dict) -> dict[str, jax.Array]:
        # One row for each image, so that batches are cut over devices by image.
        features = run_encoder(variables, data, inputs)
        return {k: v.reshape(-1, subject.views, *v.shape[1:]) for k, v in features.items()}

    def head(variables: Any, chunk: dict, inputs: dict) -> dict[str, jax.Array]:
        features = {k: v.reshape(-1, *v.shape[2:]) for k, v in inputs["features"].items()}

        def one(keep: jax.Array, fill: jax.Array) -> dict[str, jax.Array]:
            return subject.count(variables, features, inputs, keep, fill)

        # Masks second: images come first, as everywhere.
        return jax.vmap(one, out_axes=1)(chunk["keep"], chunk["fill"])

    def plain(variables: Any, data: Any, inputs: dict) -> dict[str, jax.Array]:
        features = run_encoder(variables, data, inputs)
        channels = features[subject.feature].shape[-1]
        keep, fill = jnp.ones(channels, bool), jnp.zeros(channels)
        return subject.count(variables, features, inputs, keep, fill)

    return parallel.map_batch(encoder), parallel.map_batch(head), parallel.map_batch(plain)


def _join(features: dict, inputs: dict) -> dict:
    return {"features": features, "labels": inputs["labels"]}


def _chunks(plan: Plan, mean: np.ndarray, masks_per_pass: int) -> list[dict]:
    """Masks and fills on the devices, in chunks of one size (the last filled up)."""
    fill = np.where(plan.use_mean[:, None], mean[None], 0.0).astype(np.float32)
    size = min(masks_per_pass, len(plan.keep))
    chunks = []
    for start in range(0, len(plan.keep), size):
        rows = np.minimum(np.arange(start, start + size), len(plan.keep) - 1)
        chunks.append(parallel.replicate({"keep": plan.keep[rows], "fill": fill[rows]}))
    return chunks


def _stack(found: list[dict], mask: np.ndarray, num_masks: int) -> dict[str, np.ndarray]:
    """Chunks of [B, m, ...] to [M, images, ...], without what filled up batch and chunk."""
    return {
        name: np.concatenate([part[name] for part in found], axis=1)[mask, :num_masks].swapaxes(
            0, 1
        )
        for name in found[0]
    }
