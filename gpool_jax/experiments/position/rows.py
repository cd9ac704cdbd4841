"""From the predictions of an exhaustive evaluation to the rows and maps of a result."""

import numpy as np

from gpool_jax import ops
from gpool_jax.config import PositionConfig
from gpool_jax.experiments.measures.lines import make_row
from gpool_jax.experiments.position.exhaustive import REFERENCE_BATCH, Predictions
from gpool_jax.experiments.position.training import is_permuted, network_name
from gpool_jax.experiments.training import Setup
from gpool_jax.report import Row
from gpool_jax.report.result import Maps

_NUM_TUNING_MAPS = 16
_REFERENCE = "tested as the reference"


def group_size(arm: str) -> int:
    """Images in a row whose predictions of an arm are not independent: they share permutations."""
    return REFERENCE_BATCH if _REFERENCE in arm else 1


def arms(config: PositionConfig, predictions: Predictions) -> dict[str, tuple[np.ndarray, int]]:
    """Each way to test one network, the headline first: accuracies [N], predictions per image."""
    name = network_name(config)
    cells = predictions.kept.shape[1]
    kept = ((predictions.kept == predictions.labels).mean(axis=1), cells)
    reference = {}
    if predictions.reference is not None:
        cell, answer = np.moveaxis(predictions.reference, -1, 0)
        labels = np.take_along_axis(predictions.labels, cell, axis=1)
        reference[f"{name}, {_REFERENCE}"] = (answer == labels).mean(axis=1), cells
    if predictions.permuted is None:
        return {name: kept} | reference
    right = predictions.permuted == predictions.labels[:, :, None]
    permuted = (right.mean(axis=(1, 2)), cells * right.shape[2])
    if is_permuted(config):
        return {name: permuted, f"{name}, order kept at test": kept} | reference
    return {name: kept, f"{name}, permuted at test": permuted}


def _halves(setup: Setup, predictions: Predictions) -> dict[str, tuple[np.ndarray, int]]:
    """The headline in the cells that training bound each image's class to, and in the others."""
    name = network_name(setup.config)
    given = predictions.kept[:, :, None]
    if is_permuted(setup.config) and predictions.permuted is not None:
        given = predictions.permuted
    right = (given == predictions.labels[:, :, None]).mean(axis=2)
    own = np.asarray(ops.bound_cells(setup.num_outputs, setup.config.n))[predictions.labels[:, 0]]
    other = np.ones(right.shape, bool)
    np.put_along_axis(other, own, False, axis=1)
    return {
        f"{name}, {where}": (
            (right * cells).sum(axis=1) / cells.sum(axis=1),
            int(cells[0].sum()) * given.shape[2],
        )
        for where, cells in (("in its class's cells", ~other), ("in other cells", other))
    }


def make_rows(
    setup: Setup, predictions: Predictions, checkpoint: str, step: int
) -> list[tuple[Row, np.ndarray]]:
    """Rows of one network at one checkpoint, each with its per-image scores [1, N]."""
    rows = []
    found = arms(setup.config, predictions)
    if setup.config.cells == "bound":
        found |= _halves(setup, predictions)
    for arm, (per_image, predictions_per_image) in found.items():
        row = make_row(
            per_image[None],
            arm=arm,
            task=setup.config.task,
            checkpoint=checkpoint,
            steps=[step],
            chance=1.0 / setup.num_outputs,
            predictions_per_image=predictions_per_image,
            bootstrap=setup.config.eval.bootstrap,
            group_size=group_size(arm),
        )
        rows.append((row, per_image[None]))
    return rows


def make_maps(setup: Setup, predictions: Predictions) -> Maps:
    """Per-cell accuracy, confusion and channel tuning of one network."""
    config = setup.config
    given = predictions.kept[:, :, None]
    if is_permuted(config) and predictions.permuted is not None:
        given = predictions.permuted
    right = np.equal(given, predictions.labels[:, :, None])
    n = config.n
    confusion = np.zeros((setup.num_outputs, setup.num_outputs))
    truth = np.broadcast_to(predictions.labels[:, :, None], given.shape)
    np.add.at(confusion, (truth.ravel(), given.ravel()), 1)
    count = len(predictions.kept)
    selectivity = ops.position_selectivity(
        predictions.latent_sum, predictions.latent_square_sum, count
    )
    top = np.argsort(-selectivity, kind="stable")[:_NUM_TUNING_MAPS]
    name = f"{network_name(config)}, {config.task}"
    return {
        "per_cell_of": name,
        "per_cell": right.mean(axis=(0, 2)).reshape(n, n).tolist(),
        "confusion_of": name,
        "confusion": (confusion / np.maximum(confusion.sum(1, keepdims=True), 1)).tolist(),
        "tuning_channels": top.tolist(),
        "tuning_selectivity": selectivity[top].tolist(),
        "tuning": (predictions.latent_sum[:, top].T / count).reshape(-1, n, n).tolist(),
        "selectivity": selectivity.tolist(),
    }
