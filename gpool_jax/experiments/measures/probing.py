"""Probes of a frozen network: what its pooled vector carries, with and without its order."""

import functools
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
from gpool_jax.experiments.training import Setup
from gpool_jax.ops import probe
from gpool_jax.report.result import CONTROLS, INPUTS, Probe
from gpool_jax.train import parallel
from gpool_jax.train.events import track

# Seeds of untrained networks begin here, beyond those of trainings.
_UNTRAINED_SEEDS = 1000

# Accuracies [1, N] of each probe, and its classes, by (stage, input, kind, target).
Scores = dict[tuple[str, str, str, str], tuple[np.ndarray, int]]
# Those of the last untrained networks, by everything that they depend on: heads and tasks of one
# seed share theirs, and each is probed once.
_untrained: dict[tuple, Scores] = {}
_MOST_UNTRAINED = 16


def make_pool_batch(backbone: Any, n: int, stages: tuple[str, ...]) -> Callable:
    """The device program: `(variables, data, inputs) -> {stage: [B, n * n, C]}`."""

    def pool_batch(variables: Any, data: dict, inputs: dict) -> dict[str, jax.Array]:
        batch = resident.fetch(data["resident"], inputs)
        images = ops.normalise(batch["images"], data["mean"], data["std"])
        canvases = ops.place_everywhere(images, n)
        maps = backbone.apply(variables, canvases.reshape(-1, *canvases.shape[2:]))
        maps = maps | {"gap": maps["pre_gap"]}
        return {
            stage: ops.global_average_pool(maps[stage]).reshape(len(images), n**2, -1)
            for stage in stages
        }

    return pool_batch


def resolve_stages(setup: Setup) -> tuple[str, ...]:
    """List the stages to probe, "all" spelt out; an `InputError` for an unknown name."""
    known = _list_stages(setup.model.backbone, setup.input_shape[1:])
    if "all" in setup.config.probe.stages:
        return known
    for stage in setup.config.probe.stages:
        if stage not in known:
            raise InputError(
                f"`probe.stages` must be among {', '.join(known)}, all; got {stage!r}."
            )
    return setup.config.probe.stages


@functools.cache
def _list_stages(backbone: Any, shape: tuple[int, ...]) -> tuple[str, ...]:
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    maps, _ = jax.eval_shape(backbone.init_with_output, jax.random.key(0), x)
    # JAX sorts the names; `gap` is the pooled `pre_gap`.
    stem = ("stem",) if "stem" in maps else ()
    return (*stem, *sorted(name for name in maps if name.startswith("stage")), "gap")


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
        _score_untrained(setup, seed, split, batch_size)
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


def _score_all(setup: Setup, variables: Any, split: ArraySplit, batch_size: int) -> Scores:
    """Read every target from every stage and input by every kind of probe."""
    pooled = _pool(setup, variables, split, resolve_stages(setup), batch_size)
    fold = np.repeat(image_folds(split.labels, setup.config.probe.folds), setup.config.n**2)
    return _fit_all(pooled, _targets(setup, split), fold, setup.config.probe.kinds)


def forget_untrained() -> None:
    """Forget the scores of untrained networks, so that they are measured again."""
    _untrained.clear()


def _score_untrained(setup: Setup, seed: int, split: ArraySplit, batch_size: int) -> Scores:
    """The scores of an untrained network, whose encoder does not depend on the head."""
    config, dataset = setup.config, setup.dataset
    data = split.checksum, tuple(dataset.mean), tuple(dataset.std), dataset.num_classes
    key = seed, setup.model.backbone, setup.input_shape, config.n, config.probe, data
    if key not in _untrained:
        while len(_untrained) >= _MOST_UNTRAINED:
            del _untrained[next(iter(_untrained))]
        _untrained[key] = _score_all(setup, setup.untrained(seed), split, batch_size)
    return _untrained[key]


def _fit_all(
    pooled: dict[str, np.ndarray],
    targets: dict[str, tuple[np.ndarray, int]],
    fold: np.ndarray,
    kinds: tuple[str, ...],
) -> Scores:
    """Fit the probes to vectors [N, cells, C] of each stage; `fold` is that of each row."""
    key = jax.random.key(held_out.SEED)
    found = {}
    for stage, vectors in track(list(pooled.items()), "fitting probes", unit="stage"):
        latent = jnp.asarray(vectors.reshape(len(fold), -1))
        permutations = ops.draw_permutations(key, jnp.arange(len(fold)), latent.shape[1])
        permuted = ops.permute_channels(latent, permutations)
        # Of a sorted vector, the probe standardises channels by the rows that it is fitted on.
        inputs = dict(zip(INPUTS, (latent, permuted, latent), strict=True))
        asked = [(*pair, targets[pair[1]]) for pair in itertools.product(inputs, targets)]
        if stage == "gap":
            cell, num_cells = targets["cell"]
            shuffled = np.random.default_rng(held_out.SEED).permuted(
                cell.reshape(vectors.shape[:2]), axis=1
            )
            code = ops.random_code(key, jnp.asarray(vectors)).latent
            inputs |= dict(zip(CONTROLS, (code.reshape(latent.shape), latent), strict=True))
            asked += [
                (CONTROLS[0], "cell", (cell, num_cells)),
                (CONTROLS[1], "cell", (shuffled.reshape(-1), num_cells)),
            ]
        for name, target, (labels, num_classes) in asked:
            sort = name.startswith("sorted")
            fitted = fit_kinds(key, inputs[name], labels, fold, num_classes, kinds=kinds, sort=sort)
            for kind, correct in fitted.items():
                scores = correct.reshape(1, len(vectors), -1).mean(axis=2)
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
    found = probe.cross_validate(
        key,
        x,
        jnp.asarray(labels),
        jnp.asarray(fold),
        kinds=kinds,
        num_classes=num_classes,
        num_folds=int(fold.max()) + 1,
        sort=sort,
    )
    # Of kinds that are as good, the first is selected: not in the order of a jitted dictionary.
    correct = {kind: np.asarray(found[kind][0]) for kind in kinds}
    picked = [np.asarray(found[kind][1]) for kind in kinds]
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
    backbone = {name: tree["backbone"] for name, tree in variables.items() if tree}
    variables = parallel.replicate(backbone)
    per_device = max(1, batch_size // setup.config.n**2)
    run = shared(parallel.map_batch, make_pool_batch, setup.model.backbone, setup.config.n, stages)
    parts: dict[str, list[np.ndarray]] = {stage: [] for stage in stages}
    rows = per_device * jax.local_device_count()
    for batch in track(resident.padded_batches(len(split), rows), "pooling for probes"):
        outputs = parallel.unshard(run(variables, data, parallel.shard({"index": batch["index"]})))
        for stage, value in outputs.items():
            parts[stage].append(value[batch["mask"]])
    return {stage: np.concatenate(values) for stage, values in parts.items()}
