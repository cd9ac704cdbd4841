"""One network trained on whole images: consistency under shift, and position decoded."""

from pathlib import Path

import numpy as np

from gpool_jax.config import InvarianceConfig, plain
from gpool_jax.errors import InputError
from gpool_jax.experiments import weights
from gpool_jax.experiments.experiment import Measured, Warn
from gpool_jax.experiments.invariance import decoding, training
from gpool_jax.experiments.measures import consistency, probing, tallies
from gpool_jax.experiments.saved import Snapshots
from gpool_jax.experiments.training import Setup
from gpool_jax.report import Probe, Result


def load_weights(config: InvarianceConfig, path: Path, warn: Warn) -> tuple[Setup, Snapshots]:
    """Read weights whose head predicts the data's classes."""
    setup, snapshots = weights.load_classifier(config, path, warn)
    if snapshots.mismatch:
        raise InputError(
            f"`--weights`: {snapshots.mismatch}; consistency is measured on its predictions."
        )
    training.check(setup)
    return setup, snapshots


def measure(setup: Setup, snapshots: Snapshots) -> Measured:
    """Measure consistency under shift, and how well position is read from the latent."""
    config, best = setup.config, snapshots.best
    name = "imported" if best.name == "imported" else training.network_name(config)
    bootstrap, stimulus = config.consistency.bootstrap, training.stimulus(setup)
    shifted: tallies.Tallies = {}
    if config.consistency.enabled:
        shifted = consistency.measure(setup, stimulus, best.variables)
    probes: list[Probe] = []
    scores: dict[str, np.ndarray] = {}
    if config.probe.enabled:
        batch_size = config.consistency.batch_size
        probes, scores = probing.measure_probes(
            setup, best.variables, name, batch_size=batch_size, bootstrap=bootstrap
        )
        shifted |= decoding.cell_tally(setup, probes, scores)
        shifted |= decoding.shift_tallies(setup, stimulus, best.variables)
    result = Result(
        title=f"{name}: shift consistency on {setup.dataset.name}",
        config=plain.to_dict(config),
        probes=probes,
        curves=snapshots.curves(name),
        notes=snapshots.notes + consistency.caveats(config),
        measurements=tallies.summarise(name, shifted, bootstrap=bootstrap),
    )
    return Measured(result, scores | tallies.to_arrays(shifted))
