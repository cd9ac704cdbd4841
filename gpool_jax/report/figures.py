"""Figures of a result."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gpool_jax.report import channel_figures, shift_figures
from gpool_jax.report.canvas import Drawn, legend_below, new_figure, new_panels, open_sides
from gpool_jax.report.overlays import Overlay, draw_overlays
from gpool_jax.report.result import INPUTS, Probe, Result, Row

_PALETTE = ("#3b6fb6", "#d1822b", "#4b9a6a", "#a3537e", "#7a7a7a", "#b0a03a")


def draw_all(result: Result, overlays: Sequence[Overlay] = ()) -> Iterator[Drawn]:
    """Draw every figure that there is data for, in reading order."""
    if result.rows:
        yield _draw_rows(result.rows)
    if result.probes:
        yield _draw_probes(result.probes)
    yield from channel_figures.draw_removals(result)
    if overlays:
        yield draw_overlays(overlays, result.maps["classes"])
    yield from channel_figures.draw_rankings(result)
    yield from shift_figures.draw_shift(result.measurements)
    if any(result.curves.values()):
        yield _draw_curves(result.curves)


def _draw_rows(rows: list[Row]) -> Drawn:
    figure = new_figure(8, 1.2 + 0.32 * len(rows))
    axes = figure.subplots()
    y = np.arange(len(rows))
    value, low, high, chance = (
        np.array([100 * getattr(row, name) for row in rows])
        for name in ("accuracy", "low", "high", "chance")
    )
    colours = [_PALETTE[0] if row.task == "location" else _PALETTE[1] for row in rows]
    axes.barh(y, value, color=colours, height=0.7)
    axes.hlines(y, low, high, color="black", linewidth=1.5)
    axes.vlines(chance, y - 0.45, y + 0.45, color="#555555", linewidth=2)
    for i in y:
        axes.text(101, i, f"{value[i]:.1f}", va="center", fontsize=8)
    names = [f"{row.task}: {row.arm} ({row.checkpoint})" for row in rows]
    axes.set_yticks(y, names, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlim=(0, 108), xlabel="accuracy, %")
    open_sides([axes])
    caption = "Accuracy of each arm with its 95 % interval; the grey tick is chance."
    return "How often is each arm right?", caption, figure


def _draw_probes(probes: list[Probe]) -> Drawn:
    """Draw three bars, one for each input, per (network, stage)."""
    selected = {
        (p.target, p.input, (p.network, p.stage)): p for p in probes if p.probe == "selected"
    }
    groups = list(dict.fromkeys((p.network, p.stage) for p in probes))
    targets = [t for t in ("cell", "class") if any(p.target == t for p in probes)]
    titles = [f"decoding the {target}" for target in targets]
    figure, panels = new_panels(titles, 8, 1.1 + 0.5 * len(groups), sharey=True)
    for axes, target in zip(panels, targets, strict=True):
        for i, name in enumerate(INPUTS):
            chosen = [selected[(target, name, group)] for group in groups]
            y = np.arange(len(groups)) + 0.26 * (i - 1)
            axes.barh(y, [100 * p.accuracy for p in chosen], 0.25, color=_PALETTE[i], label=name)
            low, high = ([100 * getattr(p, end) for p in chosen] for end in ("low", "high"))
            axes.hlines(y, low, high, color="black", linewidth=1)
        axes.axvline(100 * chosen[0].chance, color="#555555", linestyle="--", linewidth=1)
        axes.set_yticks(range(len(groups)), [f"{n}: {s}" for n, s in groups], fontsize=8)
        axes.set_xlim(0, 100)
        axes.set_xlabel("held-out accuracy, %", fontsize=8)
    panels[0].invert_yaxis()
    legend_below(figure, panels, ncols=3)
    caption = (
        "Probes of the frozen network by input: the latent, its channels permuted per example, "
        "and sorted (the maximal permutation invariant). Dashed: chance."
    )
    return "What can be read from the latent?", caption, figure


def _draw_curves(curves: dict[str, list[dict[str, Any]]]) -> Drawn:
    figure = new_figure(8, 3.4)
    panels = figure.subplots(1, 2)
    for axes, key in zip(panels, ("loss", "accuracy"), strict=True):
        for i, (name, events) in enumerate(curves.items()):
            colour = _PALETTE[i % len(_PALETTE)]
            train = [(e["step"], e[key]) for e in events if key in e]
            val = [(e["step"], e[f"val_{key}"]) for e in events if f"val_{key}" in e]
            if train:
                axes.plot(*zip(*train, strict=True), color=colour, linewidth=1, label=name)
            if val:
                axes.plot(*zip(*val, strict=True), "o", color=colour, markersize=3)
        axes.set_xlabel("step")
        axes.set_ylabel(f"{key} (line: training, dots: validation)", fontsize=8)
    open_sides(panels)
    panels[0].set_yscale("log")
    panels[0].yaxis.set_major_formatter("{x:g}")  # not powers of ten: formulas are slow to draw
    panels[0].yaxis.set_minor_formatter("")
    panels[1].set_ylim(0, 1.02)
    if len(curves) > 1:
        panels[1].legend(fontsize=6)
    return "Did the training settle?", "Loss and accuracy while training.", figure
