"""Figures of ranked and removed channels."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from gpool_jax.report.canvas import (
    PALETTE,
    Drawn,
    colours_of,
    legend_below,
    new_figure,
    new_panels,
    open_sides,
)
from gpool_jax.report.channel_result import NONE, REFIT, Agreement, Removal, select, table_actions
from gpool_jax.report.result import Result

_CONTROLS = {"random": "#7a7a7a", "matched": "#c0a060"}
_DONE = {"zero": "set to zero", "mean": "set to their mean", "keep": "the only ones kept"}


def draw_removals(result: Result) -> Iterator[Drawn]:
    """Draw quantities with channels removed."""
    removals = result.removals
    removed = [r for r in removals if r.count]
    if not removed:
        return
    fills = table_actions(result.maps)
    count, channels = result.maps["table_count"], result.maps["num_channels"]
    quantities = [removals[0].quantity]
    if quantities == ["head"]:  # a classifier: what the paper's claim is about, side by side
        quantities = list(dict.fromkeys(r.quantity for r in removed if r.measure == "value"))
        quantities = [q for q in quantities if not q.endswith(REFIT)]
    for quantity in quantities:
        yield _draw_removal_curves(select(removals, quantity=quantity, measure="value"))
    details = [q for q in dict.fromkeys(r.quantity for r in removed) if q.startswith("iou_")]
    for fill in fills if details else ():
        yield _draw_class_curves(removals, fill, details)
    for fill in fills:
        chosen = select(removed, measure="selectivity", action=fill, count=count, versus=None)
        if chosen:
            caption = f"Region selectivity: {count} of {channels} channels {_DONE[fill]}."
            yield "Does it hit the region alone?", caption, _draw_selectivity(chosen)


def draw_rankings(result: Result) -> Iterator[Drawn]:
    """Draw agreement and scores of rankings."""
    agreements = [a for a in result.agreements if a.region and a.correlation is not None]
    if agreements:
        caption = "Rank correlation of the methods' scores, by region."
        yield "Do the methods agree?", caption, _draw_agreement(agreements)
    if scores := result.maps.get("scores"):
        caption = "Scores of each ranking, best first."
        yield "How many channels stand out?", caption, _draw_scores(scores)


def _draw_removal_curves(chosen: list[Removal]) -> Drawn:
    """Draw a quantity against the number of channels: a row per action, a panel per region.

    Rankings are lines with their intervals; controls are bands that hold 95 % of the draws.
    """
    actions = [a for a in ("zero", "mean", "keep") if any(r.action == a for r in chosen)]
    regions = list(dict.fromkeys(r.region for r in chosen if r.ranking not in (NONE, "random")))
    num_regions = len({r.region for r in chosen if r.count})
    figure = new_figure(max(4.6, 2.9 * num_regions), 0.8 + 2.1 * len(actions))
    grid = figure.subplots(len(actions), len(regions), squeeze=False, sharey=True)
    intact = {r.measured: r for r in chosen if r.ranking == NONE}
    for row, action in zip(grid, actions, strict=True):
        for axes, region in zip(row, regions, strict=True):
            _draw_panel(axes, select(chosen, action=action), region, intact)
            axes.set_title(f"attack on {region}, measured there", fontsize=8)
            axes.set_xlabel("channels kept" if action == "keep" else "channels removed", fontsize=8)
        row[0].set_ylabel(f"{chosen[0].title}, %\n({_DONE[action]})", fontsize=8)
    legend_below(figure, grid.ravel(), ncols=5, fontsize=7)
    caption = (
        f"{chosen[0].title} in the attacked region against the number of channels. Lines: "
        "rankings, with 95 % intervals over images. Bands: 95 % of the random and of the matched "
        "sets. Dotted: nothing removed."
    )
    return "What depends on the channels that a ranking puts first?", caption, figure


def _draw_panel(axes: Any, removals: list[Removal], region: str, intact: dict) -> None:
    there = [r for r in select(removals, measured=region) if r.region in (region, "overall")]
    names = list(dict.fromkeys(r.ranking for r in there if r.region == region))
    lines = [n for n in names if not n.startswith(("random", "matched", "class"))]
    bands = ["random", *(n for n in names if n.startswith("matched"))]
    colours = colours_of([*lines, "class"])
    for name in dict.fromkeys([*bands, "class", *lines]):
        own = "overall" if name in ("random", "class") else region
        points = sorted(select(there, ranking=name, region=own), key=lambda r: r.count)
        if not points:
            continue
        x = [p.count for p in points]
        low, high = ([100 * getattr(p, end) for p in points] for end in ("low", "high"))
        control = name.split(" ")[0]
        if control in _CONTROLS:
            dark = 0.3 if control == "random" else 0.12
            label = "random" if control == "random" else "matched, one band per ranking"
            axes.fill_between(x, low, high, color=_CONTROLS[control], alpha=dark, label=label, lw=0)
            continue
        own_colour = colours[name]
        value = [100 * p.value for p in points]
        axes.plot(x, value, "o-", ms=3, lw=1.2, color=own_colour, label=name)
        axes.fill_between(x, low, high, color=own_colour, alpha=0.15, lw=0)
    if region in intact:
        axes.axhline(100 * intact[region].value, color="black", linestyle=":", linewidth=1)
    axes.set_xscale("log", base=2)
    open_sides([axes])


def _draw_selectivity(chosen: list[Removal]) -> Any:
    """Draw drop inside minus drop outside the attacked region, controls below their ranking."""
    regions = list(dict.fromkeys(r.measured for r in chosen))
    bars = len({r.ranking for r in chosen})
    titles, width = [f"attack on {region}" for region in regions], max(5.0, 4.0 * len(regions))
    figure, panels = new_panels(titles, width, 1.0 + 0.3 * bars, sharex=True)
    for axes, region in zip(panels, regions, strict=True):
        members = select(chosen, measured=region)
        for i, r in enumerate(members):
            bar_colour = _CONTROLS.get(r.ranking.split(" ")[0], PALETTE[2])
            axes.barh(i, 100 * r.value, 0.65, color=bar_colour)
            axes.plot([100 * r.low, 100 * r.high], [i, i], color="black", linewidth=1.2)
        axes.set_yticks(range(len(members)), [r.ranking for r in members], fontsize=7)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.invert_yaxis()
        axes.set_xlabel("drop inside - outside, points", fontsize=8)
    return figure


def _draw_agreement(agreements: list[Agreement]) -> Any:
    regions = list(dict.fromkeys(a.region for a in agreements))
    figure = new_figure(max(4.5, 3.6 * len(regions)), 3.6)
    panels = figure.subplots(1, len(regions), squeeze=False)[0]
    for axes, region in zip(panels, regions, strict=True):
        members = [a for a in agreements if a.region == region]
        names = list(dict.fromkeys(n for a in members for n in (a.first, a.second)))
        matrix = np.eye(len(names))
        for a in members:
            i, j = names.index(a.first), names.index(a.second)
            matrix[i, j] = matrix[j, i] = a.correlation
        image = axes.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r")
        for (i, j), value in np.ndenumerate(matrix):
            text = "white" if abs(value) > 0.6 else "black"
            axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=6, color=text)
        axes.set_xticks(range(len(names)), names, fontsize=7, rotation=60, ha="right")
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.set_title(region, fontsize=9)
    figure.colorbar(image, ax=panels, label="Spearman's correlation", shrink=0.8)
    return figure


def _draw_scores(scores: dict[str, list[float]]) -> Any:
    """Draw each ranking's scores in its own order, as shares of the largest."""
    pairs = {name: tuple(name.rsplit(" ", 1)) for name in scores}
    regions = list(dict.fromkeys(region for _, region in pairs.values()))
    methods = list(dict.fromkeys(method for method, _ in pairs.values()))
    colours = colours_of(methods)
    figure, panels = new_panels(regions, max(5.0, 3.2 * len(regions)), 3.4, sharey=True)
    for name, (method, region) in pairs.items():
        axes, values = panels[regions.index(region)], np.array(scores[name])
        x, line = np.arange(1, len(values) + 1), colours[method]
        share = values / (np.abs(values).max() or 1.0)
        axes.plot(x, share, color=line, linewidth=1.2, label=method)
    for axes in panels:
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set_xscale("log")
        axes.set_xlabel("position in the ranking", fontsize=8)
    panels[0].set_ylabel("score, share of the largest", fontsize=8)
    legend_below(figure, panels, ncols=4)
    return figure


def _draw_class_curves(removals: list[Removal], action: str, names: list[str]) -> Drawn:
    rows = -(-len(names) // 4)
    figure = new_figure(9.5, 0.9 + 1.6 * rows)
    grid = figure.subplots(rows, 4, squeeze=False, sharex=True).ravel()
    for axes in grid[len(names) :]:
        axes.axis("off")
    intact = {r.quantity: r for r in select(removals, ranking=NONE, measured="overall")}
    for axes, quantity in zip(grid, names, strict=False):
        chosen = select(removals, quantity=quantity, action=action, measured="overall")
        _draw_panel(axes, chosen, "overall", {"overall": intact[quantity]})
        axes.set_title(intact[quantity].title, fontsize=8)
        axes.set_ylim(bottom=0)
    figure.supxlabel("first channels removed, by rankings for the whole image", fontsize=8)
    legend_below(figure, grid[:1], ncols=5, fontsize=7)
    caption = (
        f"IoU of each class over the whole image, channels {_DONE[action]}. Lines, bands and dots "
        "as above."
    )
    return "Which classes suffer?", caption, figure
