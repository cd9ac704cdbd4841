"""Figures of ranked and removed channels."""

from typing import Any

import numpy as np

from gpool_jax.report.channel_result import NONE, Agreement, Removal
from gpool_jax.report.shift_figures import PALETTE

_CONTROLS = {"random": "#7a7a7a", "matched": "#c0a060"}


def draw_removal_curves(figure: Any, removals: list[Removal], quantity: str) -> None:
    """Draw a quantity against the number of channels: a row per action, a panel per region.

    Rankings are lines with their intervals; controls are bands that hold 95 % of the draws.
    """
    chosen = [r for r in removals if r.quantity == quantity and r.measure == "value"]
    actions = [a for a in ("zero", "mean", "keep") if any(r.action == a for r in chosen)]
    regions = list(dict.fromkeys(r.region for r in chosen if r.ranking not in (NONE, "random")))
    grid = figure.subplots(len(actions), len(regions), squeeze=False, sharey=True)
    intact = {r.measured: r for r in chosen if r.ranking == NONE}
    for row, action in zip(grid, actions, strict=True):
        for axes, region in zip(row, regions, strict=True):
            _draw_panel(axes, [r for r in chosen if r.action == action], region, intact)
            axes.set_title(f"attack on {region}, measured there", fontsize=8)
            axes.set_xlabel("channels kept" if action == "keep" else "channels removed", fontsize=8)
        label = {"zero": "set to zero", "mean": "set to their mean", "keep": "only these kept"}[
            action
        ]
        row[0].set_ylabel(f"{chosen[0].title}, %\n({label})", fontsize=8)
    handles: dict[str, Any] = {}
    for axes in grid.ravel():
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), fontsize=7, ncols=5, loc="outside lower center")


def _draw_panel(axes: Any, removals: list[Removal], region: str, intact: dict) -> None:
    there = [r for r in removals if r.measured == region and r.region in (region, "overall")]
    names = list(dict.fromkeys(r.ranking for r in there if r.region == region))
    lines = [n for n in names if not n.startswith(("random", "matched"))]
    for name in dict.fromkeys(["random", *(n for n in names if n.startswith("matched")), *lines]):
        own = "overall" if name == "random" else region
        points = sorted(
            (r for r in there if r.ranking == name and r.region == own), key=lambda r: r.count
        )
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
        colour = PALETTE[2 + lines.index(name) % (len(PALETTE) - 2)]
        axes.plot(x, [100 * p.value for p in points], "o-", ms=3, lw=1.2, color=colour, label=name)
        axes.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
    if region in intact:
        axes.axhline(100 * intact[region].value, color="black", linestyle=":", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.spines[["top", "right"]].set_visible(False)


def draw_selectivity(figure: Any, removals: list[Removal], action: str, count: int) -> None:
    """Draw drop inside minus drop outside the attacked region, controls below their ranking."""
    chosen = [
        r
        for r in removals
        if (r.measure, r.action, r.count, r.versus) == ("selectivity", action, count, None)
    ]
    regions = list(dict.fromkeys(r.measured for r in chosen))
    panels = figure.subplots(1, len(regions), squeeze=False, sharex=True)[0]
    for axes, region in zip(panels, regions, strict=True):
        members = [r for r in chosen if r.measured == region]
        for i, r in enumerate(members):
            control = r.ranking.split(" ")[0]
            colour = _CONTROLS.get(control, PALETTE[2])
            axes.barh(i, 100 * r.value, 0.65, color=colour)
            axes.plot([100 * r.low, 100 * r.high], [i, i], color="black", linewidth=1.2)
        axes.set_yticks(range(len(members)), [r.ranking for r in members], fontsize=7)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.invert_yaxis()
        axes.set_title(f"attack on {region}", fontsize=9)
        axes.set_xlabel("drop inside - outside, points", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)


def draw_agreement(figure: Any, agreements: list[Agreement]) -> None:
    """Draw the rank correlation of every two methods, a matrix per region."""
    chosen = [a for a in agreements if a.region and a.correlation is not None]
    regions = list(dict.fromkeys(a.region for a in chosen))
    panels = figure.subplots(1, len(regions), squeeze=False)[0]
    image = None
    for axes, region in zip(panels, regions, strict=True):
        members = [a for a in chosen if a.region == region]
        names = list(dict.fromkeys(n for a in members for n in (a.first, a.second)))
        matrix = np.eye(len(names))
        for a in members:
            i, j = names.index(a.first), names.index(a.second)
            matrix[i, j] = matrix[j, i] = a.correlation
        image = axes.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r")
        for (i, j), value in np.ndenumerate(matrix):
            colour = "white" if abs(value) > 0.6 else "black"
            axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=6, color=colour)
        axes.set_xticks(range(len(names)), names, fontsize=7, rotation=60, ha="right")
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.set_title(region, fontsize=9)
    figure.colorbar(image, ax=panels, label="Spearman's correlation", shrink=0.8)


def draw_scores(figure: Any, scores: dict[str, list[float]]) -> None:
    """Draw each ranking's scores in its own order, as shares of the largest."""
    pairs = {name: tuple(name.rsplit(" ", 1)) for name in scores}
    regions = list(dict.fromkeys(region for _, region in pairs.values()))
    methods = list(dict.fromkeys(method for method, _ in pairs.values()))
    panels = figure.subplots(1, len(regions), squeeze=False, sharey=True)[0]
    for name, (method, region) in pairs.items():
        axes, values = panels[regions.index(region)], scores[name]
        top = max(abs(v) for v in values) or 1.0
        colour = PALETTE[methods.index(method) % len(PALETTE)]
        x = np.arange(1, len(values) + 1)
        axes.plot(x, np.array(values) / top, color=colour, linewidth=1.2, label=method)
    for axes, region in zip(panels, regions, strict=True):
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set_xscale("log")
        axes.set_title(region, fontsize=9)
        axes.set_xlabel("position in the ranking", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("score, share of the largest", fontsize=8)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, ncols=4, loc="outside lower center")


def draw_class_curves(
    figure: Any, removals: list[Removal], action: str, quantities: list[str]
) -> None:
    """Draw the IoU of each class over the whole image against the number of channels removed."""
    columns = 4
    rows = -(-len(quantities) // columns)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for axes in grid.ravel()[len(quantities) :]:
        axes.axis("off")
    intact = {r.quantity: r for r in removals if r.ranking == NONE and r.measured == "overall"}
    for axes, quantity in zip(grid.ravel(), quantities, strict=False):
        chosen = [
            r
            for r in removals
            if (r.quantity, r.action, r.measured) == (quantity, action, "overall")
        ]
        _draw_panel(axes, chosen, "overall", {"overall": intact[quantity]})
        axes.set_title(intact[quantity].title, fontsize=8)
        axes.set_ylim(bottom=0)
    figure.supxlabel("first channels removed, by rankings for the whole image", fontsize=8)
    handles, labels = grid[0][0].get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), fontsize=7, ncols=5, loc="outside lower center")
