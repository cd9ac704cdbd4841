"""Run, resume, evaluate and write: one driver for every experiment and comparison."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gpool_jax.config import checks, plain
from gpool_jax.errors import InputError
from gpool_jax.experiments import registry, saved, training, workdir
from gpool_jax.experiments.experiment import Comparison, Measured, Member, Warn
from gpool_jax.experiments.training import Setup
from gpool_jax.report import Result, read_result, write_report, write_result
from gpool_jax.report.environment import environment
from gpool_jax.train import parallel, processes
from gpool_jax.train.events import read_events
from gpool_jax.train.state import TrainState

# Sections that say how a finished run is measured.
_MEASUREMENTS = ("eval.", "probe.", "consistency.")


def run(config: Any, folder: Path, *, warn: Warn = print) -> Result | None:
    """Train every run that is not finished, measure it, and write the results.

    See `experiments.run`; a comparison has one sub-folder for each of its runs.
    """
    started = time.perf_counter()
    comparison = registry.comparison(config)
    with parallel.use(config.train.parallel):
        if comparison is None:
            setup = registry.experiment(config).prepare(config, warn=warn)
            return _run_one(setup, folder, started=started, warn=warn)
        checks.check(config)
        workdir.check_run(folder, config)
        setups = prepare_all(config, warn=warn)
        processes.on_first_process(workdir.open_run, folder, config)
        for number, (name, setup) in enumerate(setups.items(), 1):
            if processes.from_first(_is_finished, folder / name, setup.config):
                continue
            title = f"{number}/{len(setups)} {name}"
            _run_one(setup, folder / name, title=title, started=time.perf_counter(), warn=warn)
        return processes.on_first_process(
            _combine, comparison, config, list(setups), folder, folder, started, warn
        )


def evaluate(trained: Any, config: Any, folder: Path, out: Path, *, warn: Warn = print) -> Result:
    """Measure a finished run or comparison in `folder` again, perhaps with other settings.

    Results go to `out`.

    Raises:
      InputError: if `config` differs in what the training depended on.
    """
    started = time.perf_counter()
    checks.check(config)
    check_overrides(trained, config)
    with parallel.use(config.train.parallel):
        setups = prepare_all(config, warn=warn)
        comparison = registry.comparison(config)
        if comparison is None:
            return _measure_run(setups[""], folder, out, started, warn)
        for name, setup in setups.items():
            _measure_run(setup, folder / name, out / name, time.perf_counter(), warn)
        return _combine(comparison, config, list(setups), folder, out, started, warn)


def evaluate_weights(config: Any, weights: Path, out: Path, *, warn: Warn = print) -> Result:
    """Measure a network whose weights come from PyTorch: .safetensors, or .pth with `[torch]`.

    Raises:
      InputError: if the weights do not fit, before anything is written.
    """
    checks.check(config)
    experiment = registry.experiment(config)

    def work() -> Measured:
        return experiment.measure(*experiment.load_weights(config, weights, warn))

    return measure(config, out, work, warn=warn)


def measure(config: Any, out: Path, work: Callable[[], Measured], *, warn: Warn = print) -> Result:
    """Do some measuring as a configuration maps programs over devices, and write the outcome."""
    started = time.perf_counter()
    workdir.check_writable(out)
    with parallel.use(config.train.parallel):
        return write(work(), out, started, warn)


def prepare_all(config: Any, *, warn: Warn = print) -> dict[str, Setup]:
    """Check every run before the first is trained; runs of equal data share them.

    Returns:
      Setups by the name of their sub-folder; "" for a single run.
    """
    comparison = registry.comparison(config)
    members = {"": config} if comparison is None else comparison.members(config)
    setups: dict[str, Setup] = {}
    datasets: dict[Any, Any] = {}
    for name, member in members.items():
        key = member.data, member.seed
        prepare = registry.experiment(member).prepare
        setups[name] = prepare(member, dataset=datasets.get(key), warn=warn)
        datasets[key] = setups[name].dataset
    return setups


def train(
    setup: Setup, folder: Path, *, title: str | None = None, warn: Warn = print
) -> TrainState:
    """Train one network in a folder, or go on with what is in it; see `training.train`."""
    recipe = registry.experiment(setup.config).recipe(setup)
    return training.train(setup, recipe, folder, title=title, warn=warn)


def load(setup: Setup, folder: Path, warn: Warn = print) -> saved.Snapshots:
    """Read the checkpoints of a run that are measured; see `saved.load`."""
    select_by = registry.experiment(setup.config).recipe(setup).select_by
    return saved.load(setup, folder, select_by, warn)


def check_overrides(trained: Any, config: Any) -> None:
    """Raise if two configurations differ in more than how a run is measured."""
    changed = workdir.differences(plain.to_dict(trained), plain.to_dict(config))
    refused = [d for d in changed if not d.startswith(_MEASUREMENTS)]
    if refused:
        raise InputError(
            "a finished run can be measured with other eval.*, probe.*, consistency.*, rank.*, "
            f"attack.* and data.dir or data.path only; got {'; '.join(refused)}."
        )


def write(measured: Measured, out: Path, started: float, warn: Warn) -> Result:
    """Write results.json, per_image.npz, report.html and further files; the folder is made.

    `started` is the `time.perf_counter()` of the start.
    """
    extra = measured.result.environment
    machine = environment(time.perf_counter() - started)
    if measured.files:
        extra = extra | {"files": sorted(measured.files)}
    result = dataclasses.replace(measured.result, environment=machine | extra)
    workdir.make(out)
    stale = _listed_files(out) - set(measured.files)
    for name, content in measured.files.items():
        (out / name).write_text(content)
    write_result(result, out, measured.arrays)
    write_report(result, out, warn, overlays=measured.overlays)
    for name in stale:
        (out / name).unlink(missing_ok=True)
    return result


def _listed_files(out: Path) -> set[str]:
    """Names of further files that an earlier result in a folder lists as its own."""
    try:
        listed = read_result(out).environment.get("files", [])
    except (OSError, ValueError, TypeError, KeyError):
        return set()
    return {name for name in listed if name == Path(name).name}


def _run_one(
    setup: Setup, folder: Path, *, title: str | None = None, started: float, warn: Warn
) -> Result | None:
    train(setup, folder, title=title, warn=warn)
    return processes.on_first_process(_measure_run, setup, folder, folder, started, warn)


def _measure_run(setup: Setup, folder: Path, out: Path, started: float, warn: Warn) -> Result:
    snapshots = load(setup, folder, warn)
    return write(registry.experiment(setup.config).measure(setup, snapshots), out, started, warn)


def _is_finished(folder: Path, config: Any) -> bool:
    """Tell whether a run was trained and measured as its configuration says."""
    try:
        result = read_result(folder)
        # Through the dataclass: a field added since then has its default.
        measured = plain.to_dict(plain.from_dict(result.config))
    except (OSError, ValueError, TypeError, KeyError):
        return False  # not there, or cut short: measured again
    complete = all((folder / name).exists() for name in ("per_image.npz", "report.html"))
    return complete and not workdir.differences(measured, plain.to_dict(config))


def _combine(
    comparison: Comparison,
    config: Any,
    names: list[str],
    folder: Path,
    out: Path,
    started: float,
    warn: Warn,
) -> Result:
    """Compare the runs that were trained in `folder` and measured in `out`."""
    members = {name: _read_member(folder / name, out / name) for name in names}
    measured = comparison.combine(config, members)
    seconds = {n: m.result.environment["wall_seconds"] for n, m in members.items()}
    result = dataclasses.replace(measured.result, environment={"seconds_per_run": seconds})
    return write(dataclasses.replace(measured, result=result), out, started, warn)


def _read_member(folder: Path, out: Path) -> Member:
    with np.load(out / "per_image.npz") as arrays:
        return Member(read_result(out), dict(arrays), read_events(folder))
