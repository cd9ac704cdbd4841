"""Tables of ranked and removed channels, for the terminal and the pages."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

from gpool_jax.report.channel_result import (
    NONE,
    REFIT,
    Agreement,
    Balance,
    Removal,
    Stability,
    select,
    table_actions,
)
from gpool_jax.report.quantities import Block
from gpool_jax.report.result import Result

_ACTIONS = {
    "zero": "removed (set to zero)",
    "mean": "removed (set to their mean)",
    "keep": "kept, the rest set to zero",
}


# What is subtracted, by its first word.
_CONTROLS = ("random", "matched", "class")


def channel_blocks(result: Result) -> list[Block]:
    """Make every table about channels, in reading order."""
    removals = result.removals
    blocks: list[Block] = []
    if removals:
        blocks.append(_intact(select(removals, ranking=NONE)))
    if any(r.ranking != NONE for r in removals):
        blocks += _removed(result)
    if result.balances:
        blocks.append(_balances(result.balances))
    if result.agreements:
        blocks.append(_agreements(result.agreements))
    if result.stability:
        blocks.append(_stability(result.stability))
    return blocks


def _removed(result: Result) -> list[Block]:
    """Tables of what removals do: each for every fill, one below the other."""
    maps = result.maps
    removals = _without_choice(result.removals, maps["num_channels"])
    quantity, count, fills = removals[0].quantity, maps["table_count"], table_actions(maps)
    whole = select(removals, measured="overall", measure="value")
    blocks: list[Block] = []
    for name in _unique(r.quantity for r in whole):
        if not name.startswith(("iou_", "pixel_")) and not name.endswith(REFIT):
            # The first quantity also with channels kept.
            for action in _ACTIONS if name == quantity else fills:
                blocks += _curves(select(whole, quantity=name), action)
    blocks += _probes(select(whole, count=0), select(whole, count=count), fills)
    hows = {f: f"{count} of {maps['num_channels']} channels {_ACTIONS[f]}" for f in fills}
    shown = {f: select(removals, quantity=quantity, action=f, count=count) for f in fills}
    for fill, how in hows.items():
        blocks += _regions(select(shown[fill], measure="drop", versus=None), how)
    for fill, how in hows.items():
        blocks += _selectivity(select(shown[fill], measure="selectivity"), how)
    classes = [r for r in whole if r.quantity.startswith("iou_")]
    intact = {r.quantity: r for r in select(classes, ranking=NONE)}
    for fill, how in hows.items():
        blocks += _classes(intact, select(classes, action=fill, count=count), how)
    return blocks


def _without_choice(removals: list[Removal], num_channels: int) -> list[Removal]:
    """Take the interval from channels matched to half of all: every draw is the other half."""
    return [
        dataclasses.replace(r, low=math.nan, high=math.nan)
        if r.ranking.startswith("matched") and 2 * r.count >= num_channels
        else r
        for r in removals
    ]


def _unique(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def _interval(r: Removal | None) -> str:
    """Format a value and its 95 % interval in percent, or in signed points for a difference."""
    if r is None or r.value != r.value:
        return "-"
    sign = "" if r.measure == "value" else "+"
    if math.isnan(r.low):
        beside = "the other half" if r.ranking.startswith("matched") else "no interval"
        return f"{100 * r.value:{sign}.1f} ({beside})"
    return f"{100 * r.value:{sign}.1f} ({100 * r.low:{sign}.1f} to {100 * r.high:{sign}.1f})"


def _intact(removals: list[Removal]) -> Block:
    found = {(r.quantity, r.measured): r for r in removals}
    regions = _unique(r.measured for r in removals)
    lines = []
    for quantity in _unique(r.quantity for r in removals):
        first = found[quantity, "overall"]
        title = first.title + (f" (chance {100 * first.chance:.1f})" if first.chance else "")
        cells = []
        for r in (found.get((quantity, region)) for region in regions):
            classes = f", {r.num_classes} classes" if r is not None and r.num_classes else ""
            cells.append(_interval(r) + classes)
        lines.append((title, *cells, str(first.num_images)))
    return "Nothing removed, %", ("quantity", *regions, "images"), lines


def _curves(removals: list[Removal], action: str) -> list[Block]:
    chosen = select(removals, action=action)
    if not chosen:
        return []
    counts = sorted({r.count for r in chosen})
    found = {(r.ranking, r.region, r.count): r for r in chosen}
    lines = []
    for ranking, region in _unique((r.ranking, r.region) for r in chosen):
        cells = [_interval(found.get((ranking, region, count))) for count in counts]
        draws = max(r.num_draws for r in select(chosen, ranking=ranking, region=region))
        lines.append((ranking, region, *cells, str(draws)))
    what = "kept" if action == "keep" else "removed"
    header = ("channels", "for", *(f"{count} {what}" for count in counts), "draws")
    title = f"{chosen[0].title}, whole image, %: first channels {_ACTIONS[action]}"
    return [(title, header, lines)]


def _probes(intact: list[Removal], chosen: list[Removal], fills: list[str]) -> list[Block]:
    """Probes as they were fitted with every channel in place, and fitted again without some."""
    names = _unique(r.quantity.removesuffix(REFIT) for r in chosen if r.quantity.endswith(REFIT))
    if not names:
        return []
    probes = [r for r in (*intact, *chosen) if r.quantity.removesuffix(REFIT) in names]
    found = {(r.ranking, r.region, r.action, r.quantity): r for r in probes}
    lines = []
    for ranking, region in _unique((r.ranking, r.region) for r in probes):
        cells = []
        for name in names:
            actions = [NONE] * len(fills) if ranking == NONE else fills
            cells += [_interval(found.get((ranking, region, action, name))) for action in actions]
            # It does not see what removed channels are set to.
            cells.append(_interval(found.get((ranking, region, actions[0], name + REFIT))))
        lines.append((ranking, region, *cells))
    columns = [
        f"{name}, {how}"
        for name in names
        for how in (*(f"as fitted before ({fill})" for fill in fills), "fitted again")
    ]
    title = f"Linear probes, whole image, %: {chosen[0].count} channels removed"
    return [(title, ("channels", "for", *columns), lines)]


def _regions(chosen: list[Removal], how: str) -> list[Block]:
    """Drop by each attack (rows) in each region (columns), in points."""
    if not chosen:
        return []
    # The drop outside a region is part of the selectivity, in the next table.
    regions = _unique(r.measured for r in chosen if not r.measured.startswith("outside "))
    found = {(r.ranking, r.region, r.measured): r for r in chosen}
    lines = [
        (ranking, region, *(_interval(found[ranking, region, m]) for m in regions))
        for ranking, region in _unique((r.ranking, r.region) for r in chosen)
    ]
    title = f"Drop of {chosen[0].title} in points by measured region: {how}"
    return [(title, ("channels", "attacked region", *regions), lines)]


def _selectivity(chosen: list[Removal], how: str) -> list[Block]:
    """Drop inside the attacked region minus drop outside, also minus the controls'."""
    if not chosen:
        return []
    found = {(r.ranking, r.measured, (r.versus or "").split(" ")[0]): r for r in chosen}
    controls = [name for name in _CONTROLS if any(key[2] == name for key in found)]
    lines = []
    for attack in _unique((r.ranking, r.measured) for r in chosen):
        cells = [_interval(found.get((*attack, versus))) for versus in ("", *controls)]
        first = found[*attack, ""]
        lines.append((*attack, *cells, str(first.num_images), str(first.num_draws)))
    minus = (f"minus {control}" for control in controls)
    columns = ("inside - outside", *minus, "images", "draws")
    title = f"Region selectivity of {chosen[0].title} in points: {how}"
    return [(title, ("channels", "attacked region", *columns), lines)]


