"""Evaluate the checkpoints of a run, or imported weights, and write the result."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from gpool_jax import config as configs
from gpool_jax.config import PositionConfig
from gpool_jax.errors import InputError
from gpool_jax.experiments import exhaustive, position, probing, summary, workdir
from gpool_jax.experiments.position import Setup
from gpool_jax.report import Result, Row, write_report, write_result
from gpool_jax.report.environment import environment
from gpool_jax.train.checkpoint import Checkpoints
from gpool_jax.train.events import read_events
from gpool_jax.train.optimizer import evaluated_variables
from gpool_jax.train.state import TrainState


def run(config: PositionConfig, folder: Path, warn: Callable[[str], None] = print) -> Result:
    """Train one network in a folder, or finish its training, and evaluate it there."""
    started = time.perf_counter()
    setup = position.prepare(config, warn=warn)
    probing.check(setup)
    position.train(setup, folder, title=f"{config.model.head} {config.task}", warn=warn)
    return evaluate_run(setup, folder, folder, started=started, warn=warn)


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
    if not (run / "checkpoints").is_dir():
        raise InputError(f"`run`: {run} has no checkpoints yet.")
    checkpoints = position.open_checkpoints(config, run)
    try:
        state = jax.eval_shape(setup.init_state)
        found = checkpoints.load_best(state, warn)
        if found is None:
            raise InputError(f"`run`: {run} has no checkpoints yet.")
        best_step, best = found
        entries = _load_milestones(checkpoints, config, state, warn)
        entries.append(("best", best_step, best))
        last_step = checkpoints.steps[-1]
    finally:
        checkpoints.close()
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


def _load_milestones(
    checkpoints: Checkpoints, config: PositionConfig, state: TrainState, warn: Callable
) -> list[tuple[str, int, TrainState]]:
    """The checkpoints at the stated lengths that can be read, as (name, step, state)."""
    entries = []
    stated = {*config.train.milestones, config.train.steps} if config.train.milestones else set()
    for step in sorted(stated & set(checkpoints.steps)):
        try:
            entries.append((f"step {step}", step, checkpoints.load(step, state)))
        except InputError as error:
            warn(f"{error}; its rows are left out.")
    return entries


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
    workdir.check_writable(out)
    if not has_head:
        return _finish(setup, variables, [], None, {}, notes, out, started, warn)
    answers = exhaustive.make_evaluate(setup)(variables)
    rows = summary.make_rows(setup, answers, "imported", 0)
    return _finish(setup, variables, rows, answers, {}, notes, out, started, warn)


def _finish(setup, variables, rows, answers, curves, notes, out, started, warn) -> Result:
    config = setup.config
    probes = []
    per_image = {f"row{i}": scores for i, (_, scores) in enumerate(rows)}
    if config.probe.enabled:
        network = f"{summary.network_name(config)}, {config.task}"
        for i, (facts, scores) in enumerate(probing.run_probes(setup, variables)):
            per_image[f"probe{i}"] = scores[None]
            probes.append(
                summary.summarise_probe(
                    facts | {"network": network},
                    scores[None],
                    answers_per_image=config.n**2,
                    bootstrap=config.eval.bootstrap,
                )
            )
    name = summary.network_name(config)
    result = Result(
        title=f"{name}: {config.task} on {setup.dataset.name}, n = {config.n}",
        config=configs.to_dict(config),
        rows=[row for row, _ in rows],
        probes=probes,
        maps={} if answers is None else summary.make_maps(setup, answers),
        curves=curves,
        environment=environment(time.perf_counter() - started),
        notes=notes,
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
    found = workdir.differences(configs.to_dict(trained), configs.to_dict(config))
    refused = [d for d in found if not d.startswith(("eval.", "probe."))]
    if refused:
        raise InputError(
            "a finished run can be measured with other eval.*, probe.* and data.dir or data.path "
            f"only; got {'; '.join(refused)}."
        )
