"""Figures of measurements under shift."""

from typing import Any

import numpy as np

from gpool_jax.report.result import Measurement

PALETTE = ("#7a7a7a", "#d1822b", "#3b6fb6", "#4b9a6a", "#a3537e", "#b0a03a", "#2f8f9d", "#c04f4f")


def of_arms(measurements: list[Measurement]) -> list[Measurement]:
    """Select the arms themselves, not their differences."""
    return [m for m in measurements if m.versus is None]


def protocols(measurements: list[Measurement]) -> list[str]:
    """List the protocols under which consistency was measured."""
    found = [m.protocol for m in of_arms(measurements) if m.quantity == "consistency"]
    return list(dict.fromkeys(found))


def draw_pareto(figure: Any, measurements: list[Measurement]) -> None:
    """Draw accuracy against consistency: a panel per protocol, a cross per arm."""
    panels = _panels(figure, protocols(measurements))
    for axes, protocol in panels:
        found = _by_arm(measurements, protocol)
        for (arm, quantities), colour in zip(found.items(), _cycle(len(found)), strict=True):
            x, y = quantities["accuracy"], quantities["consistency"]
            axes.errorbar(
                100 * x.value,
                100 * y.value,
                xerr=_reach(x),
                yerr=_reach(y),
                fmt="o",
                color=colour,
                markersize=5,
                linewidth=1,
                label=arm,
            )
        axes.set_title(protocol, fontsize=9)
        axes.set_xlabel("accuracy, unshifted, %", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylabel("consistency, %", fontsize=8)
    _legend(figure, panels[0][0])


def draw_distance(figure: Any, measurements: list[Measurement]) -> None:
    """Draw agreement with the unshifted prediction against the distance of the shift."""
    panels = _panels(figure, protocols(measurements))
    for axes, protocol in panels:
        found = _by_arm(measurements, protocol)
        for (arm, quantities), colour in zip(found.items(), _cycle(len(found)), strict=True):
            at = {
                int(name.split()[2]): m
                for name, m in quantities.items()
                if name.startswith("agreement at ") and not np.isnan(m.value)
            }
            distance = sorted(at)
            value = [100 * at[d].value for d in distance]
            axes.plot([0, *distance], [100, *value], color=colour, linewidth=1.3, label=arm)
            low, high = ([100 * getattr(at[d], end) for d in distance] for end in ("low", "high"))
            axes.fill_between(distance, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.set_title(protocol, fontsize=9)
        axes.set_xlabel("shift, px (the larger of the two axes)", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylabel("agrees with the unshifted prediction, %", fontsize=8)
    _legend(figure, panels[0][0])


def draw_position(figure: Any, measurements: list[Measurement]) -> None:
    """Draw how much position can be decoded from the latent."""
    chosen = [m for m in of_arms(measurements) if m.quantity in ("cell_decoding", "shift_r2")]
    kinds = list(dict.fromkeys((m.quantity, m.protocol) for m in chosen))
    arms = list(dict.fromkeys(m.arm for m in chosen))
    panels = np.atleast_1d(figure.subplots(1, len(kinds), sharey=True))
    for axes, (quantity, protocol) in zip(panels, kinds, strict=True):
        for m in chosen:
            if (m.quantity, m.protocol) != (quantity, protocol):
                continue
            i = arms.index(m.arm)
            axes.barh(i, m.value, 0.6, color=_cycle(len(arms))[i])
            axes.plot([m.low, m.high], [i, i], color="black", linewidth=1.2)
            if m.chance is not None:
                axes.axvline(m.chance, color="#555555", linestyle="--", linewidth=1)
        name = "cell, accuracy" if quantity == "cell_decoding" else f"shift ({protocol}), R2"
        axes.set_title(name, fontsize=9)
        axes.set_yticks(range(len(arms)), arms, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()


def _panels(figure: Any, names: list[str]) -> list[tuple[Any, str]]:
    return list(zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True))


def _by_arm(measurements: list[Measurement], protocol: str) -> dict[str, dict[str, Measurement]]:
    found: dict[str, dict[str, Measurement]] = {}
    for m in of_arms(measurements):
        if m.protocol == protocol:
            found.setdefault(m.arm, {})[m.quantity] = m
    return found


def _reach(m: Measurement) -> list[list[float]]:
    """Express the interval as distances from the value, never negative, in percent."""
    return [[max(0.0, 100 * (m.value - m.low))], [max(0.0, 100 * (m.high - m.value))]]


def _legend(figure: Any, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, ncols=4, loc="outside lower center")


def _cycle(count: int) -> list[str]:
    return [PALETTE[i % len(PALETTE)] for i in range(count)]
