"""Evaluate the checkpoints of a run, or imported weights, and write the result."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpool_jax.config import PositionConfig, plain
from gpool_jax.errors import InputError
from gpool_jax.experiments import saved, workdir
from gpool_jax.experiments.measures import consistency, probing
from gpool_jax.experiments.measures import tallies as measured
from gpool_jax.experiments.position import exhaustive
from gpool_jax.experiments.position import rows as summary
from gpool_jax.experiments.position import training as position
from gpool_jax.experiments.training import Setup
from gpool_jax.report import Probe, Result, Row, write_report, write_result
from gpool_jax.report.environment import environment
from gpool_jax.train import processes
from gpool_jax.train.events import read_events
from gpool_jax.train.optimizer import evaluated_variables


def run(config: PositionConfig, folder: Path, warn: Callable[[str], None] = print) -> Result | None:
    """Train one network in a folder, or finish its training, and evaluate it there.

    Process 0 evaluates; the others return None.
    """
    started = time.perf_counter()
    setup = prepare(config, warn)
    position.train(setup, folder, title=f"{config.model.head} {config.task}", warn=warn)
    return processes.alone(evaluate_run, setup, folder, folder, started=started, warn=warn)


def prepare(config: PositionConfig, warn: Callable[[str], None] = print) -> Setup:
    """Check a config, that of its measurements included; see `position.prepare`."""
    setup = position.prepare(config, warn=warn)
    probing.check(setup)
    consistency.check(setup)
    return setup


def evaluate_run(
    setup: Setup,
    run: Path,
    out: Path,
    *,
    started: float | None = None,
    warn: Callable[[str], None] = print,
) -> Result:
    """Evaluate the milestones and the best checkpoint of a run; write the result.

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
    config = setup.config
    probing.check(setup)
    consistency.check(setup)
    entries, last_step = saved.load(setup, run, warn)
    _, best_step, best = entries[-1]
    evaluate = exhaustive.make_evaluate(setup)
    rows, cache = [], {}
    for name, step, loaded in entries:
        if step not in cache:
            cache[step] = evaluate(evaluated_variables(loaded))
        rows += summary.make_rows(setup, cache[step], name, step)
    notes = [_sentence(config, setup, [row for row, _ in rows])]
    if last_step < config.train.steps:
        notes.append(f"The training is not finished: {last_step} of {config.train.steps} steps.")
    curves = {summary.network_name(config): read_events(run)}
    variables = evaluated_variables(best)
    return _finish(setup, variables, rows, cache[best_step], curves, notes, out, started, warn)


def evaluate_weights(
    setup: Setup,
    variables: Any,
    out: Path,
    *,
    has_head: bool,
    notes: list[str],
    warn: Callable[[str], None] = print,
) -> Result:
    """Evaluate imported weights: the head if it fits the task, and the probes.

    Args:
      setup: whose model the weights fit.
      variables: from `models.from_torch`.
      out: gets results.json, per_image.npz and report.html.
      has_head: whether the head answers the task of the config.
      notes: what was detected in the file.
      warn: receives warnings.
    """
    started = time.perf_counter()
    probing.check(setup)
    consistency.check(setup)
    workdir.check_writable(out)
    if not has_head:
        return _finish(setup, variables, [], None, {}, notes, out, started, warn)
    answers = exhaustive.make_evaluate(setup)(variables)
    rows = summary.make_rows(setup, answers, "imported", 0)
    return _finish(setup, variables, rows, answers, {}, notes, out, started, warn)


def _finish(setup, variables, rows, answers, curves, notes, out, started, warn) -> Result:
    config = setup.config
    per_image = {f"row{i}": scores for i, (_, scores) in enumerate(rows)}
    probes: list[Probe] = []
    bootstrap = config.eval.bootstrap
    if config.probe.enabled:
        probes, scores = probing.measure_probes(
            setup,
            variables,
            f"{summary.network_name(config)}, {config.task}",
            batch_size=config.eval.batch_size,
            bootstrap=bootstrap,
        )
        per_image |= scores
    measurements = []
    if config.consistency.enabled:
        tallies = consistency.measure(setup, variables)
        per_image |= measured.to_arrays(tallies)
        arm = summary.network_name(config)
        measurements = measured.summarise(arm, tallies, bootstrap=bootstrap)
        notes = notes + consistency.caveats(config)
    name = summary.network_name(config)
    result = Result(
        title=f"{name}: {config.task} on {setup.dataset.name}, n = {config.n}",
        config=plain.to_dict(config),
        rows=[row for row, _ in rows],
        probes=probes,
        maps={} if answers is None else summary.make_maps(setup, answers),
        curves=curves,
        environment=environment(time.perf_counter() - started),
        notes=notes,
        measurements=measurements,
    )
    workdir.make(out)
    write_result(result, out, per_image)
    write_report(result, out, warn)
    return result


def _sentence(config: PositionConfig, setup: Setup, rows: list[Row]) -> str:
    best = next(row for row in rows if row.checkpoint == "best")
    return (
        f"{best.arm} ({config.model.name}, width {config.model.width:g}, padding "
        f"{config.model.padding}) answers {config.task} right in {100 * best.accuracy:.2f} % of "
        f"{best.num_predictions:,} cases (95 % interval {100 * best.low:.2f} to "
        f"{100 * best.high:.2f}, chance {100 * best.chance:.1f}); the checkpoint of step "
        f"{best.steps[0]} was picked on {len(setup.dataset.val):,} validation images."
    )


def evaluate(
    trained: PositionConfig,
    config: PositionConfig,
    run: Path,
    out: Path,
    warn: Callable[[str], None] = print,
) -> Result:
    """Measure a run again, perhaps otherwise than it was measured after training.

    Args:
      trained: config of the run.
      config: the same but for `eval`, `probe` and where the data lie.
      run: the run's folder.
      out: gets results.json and report.html.
      warn: receives one line per damaged file that was passed over.

    Raises:
      InputError: if `config` differs in what the training depended on.
    """
    check_overrides(trained, config)
    return evaluate_run(position.prepare(config, warn=warn), run, out, warn=warn)


def check_overrides(trained: Any, config: Any) -> None:
    """Raise if two configs differ in more than how a run is measured."""
    found = workdir.differences(plain.to_dict(trained), plain.to_dict(config))
    refused = [d for d in found if not d.startswith(("eval.", "probe.", "consistency."))]
    if refused:
        raise InputError(
            "a finished run can be measured with other eval.*, probe.*, consistency.*, rank.*, "
            f"attack.* and data.dir or data.path only; got {'; '.join(refused)}."
        )
