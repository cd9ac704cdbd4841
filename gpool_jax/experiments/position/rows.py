"""From answers and probe scores to the rows, probes and maps of a result."""

from typing import Any

import numpy as np

from gpool_jax import ops
from gpool_jax.config import PositionConfig
from gpool_jax.experiments.position import training as position
from gpool_jax.experiments.position.exhaustive import Answers
from gpool_jax.experiments.training import Setup
from gpool_jax.report import Probe, Row
from gpool_jax.report.result import Maps

_NAMES = {"gapnet": "GAPNet", "permutenet": "PermuteNet", "linear": "linear head"}
_NUM_TUNING_MAPS = 16


def network_name(config: PositionConfig) -> str:
    """How to call a network in a table."""
    name = _NAMES[config.model.head]
    return name if config.model.permute_at == "gap" else f"{name} @ {config.model.permute_at}"


def arms(config: PositionConfig, answers: Answers) -> dict[str, tuple[np.ndarray, int]]:
    """Each way to test one network, the headline first.

    Returns:
      Name to (accuracy of each image [N], answers per image).
    """
    name = network_name(config)
    cells = answers.kept.shape[1]
    kept = ((answers.kept == answers.labels).mean(axis=1), cells)
    if answers.permuted is None:
        return {name: kept}
    right = answers.permuted == answers.labels[:, :, None]
    permuted = (right.mean(axis=(1, 2)), cells * right.shape[2])
    if position.is_permuted(config):
        return {name: permuted, f"{name}, order kept at test": kept}
    return {name: kept, f"{name}, permuted at test": permuted}


def make_rows(
    setup: Setup, answers: Answers, checkpoint: str, step: int
) -> list[tuple[Row, np.ndarray]]:
    """Rows of one network at one checkpoint, each with its per-image scores [1, N]."""
    rows = []
    for arm, (per_image, answers_per_image) in arms(setup.config, answers).items():
        row = summarise_row(
            arm,
            setup.config.task,
            checkpoint,
            per_image[None],
            steps=[step],
            chance=1.0 / setup.num_outputs,
            answers_per_image=answers_per_image,
            bootstrap=setup.config.eval.bootstrap,
        )
        rows.append((row, per_image[None]))
    return rows


def summarise_row(
    arm: str,
    task: str,
    checkpoint: str,
    scores: np.ndarray,
    *,
    steps: list[int],
    chance: float,
    answers_per_image: int,
    bootstrap: int,
) -> Row:
    """A row from per-image scores [S, N]."""
    low, high = ops.bootstrap_interval(scores, num_draws=bootstrap)
    return Row(
        arm=arm,
        task=task,
        checkpoint=checkpoint,
        accuracy=float(scores.mean()),
        low=low,
        high=high,
        chance=chance,
        num_images=scores.shape[1],
        num_predictions=scores.shape[1] * answers_per_image,
        num_seeds=scores.shape[0],
        per_seed=[float(s) for s in scores.mean(axis=1)],
        steps=steps,
    )


def summarise_probe(
    facts: dict[str, Any], scores: np.ndarray, *, answers_per_image: int, bootstrap: int
) -> Probe:
    """A probe's line from per-image scores [S, N] and what it is of."""
    low, high = ops.bootstrap_interval(scores, num_draws=bootstrap)
    return Probe(
        **facts,
        accuracy=float(scores.mean()),
        low=low,
        high=high,
        num_images=scores.shape[1],
        num_predictions=scores.shape[1] * answers_per_image,
        num_seeds=scores.shape[0],
    )


def make_maps(setup: Setup, answers: Answers) -> Maps:
    """Per-cell accuracy, confusion and channel tuning of one network."""
    config = setup.config
    given = answers.kept[:, :, None]
    if position.is_permuted(config) and answers.permuted is not None:
        given = answers.permuted
    right = np.equal(given, answers.labels[:, :, None])
    n = config.n
    confusion = np.zeros((setup.num_outputs, setup.num_outputs))
    truth = np.broadcast_to(answers.labels[:, :, None], given.shape)
    np.add.at(confusion, (truth.ravel(), given.ravel()), 1)
    count = len(answers.kept)
    selectivity = ops.position_selectivity(answers.latent_sum, answers.latent_square_sum, count)
    top = np.argsort(-selectivity, kind="stable")[:_NUM_TUNING_MAPS]
    name = f"{network_name(config)}, {config.task}"
    return {
        "per_cell_of": name,
        "per_cell": right.mean(axis=(0, 2)).reshape(n, n).tolist(),
        "confusion_of": name,
        "confusion": (confusion / np.maximum(confusion.sum(1, keepdims=True), 1)).tolist(),
        "tuning_channels": top.tolist(),
        "tuning_selectivity": selectivity[top].tolist(),
        "tuning": (answers.latent_sum[:, top].T / count).reshape(-1, n, n).tolist(),
        "selectivity": selectivity.tolist(),
    }
