"""Run, resume, evaluate and write: one driver for every experiment and comparison."""

import contextlib
import dataclasses
import fnmatch
import functools
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gpool_jax import files
from gpool_jax.config import checks, plain
from gpool_jax.errors import InputError, shown
from gpool_jax.experiments import registry, saved, training, workdir
from gpool_jax.experiments.experiment import Comparison, Measured, Member, Warn
from gpool_jax.experiments.training import Setup
from gpool_jax.report import Result, read_result, write_report, write_result
from gpool_jax.report.environment import environment
from gpool_jax.train import parallel, processes
from gpool_jax.train.events import read_events
from gpool_jax.train.state import TrainState


def run(config: Any, folder: Path, *, warn: Warn = print) -> Result | None:
    """Train every run that is not finished, measure it, and write the results.

    See `experiments.run`; a comparison has one sub-folder for each of its runs.
    """
    started = time.perf_counter()
    comparison = registry.comparison(config)
    with parallel.use(config.train.parallel):
        checks.check(config)
        workdir.check_run(folder, config)
        setups = prepare_all(config, warn=warn)
        processes.check_same("config", {"runs": list(setups)}, plain.differences)
        for setup in setups.values():  # before the folder is made
            training.check_alike(setup)
            setup.design.model(parallel.AXIS)  # whether it can be trained on these devices
        with _hold(folder):
            if comparison is None:
                return _run_one(setups[""], folder, started=started, warn=warn)
            # The folder is that of all runs, whichever are asked for this time.
            whole = dataclasses.replace(config, only=())
            processes.on_first_process(workdir.open_run, folder, whole)
            for number, (name, setup) in enumerate(setups.items(), 1):
                if processes.from_first(_is_finished, folder / name, setup.config):
                    continue
                title = f"{number}/{len(setups)} {name}"
                _run_one(setup, folder / name, title=title, started=time.perf_counter(), warn=warn)

            def combine() -> Result:
                output = Output(folder, workdir.own(folder), warn, started)
                return _combine(comparison, config, folder, output)

            return processes.on_first_process(combine)


def _hold(folder: Path) -> contextlib.AbstractContextManager:
    """Hold a folder, in the process that writes."""
    return workdir.hold(folder) if processes.is_first() else contextlib.nullcontext()


@dataclasses.dataclass(frozen=True)
class Output:
    """Where a measurement is written, and whose folder that is; it begins when this is made."""

    folder: Path
    owner: workdir.Owner
    warn: Warn = print
    started: float = dataclasses.field(default_factory=time.perf_counter)


def evaluate(trained: Any, config: Any, folder: Path, out: Path, *, warn: Warn = print) -> Result:
    """Measure a finished run or comparison in `folder` again, perhaps with other settings.

    Results go to `out`.

    Raises:
      InputError: if `config` differs in what the training depended on, or `out` is the
        folder of something else.
    """
    output = Output(out, workdir.own(folder, "evaluate"), warn)
    checks.check(config)
    check_overrides(trained, config)
    workdir.check_owner(out, output.owner)
    with parallel.use(config.train.parallel):
        comparison = registry.comparison(config)
        if comparison is None:
            return _measure_run(prepare_all(config, warn=warn)[""], folder, output)
        runs = comparison.members(trained)
        finished = tuple(name for name, run in runs.items() if _is_finished(folder / name, run))
        if not finished:
            raise InputError(f"`run`: no run of the comparison {folder} is finished.")
        setups = prepare_all(dataclasses.replace(config, only=finished), warn=warn)
        for name, setup in setups.items():
            owner = workdir.own(folder / name, "evaluate")
            _measure_run(setup, folder / name, Output(out / name, owner, warn))
        return _combine(comparison, config, folder, output)


def evaluate_weights(config: Any, weights: Path, out: Path, *, warn: Warn = print) -> Result:
    """Measure a network whose weights come from PyTorch: .safetensors, or .pth with `[torch]`.

    Raises:
      InputError: if the weights do not fit, before anything is written.
    """
    checks.check(config)
    experiment = registry.experiment(config)
    owner = workdir.own_weights(weights, config.model.name, "evaluate")

    def work() -> Measured:
        return experiment.measure(*experiment.load_weights(config, weights, warn))

    return measure(config, Output(out, owner, warn), work)


def measure(
    config: Any, output: Output, work: Callable[[], Measured], *, further: str = ""
) -> Result:
    """Do some measuring as a configuration maps programs over devices, and write the outcome.

    `further` is the pattern of the names of further files.

    Raises:
      InputError: if the output is the folder of something else, or holds further files that
        no earlier result lists as its own.
    """
    workdir.check_writable(output.folder)
    workdir.check_owner(output.folder, output.owner)
    found = {path.name for path in output.folder.glob(further)} if further else set()
    if foreign := sorted(found - _listed_files(output.folder)):
        raise InputError(
            f"`workdir`: {output.folder / foreign[0]} is not of an earlier gpool "
            f"{output.owner.command}, and is not overwritten; use another folder."
        )
    with parallel.use(config.train.parallel):
        return write(work(), output)


def prepare_all(config: Any, *, warn: Warn = print) -> dict[str, Setup]:
    """Check every run before the first is trained; runs of equal data share them.

    Returns:
      Setups by the name of their sub-folder; "" for a single run.
    """
    setups: dict[str, Setup] = {}
    datasets: dict[Any, Any] = {}
    # Members read the same files.
    warn_once = functools.cache(warn)
    for name, member in _asked(config).items():
        key = member.data, member.seed
        prepare = registry.experiment(member).prepare
        setups[name] = prepare(member, dataset=datasets.get(key), warn=warn_once)
        datasets[key] = setups[name].dataset
    return setups


