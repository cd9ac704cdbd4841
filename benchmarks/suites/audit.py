"""An audit, beside a script that asks the same questions one by one, probes by scikit-learn."""

import dataclasses
import functools
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import Case, Contender
from gpool_jax import models, ops
from gpool_jax.config import AuditConfig
from gpool_jax.data.images import collection
from gpool_jax.experiments.audit import audit as auditing
from gpool_jax.experiments.audit import latents as stimuli
from gpool_jax.networks import Network, Preprocess, from_model
from gpool_jax.ops.probe import STRENGTHS

# Network, width, side of its input, images.
_SIZES = (("resnet18", 0.25, 64, 50), ("resnet18", 1.0, 96, 50))
_CONFIG = AuditConfig(twins=0, stages="pooled", shifts_per_distance=2, max_shift=4)


def cases(quick: bool) -> list[Case]:
    """Networks and numbers of images."""
    return [_case(*size) for size in ((("vgg5", 0.125, 16, 15),) if quick else _SIZES)]


def _case(name: str, width: float, side: int, count: int) -> Case:
    @functools.cache
    def given() -> tuple[Network, Any]:
        model = models.create(name, head="linear", num_outputs=10, width=width)
        variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, side, side, 3)))
        network = from_model(
            model, variables, preprocess=Preprocess(size=(side, side)), name=f"{name} x {width:g}"
        )
        pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
        return dataclasses.replace(network, untrained=None), collection.load(pixels, None, seed=0)

    def build(run: Callable) -> Callable[[], Any]:
        network, images = given()
        return lambda: run(network, images)

    return Case(
        suite="audit",
        name=f"{name} x {width:g}, {count} images {side}x{side}, 3 x 3 cells",
        contenders=(
            Contender("ours", lambda: build(_ours), alone=False),
            Contender("script", lambda: build(functools.partial(_plain, again=True)), alone=False),
            Contender(
                "script, network once",
                lambda: build(functools.partial(_plain, again=False)),
                alone=False,
            ),
        ),
        images=stimuli.num_inputs(_CONFIG, count),
    )


def _ours(network: Network, images: Any) -> float:
    found = auditing.audit([network], images, _CONFIG).networks[0]
    line = found.line("position", "cell", "ordered")
    assert line is not None
    return line.value


def _plain(network: Network, images: Any, *, again: bool) -> float:
    """The same questions, as a script asks them one after the other; the cell's accuracy.

    `again`: the network runs for every question, on the stimuli that this one needs; or once.
    """
    cells, draws = _CONFIG.n**2, _CONFIG.draws
    rows = np.arange(len(images))

    def pool(inputs: Any) -> np.ndarray:
        return np.asarray(network.pool(network.encode(inputs)[network.feature]))

    def plain(some: np.ndarray) -> jax.Array:
        return stimuli.read(network, images, some, network.preprocess.size)

    def look_at_cells() -> np.ndarray:
        parts = []
        for start in range(0, len(images), 4):
            canvases = stimuli.stimuli(_CONFIG, network, images, rows[start : start + 4])
            parts.append(pool(canvases.reshape(-1, *canvases.shape[2:])).reshape(-1, cells, width))
        return np.concatenate(parts)

    width = jax.eval_shape(network.pool, network.encode(plain(rows[:2]))[network.feature]).shape[-1]
    look = look_at_cells if again else functools.cache(look_at_cells)
    cell = np.tile(np.arange(cells), len(images))
    targets = (cell, cell // _CONFIG.n, cell % _CONFIG.n)
    found = [
        _probe(order(look()), target) for target in targets for order in (_keep, _permute, _sort)
    ]
    _probe(look(), np.random.default_rng(0).permuted(cell))  # shuffled labels
    _probe(np.sort(look(), axis=2), cell)  # raw scale
    _probe(_sort(np.random.default_rng(0).permuted(look(), axis=1)), cell)  # a random code
    for order in (_keep, _permute, _sort):
        np.asarray(ops.content_matches(jnp.asarray(order(look()))))
    spread = look().mean(axis=0).std(axis=0)
    rng = np.random.default_rng(0)
    sets = [np.argsort(-spread), *(rng.permutation(width) for _ in range(2 * draws))]
    for order in sets:  # the channels that carry position, random and matched ones
        for _ in ("zero", "mean") if again else ():
            pool(plain(rows))
        _probe(look()[:, :, order[width // 4 :]], cell, kinds=("ridge",))
    for _ in _CONFIG.protocols:
        for _ in stimuli.distances(_CONFIG):
            for _ in range(_CONFIG.shifts_per_distance):
                pool(plain(rows))
    return found[0]


def _keep(latent: np.ndarray) -> np.ndarray:
    return latent


def _permute(latent: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).permuted(latent, axis=2)


def _sort(latent: np.ndarray) -> np.ndarray:
    return np.sort((latent - latent.mean((0, 1))) / (latent.std((0, 1)) + 1e-12), axis=2)


def _probe(
    latent: np.ndarray, target: np.ndarray, kinds: tuple[str, ...] = ("ridge", "logistic")
) -> float:
    """Held-out accuracy of the kind that does best, by scikit-learn: every fold and penalty."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, RidgeClassifier
    from sklearn.preprocessing import StandardScaler

    x = latent.reshape(-1, latent.shape[2])
    fold = np.repeat(np.arange(len(latent)) % _CONFIG.folds, latent.shape[1])
    right = 0
    for held_out in range(_CONFIG.folds):
        picking = fold == (held_out + 1) % _CONFIG.folds
        fitting = (fold != held_out) & ~picking
        scale = StandardScaler().fit(x[fitting])
        rows, best = scale.transform(x), (-1.0, 0)
        for kind in kinds:
            for strength in STRENGTHS:
                count = fitting.sum()
                model = (
                    RidgeClassifier(alpha=strength * count)
                    if kind == "ridge"
                    else LogisticRegression(C=1 / (strength * count), max_iter=40)
                )
                with warnings.catch_warnings():
                    # As many steps as ours, which the flattest penalties would exceed.
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    model.fit(rows[fitting], target[fitting])
                hits = model.predict(rows) == target
                best = max(best, (hits[picking].mean(), hits[fold == held_out].sum()))
        right += best[1]
    return right / len(target)
