"""Read-outs of a frozen network: what does its pooled vector carry, order or no order?"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax import ops
from gpool_jax.data import resident, splits
from gpool_jax.errors import InputError
from gpool_jax.experiments.position import Setup
from gpool_jax.ops import probe
from gpool_jax.train import parallel

INPUTS = ("latent", "permuted latent", "sorted latent")


def make_pool_batch(setup: Setup, stages: tuple[str, ...]) -> Callable:
    """The device program: `(variables, data, inputs) -> {stage: [B, cells, C]}`."""
    config, dataset = setup.config, setup.dataset

    def pool_batch(variables: Any, data: dict, inputs: dict) -> dict[str, jax.Array]:
        images = ops.normalise(data["images"][inputs["index"]], dataset.mean, dataset.std)
        canvases = ops.place_everywhere(images, config.n)
        canvases = canvases.reshape(-1, *canvases.shape[2:])
        _, features = setup.model.apply(variables, canvases)
        pooled = {}
        for stage in stages:
            value = features[stage]
            value = value if value.ndim == 2 else ops.global_average_pool(value)
            pooled[stage] = value.reshape(len(images), config.n**2, -1)
        return pooled

    return pool_batch


def resolve_stages(setup: Setup) -> tuple[str, ...]:
    """The stages to probe, "all" spelt out.

    Raises:
      InputError: for a name that the network does not have; its names are listed.
    """
    shape = (1, *setup.input_shape[1:])
    variables = jax.eval_shape(setup.model.init, jax.random.key(0), jnp.zeros(shape))
    _, features = jax.eval_shape(setup.model.apply, variables, jnp.zeros(shape))
    # JAX sorts the names; `gap` is the pooled `pre_gap`.
    known = ("stem", *sorted(name for name in features if name.startswith("stage")), "gap")
    if "all" in setup.config.probe.stages:
        return known
    for stage in setup.config.probe.stages:
        if stage not in known:
            raise InputError(
                f"`probe.stages` must be among {', '.join(known)}, all; got {stage!r}."
            )
    return setup.config.probe.stages


def check(setup: Setup) -> None:
    """Raise for probe options that this network and data cannot serve, before any work."""
    if not setup.config.probe.enabled:
        return
    resolve_stages(setup)
    count = min(setup.config.probe.num_images, len(setup.dataset.test))
    if count < setup.config.probe.folds:
        raise InputError(
            f"`probe.folds` must be at most the {count} probed images; "
            f"got {setup.config.probe.folds}."
        )


def run_probes(setup: Setup, variables: Any) -> list[dict[str, Any]]:
    """Fit every probe on every input, stage and target.

    Args:
      setup: from `position.prepare`.
      variables: of the frozen network.

    Returns:
      One dict per (stage, input, kind, target): `accuracy`, `low`, `high`,
      `chance`, `num_images`, `num_predictions`.
    """
    config = setup.config
    cells = config.n**2
    stages = resolve_stages(setup)
    split = setup.dataset.test
    rows = splits.stratified_rows(split.labels, config.probe.num_images, seed=config.seed)
    split = split.take(rows)
    pooled = _pool(setup, variables, split, stages)
    # Folds of images, every class spread over all of them.
    order = np.lexsort((np.random.default_rng(config.seed).random(len(split)), split.labels))
    fold = np.empty(len(split), np.int32)
    fold[order] = np.arange(len(split)) % config.probe.folds
    fold = np.repeat(fold, cells)
    cell = np.tile(np.arange(cells), len(split))
    targets = {
        "cell": (cell, cells),
        "row": (cell // config.n, config.n),
        "column": (cell % config.n, config.n),
        "class": (np.repeat(split.labels, cells), setup.dataset.num_classes),
    }
    key = jax.random.key(config.seed)
    results = []
    for stage in stages:
        latent = jnp.asarray(pooled[stage].reshape(len(fold), -1))
        permutations = ops.draw_permutations(key, jnp.arange(len(fold)), latent.shape[1])
        inputs = {
            "latent": latent,
            "permuted latent": ops.permute_channels(latent, permutations),
            "sorted latent": probe.sorted_latent(latent),
        }
        for name, kind, target in _cases(config.probe.kinds, targets):
            answers, num_classes = targets[target]
            correct = probe.cross_validate(
                key,
                inputs[name],
                jnp.asarray(answers),
                jnp.asarray(fold),
                kind=kind,
                num_classes=num_classes,
                num_folds=config.probe.folds,
            )
            per_image = np.asarray(correct).reshape(len(split), cells).mean(axis=1)
            low, high = ops.bootstrap_interval(per_image, num_draws=config.eval.bootstrap)
            results.append(
                {
                    "stage": stage,
                    "input": name,
                    "probe": kind,
                    "target": target,
                    "accuracy": float(per_image.mean()),
                    "low": low,
                    "high": high,
                    "chance": 1.0 / num_classes,
                    "num_images": len(split),
                    "num_predictions": len(split) * cells,
                }
            )
    return results


def _cases(kinds: tuple[str, ...], targets: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(name, kind, target) for name in INPUTS for kind in kinds for target in targets]


def _pool(
    setup: Setup, variables: Any, split: splits.Split, stages: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Pooled features [N, cells, C] of every stage."""
    data, variables = resident.put(split), parallel.replicate(variables)
    per_device = max(1, setup.config.eval.batch_size // setup.config.n**2)
    run = parallel.map_batch(make_pool_batch(setup, stages))
    parts: dict[str, list[np.ndarray]] = {stage: [] for stage in stages}
    batch_size = per_device * jax.local_device_count()
    for batch in resident.padded_batches(len(split), batch_size):
        outputs = parallel.unshard(run(variables, data, parallel.shard({"index": batch["index"]})))
        for stage, value in outputs.items():
            parts[stage].append(value[batch["mask"]])
    return {stage: np.concatenate(values) for stage, values in parts.items()}