def _asked(config: Any) -> dict[str, Any]:
    """The configurations of the runs that a config asks for, by the name of their folder."""
    comparison = registry.comparison(config)
    if comparison is None:
        return {"": config}
    members = comparison.members(config)
    if not config.only:
        return members
    fitting: set[str] = set()
    for pattern in config.only:
        found = [name for name in members if fnmatch.fnmatchcase(name, pattern)]
        if not found:
            first = next(iter(members))
            raise InputError(
                f"`only`: {shown(pattern)} fits none of the {len(members)} runs, such as {first}."
            )
        fitting.update(found)
    return {name: member for name, member in members.items() if name in fitting}


def train(
    setup: Setup, folder: Path, *, title: str | None = None, warn: Warn = print
) -> TrainState:
    """Train one network in a folder, or go on with what is in it; see `training.train`."""
    recipe = registry.experiment(setup.config).recipe(setup)
    return training.train(setup, recipe, folder, title=title, warn=warn)


def load(setup: Setup, folder: Path, warn: Warn = print) -> tuple[Setup, saved.Snapshots]:
    """Read the checkpoints of a run that are measured; see `saved.load`."""
    select_by = registry.experiment(setup.config).recipe(setup).select_by
    return saved.load(setup, folder, select_by, warn)


def check_overrides(trained: Any, config: Any) -> None:
    """Raise if two configurations differ in more than how a run is measured."""
    changed = workdir.differences(plain.to_dict(trained), plain.to_dict(config))
    refused = [d for d in changed if not d.startswith(workdir.MEASUREMENTS)]
    if refused:
        raise checks.overrides_error("; ".join(refused))


def write(measured: Measured, output: Output) -> Result:
    """Write results.json, per_image.npz, report.html and further files; the folder is made.

    Raises:
      RunError: if a file cannot be written, or a number is infinite.
    """
    out = output.folder
    about = environment(time.perf_counter() - output.started) | measured.result.environment
    about["owner"] = dataclasses.asdict(output.owner)
    if measured.files:
        about["files"] = sorted(measured.files)
    result = dataclasses.replace(measured.result, environment=about)
    with workdir.hold(out):
        stale = _listed_files(out) - set(measured.files)
        # First of all, since it says whose the others are: without it, those of a run that was
        # killed here would be nobody's.
        write_result(result, out, measured.arrays)
        for name, content in measured.files.items():
            files.write(out / name, content)
        for name in stale:
            (out / name).unlink(missing_ok=True)
        write_report(result, out, output.warn, overlays=measured.overlays)
    return result


def _listed_files(out: Path) -> set[str]:
    """Names of further files that an earlier result in a folder lists as its own."""
    try:
        listed = read_result(out).environment.get("files", [])
        return {name for name in listed if name == Path(name).name}
    except (OSError, ValueError, TypeError):
        return set()


def _run_one(
    setup: Setup, folder: Path, *, title: str | None = None, started: float, warn: Warn
) -> Result | None:
    train(setup, folder, title=title, warn=warn)

    def measure_run() -> Result:
        return _measure_run(setup, folder, Output(folder, workdir.own(folder), warn, started))

    return processes.on_first_process(measure_run)


def _measure_run(setup: Setup, folder: Path, output: Output) -> Result:
    setup, snapshots = load(setup, folder, output.warn)
    measured = registry.experiment(setup.config).measure(setup, snapshots)
    if snapshots.caveats:  # for a comparison of this run with others
        about = measured.result.environment | {"caveats": snapshots.caveats}
        result = dataclasses.replace(measured.result, environment=about)
        measured = dataclasses.replace(measured, result=result)
    return write(measured, output)


def _is_finished(folder: Path, config: Any) -> bool:
    """Tell whether a run was trained and measured as its configuration says."""
    try:
        result = read_result(folder)
        # Through the dataclass: a field added since then has its default.
        measured = plain.to_dict(plain.from_dict(result.config))
    except (OSError, ValueError, TypeError):
        return False  # not there, or damaged: measured again
    complete = _is_archive(folder / "per_image.npz") and (folder / "report.html").exists()
    return complete and not workdir.differences(measured, plain.to_dict(config))


def _is_archive(path: Path) -> bool:
    """Tell whether an .npz can be read to its end."""
    try:
        with zipfile.ZipFile(path) as arrays:
            return arrays.testzip() is None
    except Exception:  # of changed bytes, zipfile and zlib raise many kinds
        return False


def _combine(comparison: Comparison, config: Any, folder: Path, output: Output) -> Result:
    """Compare all runs that were trained in `folder` and measured in the output's folder."""
    runs = comparison.members(config)
    members = {
        name: _read_member(folder / name, output.folder / name, output.warn)
        for name, run in runs.items()
        if _is_finished(output.folder / name, run)
    }
    some = (
        [] if len(members) == len(runs) else [f"{len(members)} of {len(runs)} runs are finished."]
    )
    measured = comparison.combine(config, members)
    seconds = {n: m.result.environment.get("wall_seconds") for n, m in members.items()}
    caveats = [
        f"{name}: {note}"
        for name, member in members.items()
        for note in member.result.environment.get("caveats", [])
    ]
    result = dataclasses.replace(
        measured.result,
        environment={"seconds_per_run": seconds},
        notes=some + caveats + measured.result.notes,
    )
    return write(dataclasses.replace(measured, result=result), output)


def _read_member(folder: Path, out: Path, warn: Warn) -> Member:
    with np.load(out / "per_image.npz") as arrays:
        return Member(read_result(out), dict(arrays), read_events(folder, warn))
