"""The main question in one table: every head on every task, over several seeds."""

import dataclasses

import numpy as np

from gpool_jax.config import ComparisonConfig, PositionConfig, plain
from gpool_jax.experiments.experiment import Measured, Member
from gpool_jax.experiments.measures.lines import combine_probes, group, make_row
from gpool_jax.report import Probe, Result, Row
from gpool_jax.report.result import Maps


def members(config: ComparisonConfig) -> dict[str, PositionConfig]:
    """The runs of a comparison, by the name of their folder."""
    return {
        f"{task}-{head}-seed{seed}": PositionConfig(
            task=task,
            n=config.n,
            seed=seed,
            data=config.data,
            model=dataclasses.replace(config.model, head=head),
            train=config.train,
            eval=config.eval,
            probe=config.probe,
        )
        for seed in range(config.seed, config.seed + config.num_seeds)
        for task in config.tasks
        for head in config.heads
    }


def combine(config: ComparisonConfig, members: dict[str, Member]) -> Measured:
    """Put the rows and probes of all runs together, over their seeds."""
    rows = _combine_rows(config, members)
    probes = combine_probes(members, config.n, config.eval.bootstrap)
    data = next(iter(members.values())).result.title.split(" on ")[-1]
    result = Result(
        title=f"Does the order of the pooled channels carry position? {data}",
        config=plain.to_dict(config),
        rows=rows,
        probes=probes,
        maps=_pick_maps(members),
        curves={n: m.events for n, m in members.items() if n.endswith(f"seed{config.seed}")},
        notes=_sentences(rows) + _probe_sentences(probes),
    )
    return Measured(result)


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


def _sentences(rows: list[Row]) -> list[str]:
    """State each arm's accuracy against chance, no more than the table says."""
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
    """State what probes read from each frozen network with and without channel order."""
    by_target = {
        (p.network, p.target, p.input): p
        for p in probes
        if p.probe == "selected" and p.stage == "gap"
    }
    networks = list(dict.fromkeys(p.network for p in probes if p.stage == "gap"))
    sentences = [
        f"Probes of the frozen network ({network}), channels in order -> sorted: "
        + ", ".join(
            f"{target} {100 * by_target[(network, target, 'latent')].accuracy:.0f} -> "
            f"{100 * by_target[(network, target, 'sorted latent')].accuracy:.0f} %"
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
