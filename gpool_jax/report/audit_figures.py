"""Figures of an audit."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from gpool_jax.report.audit_result import Audited, AuditResult, Line
from gpool_jax.report.canvas import Drawn, colour, legend_below, new_figure, new_panels, open_sides
from gpool_jax.report.heat import TUNING_CAPTION, TUNING_QUESTION, HeatFigure, tuning_heats

_ORDERS = ("ordered", "permuted", "sorted")
_UNTRAINED = "#b8bcc4"


def draw_audit(result: AuditResult) -> Iterator[Drawn]:
    """Draw every figure that there is data for, in reading order."""
    if result.stimuli is not None:
        yield _draw_stimuli(result.stimuli)
    yield draw_orders(result)
    for network in result.networks:
        if len({line.stage for line in network.lines}) > 1:
            yield _draw_stages(network)
    if any(_shift_lines(network) for network in result.networks):
        yield _draw_shift(result)
    if len(result.networks) > 1:
        yield _draw_scatter(result)


def _draw_stimuli(stimuli: np.ndarray) -> Drawn:
    """A few images, each in a few cells."""
    rows, cells = stimuli.shape[:2]
    chosen = np.linspace(0, cells - 1, min(5, cells)).astype(int)
    figure = new_figure(1.5 * len(chosen), 1.5 * rows)
    grid = figure.subplots(rows, len(chosen), squeeze=False)
    low, high = stimuli.min(), stimuli.max()
    for axes, images in zip(grid, stimuli, strict=True):
        for panel, cell in zip(axes, chosen, strict=True):
            shown = (images[cell] - low) / max(high - low, 1e-9)
            panel.imshow(np.broadcast_to(shown, (*shown.shape[:2], 3)))
            panel.set_axis_off()
    return "What were the networks shown?", "The same image in different cells.", figure


def draw_orders(result: AuditResult) -> Drawn:
    """Position and content, by how the vector was given, beside the untrained network."""
    quantities = (("position", "cell"), ("content", "image"))
    titles = [
        f"{network.name}: {quantity}" for network in result.networks for _, quantity in quantities
    ]
    figure = new_figure(3.2 * min(len(titles), 4), 2.5 * -(-len(titles) // 4))
    grid = figure.subplots(-(-len(titles) // 4), min(len(titles), 4), squeeze=False, sharey=True)
    panels = grid.ravel()
    pairs = [(network, q) for network in result.networks for q in quantities]
    for axes, (network, (question, quantity)), title in zip(panels, pairs, titles, strict=False):
        axes.set_title(title, fontsize=8)
        for shift, control, shade, label in (
            (-0.2, "", colour(2), "this network"),
            (0.2, "untrained", _UNTRAINED, "untrained"),
        ):
            lines = [network.line(question, quantity, o, control=control) for o in _ORDERS]
            for place, line in enumerate(lines):
                if line is not None:
                    _bar(axes, place + shift, line, shade, label if place == 0 else None)
        chance = network.line(question, quantity, "ordered")
        if chance is not None and chance.chance is not None:
            axes.axhline(100 * chance.chance, color="#444", lw=0.8, ls=":")
        axes.set_xticks(range(len(_ORDERS)), _ORDERS, fontsize=8)
        axes.set_ylim(0, 100)
    for axes in panels[len(pairs) :]:
        axes.set_axis_off()
    open_sides(panels)
    panels[0].set_ylabel("correct, %", fontsize=8)
    legend_below(figure, panels, ncols=2)
    caption = (
        "Which cell, and which image: read from the pooled vector in order, with its channels "
        "permuted, and sorted. Dotted: chance. 95 % intervals."
    )
    return "Does the order of the channels carry position, and content?", caption, figure


def _bar(axes: Any, place: float, line: Line, shade: str, label: str | None) -> None:
    value = 100 * line.value
    error = [[max(0.0, value - 100 * line.low)], [max(0.0, 100 * line.high - value)]]
    style = {"ecolor": "#333", "error_kw": {"lw": 1}}
    axes.bar(place, value, 0.38, yerr=error, color=shade, label=label, **style)


def _draw_stages(network: Audited) -> Drawn:
    """Position at every stage."""
    figure, (axes,) = new_panels([f"{network.name}: cell, by stage"], 5.0, 2.6)
    stages = list(dict.fromkeys(x.stage for x in network.lines if x.question == "position"))
    for index, order in enumerate(("ordered", "sorted")):
        for control, style in (("", "-"), ("untrained", ":")):
            lines = [
                network.line("position", "cell", order, stage=stage, control=control)
                for stage in stages
            ]
            values = [np.nan if line is None else 100 * line.value for line in lines]
            if not np.all(np.isnan(values)):
                name = f"{order}{', untrained' if control else ''}"
                axes.plot(
                    range(len(stages)),
                    values,
                    style,
                    color=colour(index + 1),
                    label=name,
                    marker="o",
                    ms=3,
                )
    axes.set_xticks(range(len(stages)), stages, fontsize=7, rotation=30)
    axes.set_ylim(0, 100)
    legend_below(figure, [axes], ncols=4, fontsize=7)
    caption = f"The cell read from every stage of {network.name}."
    return "Where in the network is position?", caption, figure


def make_tuning(result: AuditResult) -> list[HeatFigure]:
    """Responses by cell of the channels that rank first, and the images that drive them."""
    figures = []
    for network in result.networks:
        channels = np.argsort(network.channels["translation_rank"])[: len(network.tuning)]
        shares = np.array(network.channels["position"])[channels]
        heats = tuning_heats(channels.tolist(), shares, np.array(network.tuning))
        caption = (
            f"{network.name}, the channels that rank first by translation difference. "
            f"{TUNING_CAPTION}"
        )
        if network.drivers and result.thumbnails:
            caption += " Below: the images that it responds to most, over all cells."
            heats = [
                dataclasses.replace(heat, picture=np.hstack([result.thumbnails[i] for i in rows]))
                for heat, rows in zip(heats, network.drivers, strict=True)
            ]
        figures.append(HeatFigure(TUNING_QUESTION, caption, heats))
    return figures


def _shift_lines(network: Audited, quantity: str = "answers changed") -> list[Line]:
    return [
        line
        for line in network.lines
        if line.question == "shift"
        and line.quantity == quantity
        and not line.control
        and " px" in line.condition
    ]


def _draw_shift(result: AuditResult) -> Drawn:
    """Changed answers against the size of the shift."""
    protocols = list(
        dict.fromkeys(x.condition.split(",")[0] for n in result.networks for x in _shift_lines(n))
    )
    figure, panels = new_panels(protocols, 3.0 * len(protocols), 2.4, sharey=True)
    for axes, protocol in zip(panels, protocols, strict=True):
        for index, network in enumerate(result.networks):
            lines = [x for x in _shift_lines(network) if x.condition.startswith(f"{protocol},")]
            pixels = [int(x.condition.split(" ")[1]) for x in lines]
            values = [100 * x.value for x in lines]
            axes.plot(pixels, values, color=colour(index + 1), label=network.name, marker="o", ms=3)
            low, high = ([100 * getattr(x, end) for x in lines] for end in ("low", "high"))
            axes.fill_between(pixels, low, high, color=colour(index + 1), alpha=0.15, lw=0)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("shift in pixels", fontsize=8)
    panels[0].set_ylabel("answers changed, %", fontsize=8)
    legend_below(figure, panels, ncols=4, fontsize=7)
    caption = "Answers that change when the input is shifted; no labels are needed."
    return "How far can an image be shifted?", caption, figure


def _draw_scatter(result: AuditResult) -> Drawn:
    """Position carried against answers changed by shifts, a point a network."""
    figure, (axes,) = new_panels(["position against sensitivity"], 4.2, 3.2)
    for index, network in enumerate(result.networks):
        own = network.line("position", "cell", "ordered")
        moved = network.shift("answers changed")
        if own is None or moved is None:
            continue
        x, y = 100 * own.value, 100 * moved.value
        axes.scatter([x], [y], color=colour(index + 1))
        axes.annotate(network.name, (x, y), fontsize=7, xytext=(4, 4), textcoords="offset points")
    axes.set_xlabel("cell read from the vector, %", fontsize=8)
    axes.set_ylabel("answers changed by the largest shift, %", fontsize=8)
    caption = "A point a network."
    return "Do networks with more position change more answers?", caption, figure
