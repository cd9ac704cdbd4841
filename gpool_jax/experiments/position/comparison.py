"""The main question in one table: every head on every task, over several seeds."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gpool_jax.config import ComparisonConfig, PositionConfig, checks, plain
from gpool_jax.data.images import load as sources
from gpool_jax.experiments import workdir
from gpool_jax.experiments.measures import probing
from gpool_jax.experiments.position import measure
from gpool_jax.experiments.position import rows as summary
from gpool_jax.experiments.position import training as position
from gpool_jax.experiments.training import Setup
from gpool_jax.report import Probe, Result, Row, read_result, write_report, write_result
from gpool_jax.report.environment import environment
from gpool_jax.train import processes
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


def run(
    config: ComparisonConfig, folder: Path, warn: Callable[[str], None] = print
) -> Result | None:
    """Train and evaluate every run that is not finished, then compare.

    Process 0 evaluates and compares; the others return None.

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
        results[name] = processes.alone(read_finished, run, setup.config)
        if processes.from_first(is_there, results[name]):
            continue
        start = time.perf_counter()
        position.train(setup, run, title=f"{number}/{len(setups)} {name}", warn=warn)
        results[name] = processes.alone(
            measure.evaluate_run, setup, run, run, started=start, warn=warn
        )
    seconds = time.perf_counter() - started
    return processes.alone(_write, config, folder, folder, results, seconds, warn)


def is_there(result: Result | None) -> bool:
    """Whether a run was finished before; said to all processes by process 0."""
    return result is not None


def evaluate(
    trained: ComparisonConfig,
    config: ComparisonConfig,
    folder: Path,
    out: Path,
    warn: Callable[[str], None] = print,
) -> Result:
    """Measure every run of a comparison again; see `measure.evaluate`."""
    started = time.perf_counter()
    checks.check(config)
    measure.check_overrides(trained, config)
    results = {}
    for name, setup in prepare_all(config, warn).items():
        results[name] = measure.evaluate_run(setup, folder / name, out / name, warn=warn)
    return _write(config, folder, out, results, time.perf_counter() - started, warn)


def prepare_all(config: ComparisonConfig, warn: Callable[[str], None]) -> dict[str, Setup]:
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


def read_finished(folder: Path, config: PositionConfig) -> Result | None:
    """The result of a run that was trained and measured as its config says; else None."""
    try:
        result = read_result(folder)
        # Through the dataclass: a field added since then has its default.
        measured = plain.to_dict(plain.from_dict(result.config))
    except (OSError, ValueError, TypeError, KeyError):
        return None  # not there, or cut short: measured again
    complete = all((folder / name).exists() for name in ("per_image.npz", "report.html"))
    same = not workdir.differences(measured, plain.to_dict(config))
    return result if complete and same else None


def combine(
    config: ComparisonConfig,
    folder: Path,
    out: Path,
    results: dict[str, Result],
    seconds: float,
) -> Result:
    """One result from those of the runs (trained in `folder`, measured in `out`)."""
    rows = _combine_rows(config, out, results)
    probes = combine_probes(results, out, config.n, config.eval.bootstrap)
    first = next(iter(results.values()))
    name = first.title.split(" on ")[-1]
    return Result(
        title=f"Does the order of the pooled channels carry position? {name}",
        config=plain.to_dict(config),
        rows=rows,
        probes=probes,
        maps=_pick_maps(config, results),
        curves={n: read_events(folder / n) for n in results if n.endswith(f"seed{config.seed}")},
        environment=environment(seconds)
        | {"seconds_per_run": {n: r.environment["wall_seconds"] for n, r in results.items()}},
        notes=_sentences(rows) + _probe_sentences(probes),
    )


def _combine_rows(config: ComparisonConfig, folder: Path, results: dict[str, Result]) -> list[Row]:
    """Each arm at each checkpoint over its seeds, which saw the same test images."""
    combined = []
    for (task, arm, checkpoint), members in _group(
        folder, results, "row", lambda r: r.rows, lambda row: (row.task, row.arm, row.checkpoint)
    ).items():
        first = members[0][0]
        combined.append(
            summary.summarise_row(
                arm,
                task,
                checkpoint,
                np.concatenate([scores for _, scores in members]),
                steps=[step for row, _ in members for step in row.steps],
                chance=first.chance,
                answers_per_image=first.num_predictions // first.num_images,
                bootstrap=config.eval.bootstrap,
            )
        )
    tasks: list[str] = list(config.tasks)
    return sorted(combined, key=lambda row: tasks.index(row.task))


def combine_probes(results: dict[str, Result], folder: Path, n: int, bootstrap: int) -> list[Probe]:
    """Each read-out of each network over its seeds.

    Args:
      results: of the runs, by the name of their sub-folder.
      folder: of the sub-folders, which hold per_image.npz.
      n: cells per side of the canvases.
      bootstrap: draws.
    """
    names = ("network", "stage", "input", "probe", "target")
    combined = []
    for key, members in _group(
        folder,
        results,
        "probe",
        lambda r: r.probes,
        lambda probe: tuple(getattr(probe, name) for name in names),
    ).items():
        facts = dict(zip(names, key, strict=True)) | {"chance": members[0][0].chance}
        combined.append(
            summary.summarise_probe(
                facts,
                np.concatenate([scores for _, scores in members]),
                answers_per_image=n**2,
                bootstrap=bootstrap,
            )
        )
    return combined


def _group(
    folder: Path,
    results: dict[str, Result],
    kind: str,
    lines: Callable[[Result], list],
    key: Callable[[Any], tuple],
) -> dict[tuple, list[tuple[Any, np.ndarray]]]:
    """Lines of all runs that differ in nothing but the seed, each with its scores [1, N]."""
    groups: dict[tuple, list[tuple[Any, np.ndarray]]] = {}
    for name, result in results.items():
        with np.load(folder / name / "per_image.npz") as scores:
            for i, line in enumerate(lines(result)):
                groups.setdefault(key(line), []).append((line, scores[f"{kind}{i}"]))
    return groups


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


def _probe_sentences(probes: list[Probe]) -> list[str]:
    """What each frozen network gives away with and without the order of its channels."""
    found = {
        (p.network, p.target, p.input): p
        for p in probes
        if p.probe == "selected" and p.stage == "gap"
    }
    networks = list(dict.fromkeys(p.network for p in probes if p.stage == "gap"))
    sentences = [
        f"Read from the frozen network ({network}), in order -> sorted, which has no order: "
        + ", ".join(
            f"{target} {100 * found[(network, target, 'latent')].accuracy:.0f} -> "
            f"{100 * found[(network, target, 'sorted latent')].accuracy:.0f} %"
            for target in ("cell", "class")
        )
        + "."
        for network in networks
    ]
    if any("PermuteNet" in network for network in networks):
        sentences.append(
            "A PermuteNet learns slowly: after a short training its accuracy is a lower bound on "
            "what can be learnt without the order."
        )
    return sentences
