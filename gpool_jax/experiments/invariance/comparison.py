"""Shift augmentation, AugShift and BlurPool side by side, over several seeds."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gpool_jax.config import (
    InvarianceComparisonConfig,
    InvarianceConfig,
    ShiftConfig,
    checks,
    plain,
)
from gpool_jax.data.images import load as sources
from gpool_jax.experiments import workdir
from gpool_jax.experiments.invariance import measure as invariance_measure
from gpool_jax.experiments.invariance import training as invariance
from gpool_jax.experiments.measures import consistency
from gpool_jax.experiments.measures import tallies as measured
from gpool_jax.experiments.position import comparison, measure
from gpool_jax.experiments.training import Setup
from gpool_jax.report import Measurement, Result, write_report, write_result
from gpool_jax.report.environment import environment
from gpool_jax.train import processes
from gpool_jax.train.events import read_events


def arm_configs(config: InvarianceComparisonConfig) -> dict[str, InvarianceConfig]:
    """Each arm's config at the first seed, by the name of its sub-folders."""
    taps = config.model.antialias
    found: dict[str, InvarianceConfig] = {}
    for arm in config.arms:
        augment = "shift" in arm
        shift = dataclasses.replace(
            config.shift,
            augment=augment,
            weight=config.shift.weight if "augshift" in arm else 0.0,
            # Unshifted, unmirrored views would be copies: one is enough.
            views=config.shift.views if augment or config.data.flip else 1,
        )
        found[arm] = _single(config, shift, taps if "blurpool" in arm else 0)
    for weight in config.weights:
        shift = dataclasses.replace(config.shift, augment=True, weight=weight)
        found[f"augshift_weight{weight:g}"] = _single(config, shift, 0)
    return found


def _single(
    config: InvarianceComparisonConfig, shift: ShiftConfig, antialias: Any
) -> InvarianceConfig:
    return InvarianceConfig(
        n=config.n,
        seed=config.seed,
        data=config.data,
        model=dataclasses.replace(config.model, antialias=antialias),
        train=config.train,
        shift=shift,
        consistency=config.consistency,
        probe=config.probe,
    )


def sub_configs(config: InvarianceComparisonConfig) -> dict[str, InvarianceConfig]:
    """The runs of a comparison, by the name of their sub-folder; a seed's arms together."""
    seeds = range(config.seed, config.seed + config.num_seeds)
    return {
        f"{arm}-seed{seed}": dataclasses.replace(single, seed=seed)
        for seed in seeds
        for arm, single in arm_configs(config).items()
    }


def run(
    config: InvarianceComparisonConfig, folder: Path, warn: Callable[[str], None] = print
) -> Result | None:
    """Train and measure every run that is not finished, then compare.

    Process 0 measures and compares; the others return None.

    Args:
      config: of the comparison.
      folder: gets one sub-folder per run, results.json and report.html.
      warn: receives one line per damaged file that was passed over.

    Raises:
      InputError: before anything is written, for anything that cannot be used.
    """
    started = time.perf_counter()
    checks.check(config)
    workdir.check_run(folder, config)
    setups = prepare_all(config, warn)
    processes.alone(workdir.open_run, folder, config)
    results = {}
    for number, (name, setup) in enumerate(setups.items(), 1):
        run = folder / name
        results[name] = processes.alone(comparison.read_finished, run, setup.config)
        if processes.from_first(comparison.is_there, results[name]):
            continue
        start = time.perf_counter()
        invariance.train(setup, run, title=f"{number}/{len(setups)} {name}", warn=warn)
        results[name] = processes.alone(
            invariance_measure.evaluate_run, setup, run, run, started=start, warn=warn
        )
    seconds = time.perf_counter() - started
    return processes.alone(_write, config, folder, folder, results, seconds, warn)


def evaluate(
    trained: InvarianceComparisonConfig,
    config: InvarianceComparisonConfig,
    folder: Path,
    out: Path,
    warn: Callable[[str], None] = print,
) -> Result:
    """Measure every run of a comparison again; see `measure.evaluate`."""
    started = time.perf_counter()
    checks.check(config)
    measure.check_overrides(trained, config)
    results = {
        name: invariance_measure.evaluate_run(setup, folder / name, out / name, warn=warn)
        for name, setup in prepare_all(config, warn).items()
    }
    return _write(config, folder, out, results, time.perf_counter() - started, warn)


def prepare_all(
    config: InvarianceComparisonConfig, warn: Callable[[str], None]
) -> dict[str, Setup]:
    """Check every network before the first is trained; runs of one seed share their data."""
    setups = {}
    datasets: dict[int, sources.Dataset] = {}
    for name, sub in sub_configs(config).items():
        setups[name] = invariance.prepare(sub, dataset=datasets.get(sub.seed), warn=warn)
        datasets[sub.seed] = setups[name].dataset
    return setups


