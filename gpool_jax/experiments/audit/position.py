"""How much position and content a pooled vector carries, and how much needs channel order."""

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax import ops
from gpool_jax.config import AuditConfig
from gpool_jax.experiments.audit.scores import Score
from gpool_jax.experiments.measures import probing
from gpool_jax.ops import probe

ORDERS = ("ordered", "permuted", "sorted")
_KEY = 0xA0D1


def cell_hits(
    latent: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    *,
    folds: int,
    kinds: tuple[str, ...] = ("ridge", "logistic"),
    sort: bool = False,
) -> np.ndarray:
    """Held-out correctness [N] of the probe that does best on other images, mean over cells.

    Args:
      latent: [N, M, C].
      labels: int [N, M].
      num_classes: labels are in [0, num_classes).
      folds: folds of images.
      kinds: kinds of probe to select from.
      sort: see `probing.fit_kinds`.
    """
    x, fold = _rows(latent, folds)
    fitted = probing.fit_kinds(
        jax.random.key(_KEY), x, labels.reshape(-1), fold, num_classes, kinds=kinds, sort=sort
    )
    return fitted["selected"].reshape(labels.shape).mean(axis=1)


def _rows(latent: np.ndarray, folds: int) -> tuple[jax.Array, np.ndarray]:
    """Latents [N, M, C] as rows [N * M, C], and the fold of each: that of its image."""
    num_images, cells, channels = latent.shape
    fold = probing.image_folds(np.zeros(num_images), folds)
    return jnp.asarray(latent.reshape(-1, channels)), np.repeat(fold, cells)


def measure(
    config: AuditConfig, latent: np.ndarray, stage: str, labels: np.ndarray | None, *, pooled: bool
) -> list[Score]:
    """Read cell, row, column, image and class from latents [N, M, C] of one stage.

    Channels are standardised before they are sorted, as the next layer could undo any scale; the
    raw sorted vector stands beside. A stage that is not `pooled` is asked for the cell alone.
    """
    num_images, cells, _ = latent.shape
    cell = np.tile(np.arange(cells), (num_images, 1))
    targets = {"cell": (cell, cells)}
    if pooled:
        targets |= {"row": (cell // config.n, config.n), "column": (cell % config.n, config.n)}
        if labels is not None:
            classes = int(labels.max()) + 1
            targets["class"] = np.repeat(labels[:, None], cells, axis=1), classes
    standardised = ops.standardise(jnp.asarray(latent))
    key = jax.random.key(config.seed)
    orders = dict(zip(ORDERS, ops.input_orders(key, standardised), strict=True))
    # Of a sorted vector, the probe standardises by the rows that it is fitted on.
    given = {"ordered": latent, "permuted": np.asarray(orders["permuted"]), "sorted": latent}
    scores = []
    for name, (values, count) in targets.items():
        question = "class" if name == "class" else "position"
        for order, x in given.items():
            hits = cell_hits(x, values, count, folds=config.folds, sort=order == "sorted")
            scores.append(Score(question, name, order, stage, hits, 1.0 / count))
    if not pooled:
        return scores
    for order, vectors in orders.items():
        hits = np.asarray(ops.content_matches(vectors)).mean(axis=1)
        scores.append(Score("content", "image", order, stage, hits, 1.0 / num_images))
    return scores + _controls(config, latent, stage, cell)


def _controls(config: AuditConfig, latent: np.ndarray, stage: str, cell: np.ndarray) -> list[Score]:
    """The raw sorted vector, the random code, shuffled labels, and the bits of a probe."""
    cells = cell.shape[1]
    key = jax.random.key(config.seed ^ _KEY)
    code = np.asarray(ops.random_code(key, jnp.asarray(latent)).latent)
    raw = np.asarray(ops.sorted_latent(jnp.asarray(latent)))
    shuffled = np.random.default_rng(config.seed).permuted(cell, axis=1)
    scores = []
    for name, x, labels in (
        ("sorted, raw scale", raw, cell),
        ("sorted, random code", code, cell),
        ("ordered, labels shuffled", latent, shuffled),
    ):
        sort = name == "sorted, random code"
        hits = cell_hits(x, labels, cells, folds=config.folds, sort=sort)
        scores.append(Score("position", "cell", name, stage, hits, 1.0 / cells))
    rows, fold = _rows(latent, config.folds)
    found = probe.held_out_logits(
        jax.random.key(_KEY),
        rows,
        jnp.asarray(cell.reshape(-1)),
        jnp.asarray(fold),
        kinds=("logistic",),
        num_classes=cells,
        num_folds=config.folds,
        picked_by="likelihood",
    )
    logits, _ = found["logistic"]
    bits = np.asarray(ops.row_bits(logits, jnp.asarray(cell.reshape(-1)))).reshape(cell.shape)
    scores.append(Score("position", "cell", "bits", stage, bits.mean(axis=1), 0.0, "bits"))
    return scores