def _classes(intact: Mapping[str, Removal], chosen: list[Removal], how: str) -> list[Block]:
    """IoU of each class over the whole image, for the whole image's rankings and controls."""
    if not chosen:
        return []
    found = {(r.quantity, r.ranking): r for r in chosen}
    rankings = _unique(r.ranking for r in chosen)
    lines = []
    for quantity in _unique(r.quantity for r in chosen):
        cells = [_interval(found[quantity, ranking]) for ranking in rankings]
        lines.append((intact[quantity].title, _interval(intact[quantity]), *cells))
    title = f"IoU of each class, whole image, %: {how}"
    return [(title, ("class", "none removed", *rankings), lines)]


def _balances(balances: list[Balance]) -> Block:
    """Standardised differences of matched sets; beyond 0.1 to 0.25 they are not alike."""
    lines = []
    for b in balances:
        cells = ("-" if v != v else f"{v:+.2f}" for v in (b.mean, b.variance))
        lines.append((b.ranking, b.region, *cells, str(b.num_draws), str(b.num_refused)))
    columns = ("log mean", "log variance", "matched sets", "refused")
    title = f"Balance, standardised difference of {balances[0].count} channels and their matches"
    return title, ("channels", "for", *columns), lines


def _overlaps(item: Agreement | Stability, counts: list[str]) -> list[str]:
    return [f"{100 * item.overlap[c]:.0f}" if c in item.overlap else "-" for c in counts]


def _agreements(agreements: list[Agreement]) -> Block:
    counts = _unique(count for a in agreements for count in a.overlap)
    lines = []
    for a in agreements:
        correlation = "-" if a.correlation is None else f"{a.correlation:+.2f}"
        lines.append((a.region or "-", a.first, a.second, correlation, *_overlaps(a, counts)))
    chances = {c: 100 * min(1.0, int(c) / agreements[0].num_channels) for c in counts}
    overlaps = (f"overlap at {c}, % (chance {chance:.0f})" for c, chance in chances.items())
    header = ("region", "first", "second", "rank correlation", *overlaps)
    return "How similar rankings are", header, lines


def _stability(stability: list[Stability]) -> Block:
    counts = _unique(count for s in stability for count in s.overlap)
    lines = []
    for s in stability:
        correlation = f"{s.correlation:+.2f} ({s.low:+.2f} to {s.high:+.2f})"
        cells = (correlation, *_overlaps(s, counts), str(s.num_images))
        lines.append((s.region, s.method, *cells))
    overlaps = (f"overlap at {c}, %" for c in counts)
    header = ("region", "ranking", "rank correlation", *overlaps, "images")
    return "How similar a ranking is to itself on resampled images", header, lines
