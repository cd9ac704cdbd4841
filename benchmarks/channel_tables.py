"""The README's tables of ranked and removed channels, over the training seeds of one network."""

from pathlib import Path

import numpy as np

from gpool_jax.report import Result, read_result
from gpool_jax.report.channel_result import NONE, Removal, select

Lines = list[tuple[str, ...]]


def read_seeds(folder: Path) -> list[Result]:
    """The attacks `seed*/results.json` of a folder."""
    return [read_result(path.parent) for path in sorted(folder.glob("seed*/results.json"))]


def curves(results: list[Result], quantity: str) -> Lines:
    """A quantity over the whole image or canvas, against how many channels are put to zero.

    For the rankings of the whole; those of regions are in the results.
    """
    chosen = _chosen(
        results[0], quantity, measure="value", action="zero", measured="overall", region="overall"
    )
    counts = sorted({r.count for r in chosen})
    intact = _same(results, _intact(results[0], quantity, "overall"))
    lines = [("channels set to zero", *map(str, counts))]
    lines.append(("none", *[_mean(intact)] * len(counts)))
    for ranking in dict.fromkeys(r.ranking for r in chosen):
        cells = []
        for count in counts:
            found = [r for r in chosen if (r.ranking, r.count) == (ranking, count)]
            cells.append(_mean(_same(results, found[0])) if found else "-")
        lines.append((ranking, *cells))
    return lines


def regions(results: list[Result], quantity: str) -> Lines:
    """What each attack (rows) costs in each region (columns), in points."""
    count = results[0].maps["table_count"]
    chosen = _chosen(results[0], quantity, measure="drop", action="zero", count=count, versus=None)
    chosen = [r for r in chosen if not r.measured.startswith("outside")]
    names = list(dict.fromkeys(r.measured for r in chosen))
    lines = [("channels set to zero", "ranked for", *names, "whole, minus random", "minus matched")]
    for ranking, region in dict.fromkeys((r.ranking, r.region) for r in chosen):
        row = {r.measured: r for r in chosen if (r.ranking, r.region) == (ranking, region)}
        cells = [_mean(_same(results, row[name])) for name in names]
        for versus in ("random", f"matched to {ranking}"):
            beyond = _chosen(
                results[0],
                quantity,
                measure="drop",
                action="zero",
                count=count,
                versus=versus,
                ranking=ranking,
                region=region,
                measured="overall",
            )
            cells.append(_each(_same(results, beyond[0])) if beyond else "-")
        lines.append((ranking, region, *cells))
    return lines


def selectivity(results: list[Result], quantity: str) -> Lines:
    """Drop inside the attacked region minus drop outside, also minus the controls'."""
    count = results[0].maps["table_count"]
    chosen = _chosen(results[0], quantity, measure="selectivity", action="zero", count=count)
    lines = [
        ("channels set to zero", "attacked", "inside - outside", "minus random", "minus matched")
    ]
    for ranking, region in dict.fromkeys((r.ranking, r.measured) for r in chosen):
        cells = []
        for versus in (None, "random", f"matched to {ranking}"):
            found = [
                r for r in chosen if (r.ranking, r.measured, r.versus) == (ranking, region, versus)
            ]
            cells.append(_each(_same(results, found[0])) if found else "-")
        lines.append((ranking, region, *cells))
    return lines


def _chosen(result: Result, quantity: str, **wanted: object) -> list[Removal]:
    chosen = select(result.removals, quantity=quantity, **wanted)
    return [r for r in chosen if r.ranking != NONE]


def _intact(result: Result, quantity: str, measured: str) -> Removal:
    return select(result.removals, quantity=quantity, measured=measured, ranking=NONE)[0]


def _same(results: list[Result], wanted: Removal) -> list[Removal]:
    """The same number of every seed."""
    names = ("ranking", "region", "action", "count", "measured", "measure", "versus", "quantity")
    key = {name: getattr(wanted, name) for name in names}
    return [select(result.removals, **key)[0] for result in results]


def _sign(removal: Removal) -> str:
    return "" if removal.measure == "value" else "+"


def _mean(removals: list[Removal]) -> str:
    """Mean over seeds; of controls also the range of the draws, of all seeds."""
    sign = _sign(removals[0])
    mean = f"{100 * np.mean([r.value for r in removals]):{sign}.1f}"
    if removals[0].num_draws > 1:
        low, high = min(r.low for r in removals), max(r.high for r in removals)
        return f"{mean} ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"
    return mean


def _each(removals: list[Removal]) -> str:
    """Every seed with its own interval."""
    sign = _sign(removals[0])
    return "; ".join(
        f"{100 * r.value:{sign}.1f} ({100 * r.low:{sign}.1f} to {100 * r.high:{sign}.1f})"
        for r in removals
    )