def _write(config, folder, out, results, seconds, warn) -> Result:
    result = combine(config, folder, out, results, seconds)
    workdir.make(out)
    write_result(result, out)
    write_report(result, out, warn)
    return result


def combine(
    config: InvarianceComparisonConfig,
    folder: Path,
    out: Path,
    results: dict[str, Result],
    seconds: float,
) -> Result:
    """One result from those of the runs (trained in `folder`, measured in `out`)."""
    tallies = _tallies_of_arms(config, out, results)
    bootstrap = config.consistency.bootstrap
    measurements = []
    for arm, found in tallies.items():
        measurements += measured.summarise(arm, found, bootstrap=bootstrap)
    for versus, arms in _contrasts(config, tallies).items():
        for arm in arms:
            measurements += measured.compare(
                arm, tallies[arm], versus, tallies[versus], bootstrap=bootstrap
            )
    first = next(iter(results.values()))
    name = first.title.split(" on ")[-1]
    return Result(
        title=f"Translation invariance by augmentation, loss and BlurPool: {name}",
        config=plain.to_dict(config),
        rows=[],
        probes=comparison.combine_probes(results, out, config.n, bootstrap),
        maps={},
        curves={n: read_events(folder / n) for n in results if n.endswith(f"seed{config.seed}")},
        environment=environment(seconds)
        | {"seconds_per_run": {n: r.environment["wall_seconds"] for n, r in results.items()}},
        notes=sentences(measurements) + consistency.caveats(config) + _few_seeds(config),
        measurements=measurements,
    )


def _names(config: InvarianceComparisonConfig) -> dict[str, str]:
    """How to call each arm in a table; arms that differ in the weight alone are told apart."""
    names = {}
    for arm, single in arm_configs(config).items():
        name = invariance_measure.arm_name(single)
        if arm.startswith("augshift_weight"):
            name = f"AugShift, weight {single.shift.weight:g}"
        names[arm] = name
    return names


def _tallies_of_arms(
    config: InvarianceComparisonConfig, out: Path, results: dict[str, Result]
) -> dict[str, measured.Tallies]:
    """Each arm's tallies over its seeds, [S, N]."""
    found = {}
    for arm, name in _names(config).items():
        members = []
        for seed in range(config.seed, config.seed + config.num_seeds):
            run = f"{arm}-seed{seed}"
            with np.load(out / run / "per_image.npz") as arrays:
                members.append(measured.from_arrays(arrays, results[run].measurements))
        found[name] = measured.stack(members)
    return found


def _contrasts(
    config: InvarianceComparisonConfig, tallies: dict[str, measured.Tallies]
) -> dict[str, list[str]]:
    """Which arms are compared with which: all with the baseline, AugShift with its rivals too."""
    names = _names(config)
    contrasts = {}
    for reference in ("baseline", "shift", "blurpool"):
        if reference not in names:
            continue
        arms = [n for n in tallies if n != names[reference]]
        if reference != "baseline":
            arms = [n for n in arms if n.startswith("AugShift")]
        if arms:
            contrasts[names[reference]] = arms
    return contrasts


def sentences(measurements: list[Measurement]) -> list[str]:
    """What was seen under the first protocol, no more than the table says."""
    first = next((m.protocol for m in measurements if m.quantity == "consistency"), None)
    found = {(m.arm, m.versus, m.protocol, m.quantity): m for m in measurements}
    said = []
    for (arm, versus, protocol, quantity), m in found.items():
        if versus is None or quantity != "consistency" or protocol != first:
            continue
        accuracy = found[(arm, versus, protocol, "accuracy")]
        said.append(
            f"{arm} against {versus}, {protocol}: consistency {_points(m)} points, accuracy "
            f"{_points(accuracy)}."
        )
    for m in measurements:
        if m.versus == "baseline" and m.quantity == "cell_decoding":
            said.append(f"{m.arm} against baseline: cell read from the latent {_points(m)} points.")
    return said


def _few_seeds(config: InvarianceComparisonConfig) -> list[str]:
    if config.num_seeds >= 5:
        return []
    return [
        f"With {config.num_seeds} training seeds the bootstrap knows little of how they differ: "
        "the intervals are too narrow where seeds matter more than images (see per_seed)."
    ]


def _points(m: Measurement) -> str:
    return f"{100 * m.value:+.1f} ({100 * m.low:+.1f} to {100 * m.high:+.1f})"
