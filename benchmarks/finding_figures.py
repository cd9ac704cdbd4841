"""The figures of docs/findings/, from the committed results."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from benchmarks import channel_tables
from benchmarks.findings import audits
from gpool_jax import ops
from gpool_jax.report import read_result
from gpool_jax.report.audit_result import Audited
from gpool_jax.report.canvas import colour, legend_below, new_figure, new_panels, to_png
from gpool_jax.report.channel_result import select

_ORDERS = {"in order": "ordered", "sorted": "sorted", "random code, sorted": "sorted, random code"}


def draw_all(results: Path, folder: Path) -> None:
    """Draw every figure into a folder, as SVG with its text as text."""
    networks = audits.read(results)
    figures = {
        "position": position(networks),
        "survival": survival(networks),
        "consistency": consistency(results / "invariance_cifar10_cpu"),
        "removal": removal(results / "channels_camvid"),
    }
    import matplotlib

    for name, figure in figures.items():
        # Without what differs from one run to the next.
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def stimulus() -> bytes:
    """A digit in each cell of a 3 x 3 canvas, as PNG."""
    from sklearn.datasets import load_digits

    digit = jnp.asarray(np.kron(load_digits().images[3], np.ones((2, 2)))[None, :, :, None])
    canvases = np.asarray(ops.place_everywhere(digit, 3))[0, ..., 0]
    figure = new_figure(7.2, 0.9)
    for axes, canvas in zip(figure.subplots(1, 9), canvases, strict=True):
        axes.imshow(canvas, cmap="gray")
        axes.set(xticks=[], yticks=[])
    return to_png(figure)


def position(networks: list[Audited]) -> Any:
    """The cell read in order, sorted, and from the sorted random code: networks and twins."""
    figure, panels = new_panels(("trained", "untrained"), 8, 1.5 + 0.3 * len(networks), sharey=True)
    for axes, control in zip(panels, ("", "untrained"), strict=True):
        for number, (label, condition) in enumerate(_ORDERS.items()):
            lines = [net.line("position", "cell", condition, control=control) for net in networks]
            shown = [(place, line) for place, line in enumerate(lines) if line]
            axes.errorbar(
                [100 * line.value for _, line in shown],
                [place for place, _ in shown],
                xerr=[
                    [100 * (line.value - line.low) for _, line in shown],
                    [100 * (line.high - line.value) for _, line in shown],
                ],
                fmt="o",
                markersize=4,
                color=colour(number),
                label=label,
            )
        axes.axvline(100 / 9, color="#aaaaaa", linestyle=":", linewidth=1)
        axes.set(xlim=(0, 102), xlabel="cell read from the pooled vector, %")
    panels[0].set_yticks(range(len(networks)), [network.name for network in networks], fontsize=8)
    panels[0].invert_yaxis()
    legend_below(figure, panels[:1], 3)
    return figure


def survival(networks: list[Audited]) -> Any:
    """The shares of position and of content that survive sorting."""
    figure = new_figure(5, 4.2)
    axes = figure.subplots()
    for number, (control, label) in enumerate((("", "trained"), ("untrained", "untrained"))):
        pairs = [
            (net.line("share", "position", audits.SHARE, control=control),
             net.line("share", "content", audits.SHARE, control=control))
            for net in networks
        ]  # fmt: skip
        shown = [(a, b) for a, b in pairs if a and b]
        axes.errorbar(
            [a.value for a, _ in shown],
            [b.value for _, b in shown],
            xerr=[[a.value - a.low for a, _ in shown], [a.high - a.value for a, _ in shown]],
            yerr=[[b.value - b.low for _, b in shown], [b.high - b.value for _, b in shown]],
            fmt="o",
            markersize=4,
            color=colour(number + 1),
            label=label,
        )
    top = max(axes.get_xlim()[1], axes.get_ylim()[1])
    axes.plot((0, top), (0, top), color="#aaaaaa", linestyle=":", linewidth=1)
    axes.set(
        xlim=(0, top),
        ylim=(0, top),
        xlabel="share of position that survives sorting",
        ylabel="share of content that survives",
    )
    axes.legend(fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def consistency(folder: Path) -> Any:
    """Accuracy against consistency of every arm, a point for each seed."""
    result = read_result(folder)
    figure = new_figure(5.5, 4)
    axes = figure.subplots()
    first = result.measurements[0].protocol
    found = {
        (m.arm, m.quantity): m.per_seed
        for m in result.measurements
        if m.versus is None and m.protocol == first
    }
    for number, arm in enumerate(dict.fromkeys(arm for arm, _ in found)):
        axes.scatter(
            [100 * value for value in found[arm, "consistency"]],
            [100 * value for value in found[arm, "accuracy"]],
            s=18,
            color=colour(number),
            label=arm,
        )
    axes.set(
        xlabel="consistency under shifts of up to 4 pixels, %", ylabel="accuracy, unshifted, %"
    )
    axes.legend(fontsize=7, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def removal(folder: Path) -> Any:
    """Mean IoU against the number of channels removed, under both fills, mean over seeds."""
    seeds = channel_tables.read_seeds(folder)
    figure, panels = new_panels(("set to zero", "set to their mean"), 8, 3.6, sharey=True)
    for axes, action in zip(panels, ("zero", "mean"), strict=True):
        for number, ranking in enumerate(("random", "flip", "translation", "gate")):
            curves = []
            for result in seeds:
                chosen = select(
                    result.removals,
                    ranking=ranking,
                    region="overall",
                    action=action,
                    measured="overall",
                    measure="value",
                    quantity="miou",
                )
                curves.append({each.count: 100 * each.value for each in chosen})
            counts = sorted(curves[0])
            means = [sum(curve[count] for curve in curves) / len(curves) for count in counts]
            axes.plot(counts, means, marker="o", markersize=3, color=colour(number), label=ranking)
        axes.set_xscale("log", base=2)
        axes.set_xlabel("channels removed, of 128")
    panels[0].set_ylabel("mean IoU, %")
    legend_below(figure, panels[:1], 4)
    return figure
