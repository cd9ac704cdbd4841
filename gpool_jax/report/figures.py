"""Figures of a result."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gpool_jax.report import channel_figures, shift_figures
from gpool_jax.report.canvas import legend_below, new_figure, new_panels, open_sides
from gpool_jax.report.overlays import Overlay, draw_overlays
from gpool_jax.report.result import INPUTS, Maps, Probe, Result, Row

_PALETTE = ("#3b6fb6", "#d1822b", "#4b9a6a", "#a3537e", "#7a7a7a", "#b0a03a")


def draw_all(result: Result, overlays: Sequence[Overlay] = ()) -> Iterator[tuple[str, Any]]:
    """Draw every figure that there is data for, as (caption, figure), in reading order."""
    maps = result.maps
    if result.rows:
        yield _draw_rows(result.rows)
    if "per_cell" in maps:
        yield _draw_per_cell(np.array(maps["per_cell"]), maps["per_cell_of"])
    if "confusion" in maps:
        yield _draw_confusion(maps)
    if maps.get("tuning"):
        yield _draw_tuning(maps)
    if result.probes:
        yield _draw_probes(result.probes)
    yield from channel_figures.draw_removals(result)
    if overlays:
        yield draw_overlays(overlays, maps["classes"])
    yield from channel_figures.draw_rankings(result)
    yield from shift_figures.draw_shift(result.measurements)
    if any(result.curves.values()):
        yield _draw_curves(result.curves)


def _draw_rows(rows: list[Row]) -> tuple[str, Any]:
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
    return "Accuracy of each arm with its 95 % interval; the grey tick is chance.", figure


def _draw_per_cell(accuracy: np.ndarray, network: str) -> tuple[str, Any]:
    figure = new_figure(3.8, 3.4)
    axes = figure.subplots()
    image = axes.imshow(100 * accuracy, vmin=0, vmax=100, cmap="viridis")
    _annotate(axes, 100 * accuracy, "{:.1f}", white=accuracy < 0.6)
    rows, columns = map(range, accuracy.shape)
    axes.set(xlabel="column", ylabel="row", xticks=columns, yticks=rows)
    figure.colorbar(image, ax=axes, label="accuracy, %", shrink=0.85)
    return f"Accuracy by cell of the canvas: {network}.", figure


def _draw_confusion(maps: Maps) -> tuple[str, Any]:
    figure, confusion = new_figure(4.6, 4.2), np.array(maps["confusion"])
    axes = figure.subplots()
    image = axes.imshow(100 * confusion, vmin=0, vmax=100, cmap="Blues")
    if len(confusion) <= 10:
        _annotate(axes, 100 * confusion, "{:.0f}", white=confusion > 0.6)
    axes.set(xlabel="prediction", ylabel="label")
    if "classes" in maps:
        ticks = range(len(maps["classes"]))
        axes.set_xticks(ticks, maps["classes"], fontsize=6, rotation=60, ha="right")
        axes.set_yticks(ticks, maps["classes"], fontsize=6)
    figure.colorbar(image, ax=axes, label="% of the label", shrink=0.85)
    return f"Predictions (columns) for each label (rows): {maps['confusion_of']}.", figure


def _annotate(axes: Any, values: np.ndarray, form: str, white: np.ndarray) -> None:
    for (i, j), value in np.ndenumerate(values):
        colour = "white" if white[i, j] else "black"
        axes.text(j, i, form.format(value), ha="center", va="center", color=colour, fontsize=7)


def _draw_tuning(maps: Maps) -> tuple[str, Any]:
    """Draw a tile for each channel, in one image: axes of its own for each take long."""
    tuning = np.array(maps["tuning"], np.float64)
    low, high = (f(tuning, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
    tiles = (tuning - low) / np.where(high > low, high - low, 1.0)
    n, columns = tiles.shape[1], min(8, len(tiles))
    rows = -(-len(tiles) // columns)
    # In tenths of a cell: a tenth of a side between tiles, and above them 0.4 for their titles.
    side, down = 10 * n, 4 * n
    height, width = side + down, side + n
    canvas = np.full((rows * height, columns * width), np.nan)
    figure = new_figure(8, 1.35 * rows + 0.3)
    axes = figure.subplots()
    titles = zip(maps["tuning_channels"], maps["tuning_selectivity"], strict=True)
    for i, (tile, (channel, share)) in enumerate(zip(tiles, titles, strict=True)):
        top, left = i // columns * height + down, i % columns * width
        canvas[top : top + side, left : left + side] = np.kron(tile, np.ones((10, 10)))
        axes.text(left + side / 2, top - n, f"#{channel}  {share:.2f}", ha="center", fontsize=7)
    axes.imshow(canvas, cmap="magma", interpolation="nearest")
    axes.axis("off")
    caption = (
        "Channel tuning: mean activation of the most position-selective channels over the "
        "cells (eta squared: share of a channel's variance that the cell explains)."
    )
    return caption, figure


def _draw_probes(probes: list[Probe]) -> tuple[str, Any]:
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
    return caption, figure


def _draw_curves(curves: dict[str, list[dict[str, Any]]]) -> tuple[str, Any]:
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
    panels[1].set_ylim(0, 1.02)
    if len(curves) > 1:
        panels[1].legend(fontsize=6)
    return "Training: loss and accuracy.", figure
