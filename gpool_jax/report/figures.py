"""Figures of a result, drawn without a display, as PNG bytes."""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from gpool_jax.report import channel_figures, shift_figures
from gpool_jax.report.overlays import Overlay, draw_overlays
from gpool_jax.report.result import INPUTS, Maps, Probe, Result, Row

_PALETTE = ("#3b6fb6", "#d1822b", "#4b9a6a", "#a3537e", "#7a7a7a", "#b0a03a")
# Caption, what draws it, its size in inches, and what it is drawn from.
_Plan = tuple[str, Callable[..., None], tuple[float, float], tuple[Any, ...]]


def draw_all(result: Result, overlays: Sequence[Overlay] = ()) -> list[tuple[str, bytes]]:
    """Draw every figure that the result has data for.

    Args:
      result: the result to show.
      overlays: images with their predictions.

    Returns:
      (caption, PNG) pairs, in reading order.
    """
    plans = [
        *_plan_accuracy(result),
        *_plan_channels(result, overlays),
        *_plan_shift(result),
    ]
    if any(result.curves.values()):
        plans.append(("Training: loss and accuracy.", _draw_curves, (8, 3.4), (result.curves,)))
    return [(caption, _render(draw, size, args)) for caption, draw, size, args in plans]


def _plan_accuracy(result: Result) -> Iterator[_Plan]:
    """Plan the figures of accuracies, maps and probes."""
    maps = result.maps
    if result.rows:
        yield (
            "Accuracy of each arm with its 95 % interval; the grey tick is chance.",
            _draw_rows,
            (8, 1.2 + 0.32 * len(result.rows)),
            (result.rows,),
        )
    if "per_cell" in maps:
        yield (
            f"Accuracy by cell of the canvas: {maps['per_cell_of']}.",
            _draw_per_cell,
            (3.8, 3.4),
            (np.array(maps["per_cell"]),),
        )
    if "confusion" in maps:
        yield (
            f"Predictions (columns) for each label (rows): {maps['confusion_of']}.",
            _draw_confusion,
            (4.6, 4.2),
            (np.array(maps["confusion"]), maps.get("classes")),
        )
    if maps.get("tuning"):
        yield (
            "Channel tuning: mean activation of the most position-selective channels over the "
            "cells (eta squared: share of a channel's variance that the cell explains).",
            _draw_tuning,
            (8, 1.35 * -(-len(maps["tuning"]) // 8) + 0.3),
            (maps,),
        )
    if result.probes:
        yield (
            "Probes of the frozen network by input: the latent, its channels permuted "
            "per example, and sorted (the maximal permutation invariant). Dashed: chance.",
            _draw_probes,
            (8, 1.1 + 0.5 * len(_probe_groups(result.probes))),
            (result.probes,),
        )


def _plan_channels(result: Result, overlays: Sequence[Overlay]) -> Iterator[_Plan]:
    """Plan the figures of ranked and removed channels."""
    removed = [r for r in result.removals if r.count]
    if removed:
        first = result.removals[0].quantity
        fill = result.maps.get("table_action", "zero")
        quantities = [first]
        if first == "head":  # a classifier: what the paper's claim is about, side by side
            quantities = list(dict.fromkeys(r.quantity for r in removed if r.measure == "value"))
        for quantity in quantities:
            regions = len({r.region for r in removed})
            rows = len({r.action for r in removed})
            title = next(r.title for r in removed if r.quantity == quantity)
            yield (
                f"{title} in the attacked region against the number of channels. Lines: rankings, "
                "with 95 % intervals over images. Bands: 95 % of the random and of the matched "
                "sets. Dotted: nothing removed.",
                channel_figures.draw_removal_curves,
                (max(4.6, 2.9 * regions), 0.8 + 2.1 * rows),
                (result.removals, quantity),
            )
        details = [q for q in dict.fromkeys(r.quantity for r in removed) if q.startswith("iou_")]
        if details:
            yield (
                "IoU of each class over the whole image. Lines, bands and dots as above.",
                channel_figures.draw_class_curves,
                (9.5, 0.9 + 1.6 * -(-len(details) // 4)),
                (result.removals, fill, details),
            )
        count = result.maps["table_count"]
        chosen = [
            r for r in removed if (r.measure, r.action, r.count) == ("selectivity", fill, count)
        ]
        if chosen:
            regions = len({r.measured for r in chosen})
            bars = max(1, len({r.ranking for r in chosen}))
            yield (
                f"Region selectivity: {count} of {result.maps['num_channels']} channels removed.",
                channel_figures.draw_selectivity,
                (max(5.0, 4.0 * regions), 1.0 + 0.3 * bars),
                (result.removals, fill, count),
            )
    if overlays:
        columns = 2 + max(len(overlay.answers) for overlay in overlays)
        yield (
            "Predictions, one colour a class; pixels without a label are grey. The frame is "
            "the attacked region.",
            draw_overlays,
            (min(18.0, 2.1 * columns), 0.7 + 1.75 * len(overlays)),
            (list(overlays), list(result.maps["classes"])),
        )
    if any(a.region and a.correlation is not None for a in result.agreements):
        regions = len({a.region for a in result.agreements if a.region})
        yield (
            "Rank correlation of the methods' scores, by region.",
            channel_figures.draw_agreement,
            (max(4.5, 3.6 * regions), 3.6),
            (result.agreements,),
        )
    if scores := result.maps.get("scores"):
        yield (
            "Scores of each ranking, best first: how many channels stand out.",
            channel_figures.draw_scores,
            (max(5.0, 3.2 * len({name.rsplit(" ", 1)[1] for name in scores})), 3.4),
            (scores,),
        )


def _plan_shift(result: Result) -> Iterator[_Plan]:
    """Plan the figures of what was measured under shift."""
    measured = (result.measurements,)
    protocols = shift_figures.protocols(result.measurements)
    if protocols:
        size = (max(4.2, 2.9 * len(protocols)), 3.6)
        yield (
            "Accuracy against consistency under each protocol, with 95 % intervals: up and to the "
            "right is better.",
            shift_figures.draw_pareto,
            size,
            measured,
        )
        yield (
            "How often the prediction for the shifted image is that for the unshifted one, by "
            "distance.",
            shift_figures.draw_distance,
            size,
            measured,
        )
    if any(m.quantity in ("cell_decoding", "shift_r2") for m in result.measurements):
        arms = len({m.arm for m in result.measurements})
        yield (
            "Position decoded from the latent: the cell of a canvas, and the shift of a whole "
            "image. Dashed: chance.",
            shift_figures.draw_position,
            (9, 1.0 + 0.35 * arms),
            measured,
        )


def _render(draw: Callable[..., None], size: tuple[float, float], args: tuple[Any, ...]) -> bytes:
    """Draw one figure, without pyplot, its global state or a display."""
    _import_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=size, dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    draw(figure, *args)
    # `savefig` would draw everything twice, the first time for the layout.
    canvas.draw()
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def _import_matplotlib() -> None:
    """Import matplotlib even if MPLBACKEND, as of a notebook, names a backend it lacks here."""
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    import matplotlib

    if backend is not None:
        os.environ["MPLBACKEND"] = backend
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = backend


def _draw_rows(figure: Any, rows: list[Row]) -> None:
    axes = figure.subplots()
    y, value, low, high, chance = (
        np.array(column)
        for column in zip(
            *((i, r.accuracy, r.low, r.high, r.chance) for i, r in enumerate(rows)), strict=True
        )
    )
    colours = [_PALETTE[0] if row.task == "location" else _PALETTE[1] for row in rows]
    axes.barh(y, 100 * value, color=colours, height=0.7)
    axes.hlines(y, 100 * low, 100 * high, color="black", linewidth=1.5)
    axes.vlines(100 * chance, y - 0.45, y + 0.45, color="#555555", linewidth=2)
    for i, row in enumerate(rows):
        axes.text(101, i, f"{100 * row.accuracy:.1f}", va="center", fontsize=8)
    names = [f"{row.task}: {row.arm} ({row.checkpoint})" for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 108)
    axes.set_xlabel("accuracy, %")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_per_cell(figure: Any, accuracy: np.ndarray) -> None:
    axes = figure.subplots()
    image = axes.imshow(100 * accuracy, vmin=0, vmax=100, cmap="viridis")
    _annotate(axes, 100 * accuracy, "{:.1f}", white=accuracy < 0.6)
    axes.set_xlabel("column")
    axes.set_ylabel("row")
    axes.set_xticks(range(accuracy.shape[1]))
    axes.set_yticks(range(accuracy.shape[0]))
    figure.colorbar(image, ax=axes, label="accuracy, %", shrink=0.85)


def _draw_confusion(figure: Any, confusion: np.ndarray, classes: list[str] | None = None) -> None:
    axes = figure.subplots()
    image = axes.imshow(100 * confusion, vmin=0, vmax=100, cmap="Blues")
    if len(confusion) <= 10:
        _annotate(axes, 100 * confusion, "{:.0f}", white=confusion > 0.6)
    axes.set_xlabel("prediction")
    axes.set_ylabel("label")
    if classes is not None:
        axes.set_xticks(range(len(classes)), classes, fontsize=6, rotation=60, ha="right")
        axes.set_yticks(range(len(classes)), classes, fontsize=6)
    figure.colorbar(image, ax=axes, label="% of the label", shrink=0.85)


def _annotate(axes: Any, values: np.ndarray, form: str, white: np.ndarray) -> None:
    for (i, j), value in np.ndenumerate(values):
        colour = "white" if white[i, j] else "black"
        axes.text(j, i, form.format(value), ha="center", va="center", color=colour, fontsize=7)


def _draw_tuning(figure: Any, maps: Maps) -> None:
    """Draw a tile for each channel, in one image: axes of its own for each take long."""
    tuning = np.array(maps["tuning"], np.float64)
    low, high = (f(tuning, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
    tiles = (tuning - low) / np.where(high > low, high - low, 1.0)
    n = tiles.shape[1]
    columns = min(8, len(tiles))
    # Tenths of a cell; a tenth of a side between tiles, and above them 0.4 for their titles.
    scale, across, down = 10, n, 4 * n
    height, width = n * scale + down, n * scale + across
    canvas = np.full((-(-len(tiles) // columns) * height, columns * width), np.nan)
    axes = figure.subplots()
    titles = zip(maps["tuning_channels"], maps["tuning_selectivity"], strict=True)
    for i, (tile, (channel, share)) in enumerate(zip(tiles, titles, strict=True)):
        top, left = i // columns * height + down, i % columns * width
        large = np.kron(tile, np.ones((scale, scale)))
        canvas[top : top + n * scale, left : left + n * scale] = large
        title = f"#{channel}  {share:.2f}"
        axes.text(left + n * scale / 2, top - n, title, ha="center", fontsize=7)
    axes.imshow(canvas, cmap="magma", interpolation="nearest")
    axes.axis("off")


def _draw_probes(figure: Any, probes: list[Probe]) -> None:
    """Draw three bars, one for each input, per (network, stage)."""
    chosen_probe = {
        (p.target, p.input, (p.network, p.stage)): p for p in probes if p.probe == "selected"
    }
    groups = _probe_groups(probes)
    targets = [t for t in ("cell", "class") if any(p.target == t for p in probes)]
    panels = np.atleast_1d(figure.subplots(1, len(targets), sharey=True))
    for axes, target in zip(panels, targets, strict=True):
        for i, name in enumerate(INPUTS):
            chosen = [chosen_probe[(target, name, group)] for group in groups]
            y = np.arange(len(groups)) + 0.26 * (i - 1)
            axes.barh(y, [100 * p.accuracy for p in chosen], 0.25, color=_PALETTE[i], label=name)
            low, high = ([100 * getattr(p, end) for p in chosen] for end in ("low", "high"))
            axes.hlines(y, low, high, color="black", linewidth=1)
        axes.axvline(100 * chosen[0].chance, color="#555555", linestyle="--", linewidth=1)
        axes.set_yticks(range(len(groups)), [f"{n}: {s}" for n, s in groups], fontsize=8)
        axes.set_xlim(0, 100)
        axes.set_xlabel("held-out accuracy, %", fontsize=8)
        axes.set_title(f"decoding the {target}", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, ncols=3, loc="outside lower center")


def _probe_groups(probes: list[Probe]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((p.network, p.stage) for p in probes))


def _draw_curves(figure: Any, curves: dict[str, list[dict[str, Any]]]) -> None:
    panels = figure.subplots(1, 2)
    for i, (name, events) in enumerate(curves.items()):
        colour = _PALETTE[i % len(_PALETTE)]
        for axes, key in zip(panels, ("loss", "accuracy"), strict=True):
            train = [(e["step"], e[key]) for e in events if key in e]
            val = [(e["step"], e[f"val_{key}"]) for e in events if f"val_{key}" in e]
            if train:
                axes.plot(*zip(*train, strict=True), color=colour, linewidth=1, label=name)
            if val:
                axes.plot(*zip(*val, strict=True), "o", color=colour, markersize=3)
    for axes, key in zip(panels, ("loss", "accuracy"), strict=True):
        axes.set_xlabel("step")
        axes.set_ylabel(f"{key} (line: training, dots: validation)", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yscale("log")
    panels[1].set_ylim(0, 1.02)
    if len(curves) > 1:
        panels[1].legend(fontsize=6)
