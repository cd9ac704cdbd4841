"""Figures of measurements under shift."""

from collections.abc import Iterator

import numpy as np

from gpool_jax.report.canvas import Drawn, colours_of, legend_below, new_panels
from gpool_jax.report.result import Measurement

# Protocol to arm to quantity to its measurement.
_Found = dict[str, dict[str, dict[str, Measurement]]]


def draw_shift(measurements: list[Measurement]) -> Iterator[Drawn]:
    """Draw every figure that there are measurements for."""
    arms = [m for m in measurements if m.versus is None]
    found: _Found = {m.protocol: {} for m in arms if m.quantity == "consistency"}
    for m in arms:
        if m.protocol in found:
            found[m.protocol].setdefault(m.arm, {})[m.quantity] = m
    if found:
        yield _draw_pareto(found)
        yield _draw_distance(found)
    position = [m for m in arms if m.quantity in ("cell_decoding", "shift_r2")]
    if position:
        yield _draw_position(position)


def _draw_pareto(found: _Found) -> Drawn:
    """Draw accuracy against consistency: a panel per protocol, a cross per arm."""
    colours = colours_of(arm for arms in found.values() for arm in arms)
    figure, panels = new_panels(list(found), max(4.2, 2.9 * len(found)), 3.6)
    for axes, arms in zip(panels, found.values(), strict=True):
        for arm, quantities in arms.items():
            x, y = quantities["accuracy"], quantities["consistency"]
            style = {"fmt": "o", "color": colours[arm], "markersize": 5, "linewidth": 1}
            errors = {"xerr": _reach(x), "yerr": _reach(y)}
            axes.errorbar(100 * x.value, 100 * y.value, **errors, **style, label=arm)
        axes.set_xlabel("accuracy, unshifted, %", fontsize=8)
    panels[0].set_ylabel("consistency, %", fontsize=8)
    legend_below(figure, panels, ncols=4)
    caption = (
        "Accuracy against consistency under each protocol, with 95 % intervals: up and to the "
        "right is better."
    )
    return "Does consistency cost accuracy?", caption, figure


def _draw_distance(found: _Found) -> Drawn:
    colours = colours_of(arm for arms in found.values() for arm in arms)
    figure, panels = new_panels(list(found), max(4.2, 2.9 * len(found)), 3.6)
    for axes, arms in zip(panels, found.values(), strict=True):
        for arm, quantities in arms.items():
            at = {
                int(name.split()[2]): m
                for name, m in quantities.items()
                if name.startswith("agreement at ") and not np.isnan(m.value)
            }
            distance = sorted(at)
            value, low, high = (
                [100 * getattr(at[d], name) for d in distance] for name in ("value", "low", "high")
            )
            axes.plot([0, *distance], [100, *value], color=colours[arm], linewidth=1.3, label=arm)
            axes.fill_between(distance, low, high, color=colours[arm], alpha=0.15, linewidth=0)
        axes.set_xlabel("shift, px (the larger of the two axes)", fontsize=8)
    panels[0].set_ylabel("agrees with the unshifted prediction, %", fontsize=8)
    legend_below(figure, panels, ncols=4)
    caption = (
        "How often the prediction for the shifted image is that for the unshifted one, by distance."
    )
    return "How far can an image be shifted?", caption, figure


def _draw_position(measurements: list[Measurement]) -> Drawn:
    kinds = list(dict.fromkeys((m.quantity, m.protocol) for m in measurements))
    arms = list(dict.fromkeys(m.arm for m in measurements))
    titles = [
        "cell, accuracy" if quantity == "cell_decoding" else f"shift ({protocol}), R2"
        for quantity, protocol in kinds
    ]
    colours = colours_of(arms)
    figure, panels = new_panels(titles, 9, 1.0 + 0.35 * len(arms), sharey=True)
    for axes, (quantity, protocol) in zip(panels, kinds, strict=True):
        for m in measurements:
            if (m.quantity, m.protocol) != (quantity, protocol):
                continue
            i = arms.index(m.arm)
            axes.barh(i, m.value, 0.6, color=colours[m.arm])
            axes.plot([m.low, m.high], [i, i], color="black", linewidth=1.2)
            if m.chance is not None:
                axes.axvline(m.chance, color="#555555", linestyle="--", linewidth=1)
        axes.set_yticks(range(len(arms)), arms, fontsize=8)
    panels[0].invert_yaxis()
    caption = (
        "Position decoded from the latent: the cell of a canvas, and the shift of a whole image. "
        "Dashed: chance."
    )
    return "How much position is left?", caption, figure


def _reach(m: Measurement) -> list[list[float]]:
    """Express the interval as distances from the value, never negative, in percent."""
    return [[max(0.0, 100 * (m.value - m.low))], [max(0.0, 100 * (m.high - m.value))]]
