"""The tables of ranked and removed channels, over the training seeds of one network."""

from pathlib import Path

import numpy as np

from gpool_jax.report import Result, read_result
from gpool_jax.report.channel_result import NONE, Removal, select

Lines = list[tuple[str, ...]]


def read_seeds(folder: Path) -> list[Result]:
    """The attacks `seed*/results.json` of a folder."""
    return [read_result(path.parent) for path in sorted(folder.glob("seed*/results.json"))]


def curves(results: list[Result], quantity: str) -> Lines:
    """A quantity over the whole image or canvas, against how many channels are removed.

    For the rankings of the whole, with every fill; those of regions are in the results.
    """
    chosen = _chosen(results[0], quantity, measure="value", measured="overall", region="overall")
    counts = sorted({r.count for r in chosen})
    intact = _same(results, _intact(results[0], quantity, "overall"))
    lines = [("channels removed", "set to", *map(str, counts))]
    lines.append(("none", "-", *[_mean(intact)] * len(counts)))
    for ranking, fill in dict.fromkeys((r.ranking, r.action) for r in chosen):
        cells = []
        for count in counts:
            found = select(chosen, ranking=ranking, action=fill, count=count)
            cells.append(_mean(_same(results, found[0])) if found else "-")
        lines.append((ranking, fill, *cells))
    return lines


def regions(results: list[Result], quantity: str) -> Lines:
    """What each attack (rows) costs in each region (columns), in points."""
    count = results[0].maps["table_count"]
    drops = _chosen(results[0], quantity, measure="drop", count=count)
    chosen = [r for r in select(drops, versus=None) if not r.measured.startswith("outside")]
    names = list(dict.fromkeys(r.measured for r in chosen))
    lines = [
        ("channels removed", "set to", "ranked for", *names, "whole, minus random", "minus matched")
    ]
    for attack in dict.fromkeys((r.ranking, r.action, r.region) for r in chosen):
        ranking, fill, region = attack
        own = select(drops, ranking=ranking, action=fill, region=region)
        cells = [_mean(_same(results, select(own, measured=n, versus=None)[0])) for n in names]
        for versus in ("random", f"matched to {ranking}"):
            beyond = select(own, measured="overall", versus=versus)
            cells.append(_each(_same(results, beyond[0])) if beyond else "-")
        lines.append((*attack, *cells))
    return lines


def selectivity(results: list[Result], quantity: str) -> Lines:
    """Drop inside the attacked region minus drop outside, also minus the controls'."""
    count = results[0].maps["table_count"]
    chosen = _chosen(results[0], quantity, measure="selectivity", count=count)
    columns = ("inside - outside", "minus random", "minus matched")
    lines = [("channels removed", "set to", "attacked", *columns)]
    for attack in dict.fromkeys((r.ranking, r.action, r.measured) for r in chosen):
        ranking, fill, region = attack
        own = select(chosen, ranking=ranking, action=fill, measured=region)
        cells = []
        for versus in (None, "random", f"matched to {ranking}"):
            found = select(own, versus=versus)
            cells.append(_each(_same(results, found[0])) if found else "-")
        lines.append((*attack, *cells))
    return lines


def _chosen(result: Result, quantity: str, **wanted: object) -> list[Removal]:
    """What was removed, whatever it was set to; what was kept alone is in the results."""
    chosen = select(result.removals, quantity=quantity, **wanted)
    return [r for r in chosen if r.action not in (NONE, "keep")]


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
