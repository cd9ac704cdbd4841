"""Measure a network trained on whole images: consistency under shift, and position decoded."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gpool_jax.config import InvarianceConfig, plain
from gpool_jax.errors import InputError
from gpool_jax.experiments import saved, workdir
from gpool_jax.experiments.invariance import decoding
from gpool_jax.experiments.invariance import training as invariance
from gpool_jax.experiments.measures import consistency, probing
from gpool_jax.experiments.measures import tallies as measured
from gpool_jax.experiments.position import measure
from gpool_jax.experiments.training import Setup
from gpool_jax.report import Probe, Result, write_report, write_result
from gpool_jax.report.environment import environment
from gpool_jax.train import processes
from gpool_jax.train.events import read_events
from gpool_jax.train.optimizer import evaluated_variables


def run(
    config: InvarianceConfig, folder: Path, warn: Callable[[str], None] = print
) -> Result | None:
    """Train one network in a folder, or finish its training, and measure it there.

    Process 0 measures; the others return None.
    """
    started = time.perf_counter()
    setup = invariance.prepare(config, warn=warn)
    invariance.train(setup, folder, title=arm_name(config), warn=warn)
    return processes.alone(evaluate_run, setup, folder, folder, started=started, warn=warn)


def arm_name(config: InvarianceConfig) -> str:
    """How to call a network in a table: what it was trained with."""
    shift = config.shift
    name = "baseline"
    if shift.augment:
        name = "AugShift" if shift.weight > 0 else "shift augmentation"
    elif shift.weight > 0:
        name = "invariance loss"
    if config.model.antialias:
        blur = f"BlurPool-{config.model.antialias}"
        name = blur if name == "baseline" else f"{name} + {blur}"
    return name


def evaluate_run(
    setup: Setup,
    run: Path,
    out: Path,
    *,
    started: float | None = None,
    warn: Callable[[str], None] = print,
) -> Result:
    """Measure the best checkpoint of a run; write the result.

    Args:
      setup: of the run.
      run: its folder.
      out: gets results.json, per_image.npz and report.html.
      started: `time.perf_counter()` of the command's start.
      warn: receives one line per checkpoint that cannot be read.

    Raises:
      InputError: if the run has no readable checkpoint.
    """
    started = time.perf_counter() if started is None else started
    entries, last_step = saved.load(setup, run, warn)
    _, step, state = entries[-1]
    notes = [f"The checkpoint of step {step} was picked on {len(setup.dataset.val):,} images."]
    steps = setup.config.train.steps
    if last_step < steps:
        notes.append(f"The training is not finished: {last_step} of {steps} steps.")
    name = arm_name(setup.config)
    return _finish(
        setup, evaluated_variables(state), out, name, {name: read_events(run)}, notes, started, warn
    )


def evaluate_weights(
    setup: Setup,
    variables: Any,
    out: Path,
    *,
    has_head: bool,
    notes: list[str],
    warn: Callable[[str], None] = print,
) -> Result:
    """Measure imported weights.

    Args:
      setup: whose model the weights fit.
      variables: from `models.from_torch`.
      out: gets results.json, per_image.npz and report.html.
      has_head: whether the head answers the data's classes.
      notes: what was detected in the file.
      warn: receives warnings.

    Raises:
      InputError: if the head answers other classes than the data's.
    """
    if not has_head:
        raise InputError(f"`--weights`: {notes[-1]} Consistency is measured on the head's answers.")
    invariance.check(setup)
    workdir.check_writable(out)
    return _finish(setup, variables, out, "imported", {}, notes, time.perf_counter(), warn)


def _finish(setup, variables, out, name, curves, notes, started, warn) -> Result:
    config = setup.config
    bootstrap = config.consistency.bootstrap
    tallies = consistency.measure(setup, variables) if config.consistency.enabled else {}
    probes: list[Probe] = []
    scores: dict[str, np.ndarray] = {}
    if config.probe.enabled:
        probes, scores = probing.measure_probes(
            setup,
            variables,
            name,
            batch_size=config.consistency.batch_size,
            bootstrap=bootstrap,
        )
        tallies |= decoding.cell_tally(setup, probes, scores)
        tallies |= decoding.shift_tallies(setup, variables)
    result = Result(
        title=f"{name}: shift consistency on {setup.dataset.name}",
        config=plain.to_dict(config),
        rows=[],
        probes=probes,
        maps={},
        curves=curves,
        environment=environment(time.perf_counter() - started),
        notes=notes + consistency.caveats(config),
        measurements=measured.summarise(name, tallies, bootstrap=bootstrap),
    )
    workdir.make(out)
    write_result(result, out, scores | measured.to_arrays(tallies))
    write_report(result, out, warn)
    return result


def evaluate(
    trained: InvarianceConfig,
    config: InvarianceConfig,
    run: Path,
    out: Path,
    warn: Callable[[str], None] = print,
) -> Result:
    """Measure a run again, perhaps otherwise than after training; see `measure.evaluate`."""
    measure.check_overrides(trained, config)
    return evaluate_run(invariance.prepare(config, warn=warn), run, out, warn=warn)
