"""Quantities under shift: titles, units, and tables of measurements."""

from gpool_jax.report.result import Measurement

# Quantity to (title, unit): "%" is shown times 100.
QUANTITIES = {
    "accuracy": ("accuracy, unshifted", "%"),
    "shifted_accuracy": ("accuracy under shift", "%"),
    "worst_case_accuracy": ("accuracy, worst shift", "%"),
    "consistency": ("consistency", "%"),
    "consistency_given_correct": ("consistency given correct", "%"),
    "probability_change": ("change of top probability", "%"),
    "latent_distance": ("latent distance", ""),
    "latent_cosine": ("latent cosine", ""),
    "shift_r2": ("shift decoded from latent, R2", ""),
    "cell_decoding": ("cell decoded from latent", "%"),
}
Block = tuple[str, tuple[str, ...], list[tuple[str, ...]]]


def measurement_blocks(measurements: list[Measurement]) -> list[Block]:
    """Make tables, a line per quantity and a column per arm: first the arms', then differences."""
    groups: dict[tuple[str, str | None], list[Measurement]] = {}
    for m in measurements:
        if m.quantity in QUANTITIES:
            groups.setdefault((m.protocol, m.versus), []).append(m)
    ordered = sorted(groups.items(), key=lambda item: item[0][1] is not None)
    return [_block(protocol, versus, group) for (protocol, versus), group in ordered]


def _block(protocol: str, versus: str | None, group: list[Measurement]) -> Block:
    arms = list(dict.fromkeys(m.arm for m in group))
    found = {(m.quantity, m.arm): m for m in group}
    what = "cells of a canvas" if protocol == "canvas" else f"protocol {protocol}"
    title = what if versus is None else f"{what}: difference from {versus}"
    lines = []
    for quantity, (name, unit) in QUANTITIES.items():
        members = [found.get((quantity, arm)) for arm in arms]
        first = next(filter(None, members), None)
        if first is None:
            continue
        label = f"{name}, {unit}" if unit else name
        if first.chance:
            label += f" (chance {_number(first.chance, unit)})"
        cells = ["-" if m is None else format_measurement(m) for m in members]
        lines.append((label, *cells, str(first.num_images), str(first.num_seeds)))
    return title, ("quantity", *arms, "images", "seeds"), lines


def format_measurement(m: Measurement) -> str:
    """Format a value and its 95 % interval in the quantity's unit: "73.2 (72.0 to 74.3)"."""
    unit = QUANTITIES[m.quantity][1]
    value, low, high = (_number(v, unit, m.versus is not None) for v in (m.value, m.low, m.high))
    return f"{value} ({low} to {high})"


def _number(value: float, unit: str, signed: bool = False) -> str:
    sign = "+" if signed else ""
    return f"{100 * value:{sign}.1f}" if unit == "%" else f"{value:{sign}.3f}"
