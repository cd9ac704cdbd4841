"""The main question in one table: every head on every task, over several seeds."""

import dataclasses
import itertools

import numpy as np

from gpool_jax.config import ComparisonConfig, PositionConfig, plain
from gpool_jax.experiments.experiment import Measured, Member
from gpool_jax.experiments.measures.lines import combine_probes, group, make_row
from gpool_jax.experiments.position import sentences
from gpool_jax.experiments.position.rows import group_size
from gpool_jax.experiments.position.training import network_name
from gpool_jax.report import Probe, Result, Row
from gpool_jax.report.result import Maps


def members(config: ComparisonConfig) -> dict[str, PositionConfig]:
    """The runs of a comparison, by the name of their folder."""
    seeds = range(config.seed, config.seed + config.num_seeds)
    varied = itertools.product(
        seeds,
        config.networks or (config.model.name,),
        config.paddings or (config.model.padding,),
        config.ns or (config.n,),
        config.tasks,
        config.heads,
    )
    runs = {}
    for seed, network, padding, n, task, head in varied:
        model = dataclasses.replace(config.model, name=network, padding=padding, head=head)
        run = PositionConfig(
            task=task,
            n=n,
            cells=config.cells,
            seed=seed,
            data=config.data,
            model=model,
            train=config.train,
            eval=config.eval,
            probe=config.probe,
        )
        parts = [*_network(config, run), *([f"n{n}"] if config.ns else [])]
        runs["-".join([task, head, *parts, f"seed{seed}"])] = run
    return runs


def _network(config: ComparisonConfig, run: PositionConfig) -> list[str]:
    """List the names that tell a run's network from others of the comparison with its head."""
    name, padding = run.model.name, run.model.padding
    return [*([name] if config.networks else []), *([padding] if config.paddings else [])]


def _suffix(config: ComparisonConfig, run: PositionConfig) -> str:
    """Name everything that varies beside head and task, for the end of an arm's name."""
    parts = [*_network(config, run), *([_column(run.n)] if config.ns else [])]
    return "".join(f", {part}" for part in parts)


def _column(n: int) -> str:
    return f"n = {n}"


def combine(config: ComparisonConfig, finished: dict[str, Member]) -> Measured:
    """Put the rows and probes of all finished runs together, over their seeds."""
    runs = members(config)
    named = {name: _with_varied(config, runs[name], run) for name, run in finished.items()}
    rows = _combine_rows(config, named)
    untrained = {
        f"untrained {network_name(run)}, {run.task}{_suffix(config, run)}": (
            f"untrained{_suffix(config, run)}"
        )
        for run in runs.values()
    }
    probes = _once(combine_probes(named, config.eval.bootstrap), untrained)
    data = next(iter(finished.values())).result.title.split(" on ")[-1]
    if config.ns:
        data = data.rpartition(", n = ")[0]
    table = _tabulate(config, rows)
    say_arms = sentences.count_rows if table else sentences.say_rows
    result = Result(
        title=f"Does the order of the pooled channels carry position? {data}",
        config=plain.to_dict(config),
        rows=rows,
        probes=probes,
        maps=_pick_maps(named) | _cells_of_all(named) | table,
        curves={n: m.events for n, m in finished.items() if n.endswith(f"seed{config.seed}")},
        notes=sentences.answer(rows) + sentences.say_probes(probes) + say_arms(rows),
    )
    return Measured(result)


def _with_varied(config: ComparisonConfig, run: PositionConfig, member: Member) -> Member:
    """A run whose arms and networks are told from those of all other runs by their names."""
    suffix, old = _suffix(config, run), member.result
    maps = old.maps.copy()
    for title in ("per_cell_of", "confusion_of"):
        if title in maps:
            maps[title] += suffix
    result = dataclasses.replace(
        old,
        rows=[dataclasses.replace(row, arm=row.arm + suffix) for row in old.rows],
        probes=[dataclasses.replace(each, network=each.network + suffix) for each in old.probes],
        maps=maps,
    )
    return dataclasses.replace(member, result=result)


def _tabulate(config: ComparisonConfig, rows: list[Row]) -> Maps:
    """The best checkpoints' accuracies, a line for each arm and a column for each n."""
    if not config.ns:
        return Maps()
    header = ["task", "arm", *map(_column, config.ns)]
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        if row.checkpoint == "best":
            arm, _, column = row.arm.rpartition(", ")
            found.setdefault((row.task, arm), {})[column] = row
    table = [header]
    for task in config.tasks:
        lines = {arm: columns for (of, arm), columns in found.items() if of == task}
        chances = {c: row.chance for columns in lines.values() for c, row in columns.items()}
        known = [f"{100 * chances[c]:.1f}" if c in chances else "" for c in header[2:]]
        table += [[task, "chance", *known]] if lines else []
        for arm, columns in lines.items():
            cells = [_cell(columns[c]) if c in columns else "" for c in header[2:]]
            table.append([task, arm, *cells])
    return Maps(table=table)


def _cell(row: Row) -> str:
    """An accuracy in percent, its interval, and over how many seeds."""
    seeds = "images only" if row.num_seeds == 1 else f"{row.num_seeds} seeds"
    return f"{100 * row.accuracy:.1f} ({100 * row.low:.1f} to {100 * row.high:.1f}; {seeds})"


def _combine_rows(config: ComparisonConfig, members: dict[str, Member]) -> list[Row]:
    """Each arm at each checkpoint over its seeds, which saw the same test images."""
    groups = group(members, "row", ("task", "arm", "checkpoint"))
    combined = []
    for (task, arm, checkpoint), lines in groups.items():
        first = lines[0][0]
        combined.append(
            make_row(
                np.concatenate([scores for _, scores in lines]),
                arm=arm,
                task=task,
                checkpoint=checkpoint,
                steps=[step for row, _ in lines for step in row.steps],
                chance=first.chance,
                predictions_per_image=first.num_predictions // first.num_images,
                bootstrap=config.eval.bootstrap,
                group_size=group_size(arm),
            )
        )
    tasks: list[str] = list(config.tasks)
    return sorted(combined, key=lambda row: tasks.index(row.task))


def _pick_maps(members: dict[str, Member]) -> Maps:
    """The maps of the first location network that keeps its order, else of the first run."""
    for name, member in members.items():
        if name.startswith("location-") and "permutenet" not in name:
            return member.result.maps
    return next(iter(members.values())).result.maps


def _cells_of_all(members: dict[str, Member]) -> Maps:
    """The accuracy by cell of each network, a mean over its seeds."""
    cells: dict[str, list[list[list[float]]]] = {}
    for member in members.values():
        maps = member.result.maps
        cells.setdefault(maps["per_cell_of"], []).append(maps["per_cell"])
    return Maps(per_cells={name: np.mean(each, axis=0).tolist() for name, each in cells.items()})


def _once(probes: list[Probe], untrained: dict[str, str]) -> list[Probe]:
    """Keep the probes of an untrained network once: heads and tasks share it.

    `untrained` is the name of each such network, to one without head and task. Of those of one
    name the one of most seeds is kept: some heads may be trained for fewer so far.
    """
    found: dict[tuple[str, ...], Probe] = {}
    for probe in probes:
        network = untrained.get(probe.network, probe.network)
        key = network, probe.stage, probe.input, probe.probe, probe.target
        if key not in found or probe.num_seeds > found[key].num_seeds:
            found[key] = dataclasses.replace(probe, network=network)
    return list(found.values())
