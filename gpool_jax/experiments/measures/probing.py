"""Probes of a frozen network: what its pooled vector carries, with and without its order."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax import ops
from gpool_jax.data import resident
from gpool_jax.data.split import ArraySplit
from gpool_jax.errors import InputError
from gpool_jax.experiments.measures import held_out
from gpool_jax.experiments.measures.lines import summarise
from gpool_jax.experiments.programs import shared
from gpool_jax.experiments.training import Design, Setup
from gpool_jax.ops import probe
from gpool_jax.report.result import INPUTS, Probe
from gpool_jax.train import parallel

# Seeds of untrained networks begin here, beyond those of trainings.
_UNTRAINED_SEEDS = 1000


def make_pool_batch(design: Design, stages: tuple[str, ...]) -> Callable:
    """The device program: `(variables, data, inputs) -> {stage: [B, cells, C]}`."""
    n, model = design.config.n, design.model()

    def pool_batch(variables: Any, data: dict, inputs: dict) -> dict[str, jax.Array]:
        batch = resident.fetch(data["resident"], inputs)
        images = ops.normalise(batch["images"], data["mean"], data["std"])
        canvases = ops.place_everywhere(images, n)
        canvases = canvases.reshape(-1, *canvases.shape[2:])
        _, features = model.apply(variables, canvases)
        pooled = {}
        for stage in stages:
            value = features[stage]
            value = value if value.ndim == 2 else ops.global_average_pool(value)
            pooled[stage] = value.reshape(len(images), n**2, -1)
        return pooled

    return pool_batch


def resolve_stages(setup: Setup) -> tuple[str, ...]:
    """List the stages to probe, "all" spelt out; an `InputError` for an unknown name."""
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
    """Raise for probe options that do not fit the network or the data, before any work."""
    if not setup.config.probe.enabled:
        return
    resolve_stages(setup)
    count = min(setup.config.probe.num_images, len(setup.dataset.test))
    if count < setup.config.probe.folds:
        raise InputError(
            f"`probe.folds` must be at most the {count} probed images; "
            f"got {setup.config.probe.folds}."
        )


def measure_probes(
    setup: Setup, variables: Any, network: str, *, batch_size: int, bootstrap: int
) -> tuple[list[Probe], dict[str, np.ndarray]]:
    """Fit every probe on every input, stage and target; `batch_size` canvases per device and pass.

    Untrained networks of the same architecture are probed the same way: no number on position
    stands without them.

    Returns:
      Each probe's line, the network's first, and accuracies [S, N] of each seed and image under
      `probe0`, `probe1`, ...; probe "selected" is whichever kind did best on each fold's
      selection fold.
    """
    split = held_out.draw(setup, setup.config.probe.num_images).load()
    found = {network: [_score_all(setup, variables, split, batch_size)]}
    first = setup.config.seed + _UNTRAINED_SEEDS
    twins = [
        _score_all(setup, setup.untrained(seed), split, batch_size)
        for seed in range(first, first + setup.config.probe.untrained)
    ]
    if twins:
        found[f"untrained {network}"] = twins
    probes: list[Probe] = []
    per_image = {}
    for name, seeds in found.items():
        for key, (_, num_classes) in seeds[0].items():
            scores = np.concatenate([each[key][0] for each in seeds])
            per_image[f"probe{len(probes)}"] = scores
            cells = setup.config.n**2
            numbers = summarise(scores, predictions_per_image=cells, bootstrap=bootstrap)
            probes.append(Probe(name, *key, chance=1.0 / num_classes, **numbers))
    return probes, per_image


def _score_all(
    setup: Setup, variables: Any, split: ArraySplit, batch_size: int
) -> dict[tuple[str, str, str, str], tuple[np.ndarray, int]]:
    """Accuracies [1, N] of every probe, by (stage, input, kind, target), and its classes."""
    config, cells = setup.config.probe, setup.config.n**2
    stages = resolve_stages(setup)
    pooled = _pool(setup, variables, split, stages, batch_size)
    fold = np.repeat(image_folds(split.labels, config.folds), cells)
    key = jax.random.key(held_out.SEED)
    targets = _targets(setup, split)
    found = {}
    for stage in stages:
        latent = jnp.asarray(pooled[stage].reshape(len(fold), -1))
        permutations = ops.draw_permutations(key, jnp.arange(len(fold)), latent.shape[1])
        permuted = ops.permute_channels(latent, permutations)
        inputs = dict(zip(INPUTS, (latent, permuted, probe.sorted_latent(latent)), strict=True))
        for name, target in itertools.product(inputs, targets):
            labels, num_classes = targets[target]
            fitted = fit_kinds(key, inputs[name], labels, fold, num_classes, kinds=config.kinds)
            for kind, correct in fitted.items():
                scores = correct.reshape(1, len(split), -1).mean(axis=2)
                found[stage, name, kind, target] = scores, num_classes
    return found


def fit_kinds(
    key: jax.Array,
    x: jax.Array,
    labels: np.ndarray,
    fold: np.ndarray,
    num_classes: int,
    *,
    kinds: tuple[str, ...],
    sort: bool = False,
) -> dict[str, np.ndarray]:
    """Held-out correctness [rows] of each kind of probe, and of the selected one.

    Args:
      key: PRNG key.
      x: [rows, C].
      labels: int [rows].
      fold: int [rows]; all folds occur.
      num_classes: labels are in [0, num_classes).
      kinds: kinds of probe, see `probe.cross_validate`.
      sort: sort each row, its channels standardised by the rows that a probe is fitted on.

    Returns:
      Kind to correctness; "selected" is whichever kind did best on each fold's selection fold.
    """
    correct, picked = {}, []
    for kind in kinds:
        held_out, on_picking = probe.cross_validate(
            key,
            x,
            jnp.asarray(labels),
            jnp.asarray(fold),
            kind=kind,
            num_classes=num_classes,
            num_folds=int(fold.max()) + 1,
            sort=sort,
        )
        correct[kind] = np.asarray(held_out)
        picked.append(np.asarray(on_picking))
    best = np.argmax(picked, axis=0)[fold]
    correct["selected"] = np.stack(list(correct.values()))[best, np.arange(len(fold))]
    return correct


def image_folds(labels: np.ndarray, num_folds: int) -> np.ndarray:
    """Assign a fold to each image, every class spread over all folds: int32 [N]."""
    order = np.lexsort((np.random.default_rng(held_out.SEED).random(len(labels)), labels))
    fold = np.empty(len(labels), np.int32)
    fold[order] = np.arange(len(labels)) % num_folds
    return fold


def _targets(setup: Setup, split: ArraySplit) -> dict[str, tuple[np.ndarray, int]]:
    """Return the targets of the probes: name to (labels [rows], number of classes)."""
    n = setup.config.n
    cell = np.tile(np.arange(n * n), len(split))
    return {
        "cell": (cell, n * n),
        "row": (cell // n, n),
        "column": (cell % n, n),
        "class": (np.repeat(split.labels, n * n), setup.dataset.num_classes),
    }


def _pool(
    setup: Setup, variables: Any, split: ArraySplit, stages: tuple[str, ...], batch_size: int
) -> dict[str, np.ndarray]:
    """Compute pooled features [N, cells, C] of every stage."""
    data = parallel.replicate(setup.data_of(split))
    variables = parallel.replicate(variables)
    per_device = max(1, batch_size // setup.config.n**2)
    run = shared(parallel.map_batch, make_pool_batch, setup.design, stages)
    parts: dict[str, list[np.ndarray]] = {stage: [] for stage in stages}
    rows = per_device * jax.local_device_count()
    for batch in resident.padded_batches(len(split), rows):
        outputs = parallel.unshard(run(variables, data, parallel.shard({"index": batch["index"]})))
        for stage, value in outputs.items():
            parts[stage].append(value[batch["mask"]])
    return {stage: np.concatenate(values) for stage, values in parts.items()}
