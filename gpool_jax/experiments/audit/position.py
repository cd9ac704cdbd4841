"""How much position and content a pooled vector carries, and how much needs channel order."""

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax import ops
from gpool_jax.config import AuditConfig
from gpool_jax.experiments.audit.scores import Score
from gpool_jax.ops import probe

ORDERS = ("ordered", "permuted", "sorted")
_KEY = 0xA0D1


def image_folds(num_images: int, num_folds: int) -> np.ndarray:
    """Assign a fold to each image, at random: int32 [N]."""
    fold = np.arange(num_images, dtype=np.int32) % num_folds
    return np.random.default_rng(0).permutation(fold)


def cell_hits(
    latent: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    *,
    config: AuditConfig,
    kinds: tuple[str, ...] = ("ridge", "logistic"),
    keep: np.ndarray | None = None,
    sort: bool = False,
) -> np.ndarray:
    """Held-out correctness [N] of the probe that does best on other images, mean over cells.

    Args:
      latent: [N, M, C].
      labels: int [N, M].
      num_classes: labels are in [0, num_classes).
      config: says the folds.
      kinds: of probes to select from.
      keep: bool [C], channels that the probe is given; None: all.
      sort: whether rows are standardised and sorted within each fit.
    """
    num_images, num_cells, channels = latent.shape
    fold = np.repeat(image_folds(num_images, config.folds), num_cells)
    rows = jnp.asarray(latent.reshape(-1, channels))
    correct, picked = [], []
    for kind in kinds:
        hits, on_picking = probe.cross_validate(
            jax.random.key(_KEY),
            rows,
            jnp.asarray(labels.reshape(-1)),
            jnp.asarray(fold),
            kind=kind,
            num_classes=num_classes,
            num_folds=config.folds,
            sort=sort,
            keep=None if keep is None else jnp.asarray(keep),
        )
        correct.append(np.asarray(hits))
        picked.append(np.asarray(on_picking))
    best = np.argmax(picked, axis=0)[fold]
    chosen = np.stack(correct)[best, np.arange(len(fold))]
    return chosen.reshape(num_images, num_cells).mean(axis=1)


def measure(
    config: AuditConfig, latent: np.ndarray, stage: str, labels: np.ndarray | None, *, pooled: bool
) -> list[Score]:
    """Read cell, row, column, image and class from latents [N, M, C] of one stage.

    Channels are standardised before they are sorted, as the next layer could undo any scale; the
    raw sorted vector stands beside. A stage that is not `pooled` is asked for the cell alone.
    """
    num_images, cells, _ = latent.shape
    cell = np.tile(np.arange(cells), (num_images, 1))
    x = np.asarray(ops.standardise(jnp.asarray(latent)))
    orders = dict(
        zip(ORDERS, ops.input_orders(jax.random.key(config.seed), jnp.asarray(x)), strict=True)
    )
    targets = {"cell": (cell, cells)}
    if pooled:
        targets |= {"row": (cell // config.n, config.n), "column": (cell % config.n, config.n)}
        if labels is not None:
            classes = int(labels.max()) + 1
            targets["class"] = np.repeat(labels[:, None], cells, axis=1), classes
    scores = []
    for name, (values, count) in targets.items():
        question = "class" if name == "class" else "position"
        for order, given in orders.items():
            hits = cell_hits(np.asarray(given), values, count, config=config)
            scores.append(Score(question, name, order, stage, hits, 1.0 / count))
    if not pooled:
        return scores
    for order, given in orders.items():
        hits = np.asarray(ops.content_matches(given)).mean(axis=1)
        scores.append(Score("content", "image", order, stage, hits, 1.0 / num_images))
    return scores + _controls(config, latent, stage, cell)


def _controls(config: AuditConfig, latent: np.ndarray, stage: str, cell: np.ndarray) -> list[Score]:
    """The raw sorted vector, the random code, shuffled labels, and the bits of a probe."""
    cells = cell.shape[1]
    raw = np.asarray(ops.sorted_latent(jnp.asarray(latent)))
    key = jax.random.key(config.seed ^ _KEY)
    code = np.asarray(ops.random_code(key, jnp.asarray(latent)).latent)
    shuffled = np.random.default_rng(config.seed).permuted(cell, axis=1)
    given = {
        "sorted, raw scale": (raw, cell),
        "sorted, random code": (
            np.asarray(ops.sorted_latent(ops.standardise(jnp.asarray(code)))),
            cell,
        ),
        "ordered, labels shuffled": (latent, shuffled),
    }
    scores = [
        Score("position", "cell", name, stage, cell_hits(x, y, cells, config=config), 1.0 / cells)
        for name, (x, y) in given.items()
    ]
    fold = np.repeat(image_folds(len(latent), config.folds), cells)
    logits, _ = probe.held_out_logits(
        jax.random.key(_KEY),
        jnp.asarray(latent.reshape(-1, latent.shape[-1])),
        jnp.asarray(cell.reshape(-1)),
        jnp.asarray(fold),
        kind="logistic",
        num_classes=cells,
        num_folds=config.folds,
        picked_by="likelihood",
    )
    bits = np.asarray(ops.row_bits(logits, jnp.asarray(cell.reshape(-1)))).reshape(cell.shape)
    scores.append(Score("position", "cell", "bits", stage, bits.mean(axis=1), 0.0, "bits"))
    return scores
