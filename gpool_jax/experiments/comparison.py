"""The main question in one table: every head on every task, over several seeds."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gpool_jax import config as configs
from gpool_jax.config import ComparisonConfig, PositionConfig
from gpool_jax.data import sources
from gpool_jax.experiments import measure, position, probing, workdir
from gpool_jax.report import Probe, Result, Row, read_result, write_report, write_result
from gpool_jax.report.environment import environment
from gpool_jax.train.events import read_events


def sub_configs(config: ComparisonConfig) -> dict[str, PositionConfig]:
    """The runs of a comparison, by the name of their sub-folder."""
    runs = {}
    for seed in range(config.seed, config.seed + config.num_seeds):
        for task in config.tasks:
            for head in config.heads:
                runs[f"{task}-{head}-seed{seed}"] = PositionConfig(
                    task=task,
                    n=config.n,
                    seed=seed,
                    data=config.data,
                    model=dataclasses.replace(config.model, head=head),
                    train=config.train,
                    eval=config.eval,
                    probe=config.probe,
                )
    return runs


def run(config: ComparisonConfig, folder: Path, warn: Callable[[str], None] = print) -> Result:
    """Train and evaluate every run that is not finished, then compare.

    Args:
      config: of the comparison.
      folder: gets one sub-folder per run, results.json and report.html.
      warn: receives one line per damaged file that was passed over.

    Raises:
      InputError: before anything is written, for anything that cannot be used.
    """
    started = time.perf_counter()
    configs.check(config)
    workdir.check_run(folder, config)
    setups = _prepare_all(config, warn)
    workdir.open_run(folder, config)
    results = {}
    for number, (name, setup) in enumerate(setups.items(), 1):
        if _is_finished(folder / name, setup.config):
            results[name] = read_result(folder / name)
            continue
        start = time.perf_counter()
        position.train(setup, folder / name, title=f"{number}/{len(setups)} {name}", warn=warn)
        results[name] = measure.evaluate_run(
            setup, folder / name, folder / name, started=start, warn=warn
        )
    return _write(config, folder, folder, results, time.perf_counter() - started, warn)


def evaluate(
    trained: ComparisonConfig,
    config: ComparisonConfig,
    folder: Path,
    out: Path,
    warn: Callable[[str], None] = print,
) -> Result:
    """Measure every run of a comparison again; see `measure.evaluate`."""
    started = time.perf_counter()
    configs.check(config)
    measure.check_overrides(trained, config)
    results = {}
    for name, setup in _prepare_all(config, warn).items():
        results[name] = measure.evaluate_run(setup, folder / name, out / name, warn=warn)
    return _write(config, folder, out, results, time.perf_counter() - started, warn)


def _prepare_all(
    config: ComparisonConfig, warn: Callable[[str], None]
) -> dict[str, position.Setup]:
    """Check every network before the first is trained; runs of one seed share their data."""
    setups = {}
    datasets: dict[int, sources.Dataset] = {}
    for name, sub in sub_configs(config).items():
        setups[name] = position.prepare(sub, dataset=datasets.get(sub.seed), warn=warn)
        datasets[sub.seed] = setups[name].dataset
        probing.check(setups[name])
    return setups


def _write(config, folder, out, results, seconds, warn) -> Result:
    result = combine(config, folder, out, results, seconds)
    write_result(result, out)
    write_report(result, out, warn)
    return result


def _is_finished(folder: Path, config: PositionConfig) -> bool:
    if not (folder / "results.json").exists() or not (folder / "per_image.npz").exists():
        return False
    return not workdir.differences(read_result(folder).config, configs.to_dict(config))


def combine(
    config: ComparisonConfig,
    folder: Path,
    out: Path,
    results: dict[str, Result],
    seconds: float,
) -> Result:
    """One result from those of the runs (trained in `folder`, measured in `out`)."""
    rows = _combine_rows(config, out, results)
    first = next(iter(results.values()))
    name = first.title.split(" on ")[-1]
    return Result(
        title=f"Does the order of the pooled channels carry position? {name}",
        config=configs.to_dict(config),
        rows=rows,
        probes=_combine_probes(results),
        maps=_pick_maps(config, results),
        curves={n: read_events(folder / n) for n in results if n.endswith(f"seed{config.seed}")},
        environment=environment(seconds)
        | {"seconds_per_run": {n: r.environment["wall_seconds"] for n, r in results.items()}},
        notes=_sentences(rows),
    )


def _combine_rows(config: ComparisonConfig, folder: Path, results: dict[str, Result]) -> list[Row]:
    groups: dict[tuple[str, str, str], list[tuple[Row, np.ndarray]]] = {}
    for name, result in results.items():
        with np.load(folder / name / "per_image.npz") as scores:
            for i, row in enumerate(result.rows):
                key = (row.task, row.arm, row.checkpoint)
                groups.setdefault(key, []).append((row, scores[str(i)]))
    combined = []
    for (task, arm, checkpoint), members in groups.items():
        first = members[0][0]
        combined.append(
            measure.summarise_row(
                arm,
                task,
                checkpoint,
                np.concatenate([scores for _, scores in members]),
                steps=[step for row, _ in members for step in row.steps],
                chance=first.chance,
                predictions_per_image=first.num_predictions // first.num_images,
                bootstrap=config.eval.bootstrap,
            )
        )
    tasks: list[str] = list(config.tasks)
    return sorted(combined, key=lambda row: tasks.index(row.task))


def _combine_probes(results: dict[str, Result]) -> list[Probe]:
    """Mean over seeds; with several, the interval is the range of the seeds' intervals."""
    groups: dict[tuple[str, ...], list[Probe]] = {}
    for result in results.values():
        for probe in result.probes:
            key = (probe.network, probe.stage, probe.input, probe.probe, probe.target)
            groups.setdefault(key, []).append(probe)
    return [
        dataclasses.replace(
            members[0],
            accuracy=float(np.mean([p.accuracy for p in members])),
            low=min(p.low for p in members),
            high=max(p.high for p in members),
            num_seeds=len(members),
        )
        for members in groups.values()
    ]


def _pick_maps(config: ComparisonConfig, results: dict[str, Result]) -> dict:
    """The maps of the first location network that keeps its order, else of the first run."""
    for name, result in results.items():
        if name.startswith("location-") and "permutenet" not in name:
            return result.maps
    return next(iter(results.values())).maps


def _sentences(rows: list[Row]) -> list[str]:
    """What was seen, arm by arm, against chance: no more than the table says."""
    sentences = []
    for row in rows:
        if row.checkpoint != "best":
            continue
        beyond = "above" if row.low > row.chance else "below" if row.high < row.chance else "at"
        sentences.append(
            f"{row.task.capitalize()}, {row.arm}: {100 * row.accuracy:.1f} % "
            f"({100 * row.low:.1f} to {100 * row.high:.1f}), {beyond} chance "
            f"({100 * row.chance:.1f} %)."
        )
    return sentences
