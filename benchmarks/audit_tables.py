"""The tables of audited networks, each above its untrained twins."""

from pathlib import Path

from gpool_jax.report.audit_page import format_value
from gpool_jax.report.audit_result import Audited, read_audit

Lines = list[tuple[str, ...]]
_COLUMNS = {
    "cell": ("position", "cell", "ordered"),
    "permuted": ("position", "cell", "permuted"),
    "sorted": ("position", "cell", "sorted"),
    "sorted random code": ("position", "cell", "sorted, random code"),
    "image": ("content", "image", "ordered"),
    "image, sorted": ("content", "image", "sorted"),
    "position that survives": ("share", "position", "sorted of ordered"),
    "content that survives": ("share", "content", "sorted of ordered"),
}


def networks(folder: Path) -> Lines:
    """What is read from each network's pooled vector, and how many answers a shift changes."""
    result = read_audit(folder / "audit.json")
    shift = next(filter(None, (each.shift("answers changed") for each in result.networks)), None)
    last = f"answers changed ({shift.condition})" if shift else "answers changed"
    lines = [("network", *_COLUMNS, last)]
    for network in result.networks:
        lines += [_row(network, ""), _row(network, "untrained")]
    return lines


def _row(network: Audited, control: str) -> tuple[str, ...]:
    found = [network.line(*key, control=control) for key in _COLUMNS.values()]
    found.append(network.shift("answers changed", control=control))
    name = f"{network.name}, untrained" if control else network.name
    return name, *("-" if line is None else format_value(line) for line in found)


def audited_on(folder: Path) -> str:
    """One line: images, command, hardware, versions."""
    result = read_audit(folder / "audit.json")
    where, images = result.environment, result.networks[0].lines[0].num_images
    return (
        f"{images} images; `{where['command']}`; {where['cpu']}, {where['device']}; jax "
        f"{where['packages']['jax']}, Python {where['python']}."
    )
