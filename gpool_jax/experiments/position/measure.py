"""One GAPNet, PermuteNet or linear head: trained on canvases, then measured in every cell."""

from pathlib import Path
from typing import Any

from gpool_jax.config import PositionConfig, plain
from gpool_jax.experiments import weights
from gpool_jax.experiments.experiment import Measured, Warn
from gpool_jax.experiments.measures import consistency, probing, tallies
from gpool_jax.experiments.position import exhaustive, rows, training
from gpool_jax.experiments.saved import Snapshots
from gpool_jax.experiments.training import Setup
from gpool_jax.report import Probe, Result, Row


def prepare(config: PositionConfig, *, dataset: Any = None, warn: Warn = print) -> Setup:
    """Check the training (`training.prepare`) and the measurements of a configuration."""
    return _check(training.prepare(config, dataset=dataset, warn=warn))


def load_weights(config: PositionConfig, path: Path, warn: Warn) -> tuple[Setup, Snapshots]:
    """Read weights with any head; with one of another task only the probes are measured."""
    cells = config.n**2 if config.task == "location" else None
    setup, snapshots = weights.load_classifier(
        config, path, warn, side_factor=config.n, num_cells=cells
    )
    return _check(setup), snapshots


def _check(setup: Setup) -> Setup:
    probing.check(setup)
    consistency.check(setup, training.stimulus(setup))
    return setup


def measure(setup: Setup, snapshots: Snapshots) -> Measured:
    """Evaluate every snapshot in every cell; probe the best, and shift its canvases if asked."""
    config, name = setup.config, training.network_name(setup.config)
    bootstrap, variables = config.eval.bootstrap, snapshots.best.variables
    lines, predictions = [], {}
    notes = list(snapshots.notes)
    if snapshots.mismatch:
        notes.append(f"{snapshots.mismatch}: only the probes are measured.")
    else:
        evaluate = exhaustive.make_evaluate(setup)
        for snapshot in snapshots.entries:
            if snapshot.step not in predictions:
                predictions[snapshot.step] = evaluate(snapshot.variables)
            lines += rows.make_rows(setup, predictions[snapshot.step], snapshot.name, snapshot.step)
        headline = next(row for row, _ in lines if row.checkpoint == snapshots.best.name)
        notes.insert(0, _sentence(config, headline))
    arrays = {f"row{i}": scores for i, (_, scores) in enumerate(lines)}
    probes: list[Probe] = []
    if config.probe.enabled:
        probes, scores = probing.measure_probes(
            setup,
            variables,
            f"{name}, {config.task}",
            batch_size=config.eval.batch_size,
            bootstrap=bootstrap,
        )
        arrays |= scores
    measurements = []
    if config.consistency.enabled:
        shifted = consistency.measure(setup, training.stimulus(setup), variables)
        arrays |= tallies.to_arrays(shifted)
        measurements = tallies.summarise(name, shifted, bootstrap=bootstrap)
        notes += consistency.caveats(config)
    best = predictions.get(snapshots.best.step)
    result = Result(
        title=f"{name}: {config.task} on {setup.dataset.name}, n = {config.n}",
        config=plain.to_dict(config),
        rows=[row for row, _ in lines],
        probes=probes,
        maps={} if best is None else rows.make_maps(setup, best),
        curves=snapshots.curves(name),
        notes=notes,
        measurements=measurements,
    )
    return Measured(result, arrays)


def _sentence(config: PositionConfig, best: Row) -> str:
    return (
        f"{best.arm} ({config.model.name}, width {config.model.width:g}, padding "
        f"{config.model.padding}) predicts {config.task} correctly in {100 * best.accuracy:.2f} % "
        f"of {best.num_predictions:,} cases (95 % interval {100 * best.low:.2f} to "
        f"{100 * best.high:.2f}, chance {100 * best.chance:.1f})."
    )
