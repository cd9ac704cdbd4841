"""Small tables whose cells are coloured by their values: numbers that need no picture."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from gpool_jax.report.result import Maps, Result

_MOST_CLASSES = 25
_NUM_PAIRS = 20
_FULL = 2.0  # standard deviations that get the full colour
TUNING_QUESTION = "Which channels tell the cells apart?"
TUNING_CAPTION = (
    "Number of each channel, the share of its variance that the cell explains (eta squared), and "
    "its mean activation in each cell, in standard deviations of the channel from its mean (full "
    f"colour: {_FULL:g} or more)."
)


@dataclasses.dataclass(frozen=True)
class Heat:
    """A table of coloured cells.

    Attributes:
      title: what stands above it.
      rows: name of each row (may be empty) and its cells: the text, and how strong the colour is,
        from -1 (orange) over 0 (none) to 1 (blue).
      columns: names of the columns, or none.
      picture: uint8 [H, W, 3] to show below it, or None.
    """

    title: str
    rows: list[tuple[str, list[tuple[str, float]]]]
    columns: list[str] = dataclasses.field(default_factory=list)
    picture: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class HeatFigure:
    """Tables that answer one question together."""

    question: str
    caption: str
    heats: list[Heat]


def make_heats(result: Result) -> list[HeatFigure]:
    """Make every figure of this kind that there is data for, in reading order."""
    maps = result.maps
    found = []
    cells = cell_accuracies(maps)
    if any(not np.isnan(accuracy).all() for accuracy in cells.values()):
        found.append(_show_cells(cells))
    if "confusion" in maps:
        found.append(_show_confusion(maps))
    if maps.get("tuning"):
        found.append(_show_tuning(maps))
    return found


def cell_accuracies(maps: Maps) -> dict[str, np.ndarray]:
    """Each network's accuracy [n, n] by cell, by its name."""
    if "per_cells" in maps:
        return {name: np.array(cells) for name, cells in maps["per_cells"].items()}
    if "per_cell" in maps:
        return {maps["per_cell_of"]: np.array(maps["per_cell"])}
    return {}


def tuning_deviations(tuning: np.ndarray, selectivity: np.ndarray) -> np.ndarray:
    """Each cell's mean activation, in standard deviations from its channel's mean.

    The cell explains the share `selectivity` (eta squared) of a channel's variance, so that the
    root mean square of a map is the root of its eta squared: weak and strong channels are told
    apart on one scale.

    Args:
      tuning: [channels, n, n], mean activations.
      selectivity: [channels], each in [0, 1].

    Returns:
      [channels, n, n]; zeros for a channel that does not vary over the cells.
    """
    centred = tuning - tuning.mean(axis=(1, 2), keepdims=True)
    spread = centred.std(axis=(1, 2), keepdims=True)
    root = np.sqrt(selectivity)[:, None, None]
    return centred * root / np.where(spread > 0, spread, 1.0)


def _show_cells(cells: dict[str, np.ndarray]) -> HeatFigure:
    cells = {name: accuracy for name, accuracy in cells.items() if not np.isnan(accuracy).all()}
    widest = max(cells, key=lambda name: np.nanmax(cells[name]) - np.nanmin(cells[name]))
    low, high = (100 * end(cells[widest]) for end in (np.nanmin, np.nanmax))
    caption = f"Accuracy in percent by cell of the canvas. {widest}: from {low:.1f} to {high:.1f}."
    if len(cells) > 1:
        caption = caption.replace(f"{widest}:", f"Cells differ most in {widest}:")
    heats = [
        Heat(name, [("", [_percent(x, 1) for x in row]) for row in accuracy])
        for name, accuracy in cells.items()
    ]
    return HeatFigure("In which cells is it right?", caption, heats)


def _percent(share: float, digits: int) -> tuple[str, float]:
    """A cell with a share in percent; "-" for one that there is not."""
    return ("-", 0.0) if np.isnan(share) else (f"{100 * share:.{digits}f}", float(share))


def _show_confusion(maps: Maps) -> HeatFigure:
    confusion = np.array(maps["confusion"])
    names = maps.get("classes") or [str(k) for k in range(len(confusion))]
    wrong = np.nan_to_num(confusion) * (1 - np.eye(len(confusion)))
    first = np.argsort(-wrong, axis=None, kind="stable")[:_NUM_PAIRS]
    pairs = list(zip(*np.unravel_index(first, wrong.shape), strict=True))
    label, prediction = pairs[0]
    caption = f"{maps['confusion_of']}, in percent of each label. "
    if wrong[label, prediction] > 0:
        share = 100 * wrong[label, prediction]
        caption += f"Most often: {names[label]} taken for {names[prediction]}, {share:.1f} %."
    else:
        caption += "Nothing is taken for another."
    if len(confusion) > _MOST_CLASSES:
        rows = [
            (f"{names[i]} taken for {names[j]}", [_percent(wrong[i, j], 1)])
            for i, j in pairs
            if wrong[i, j] > 0
        ]
        heat = Heat("The most frequent confusions", rows)
    else:
        rows = [
            (name, [_percent(x, 0) for x in row])
            for name, row in zip(names, confusion, strict=True)
        ]
        heat = Heat("Predictions (columns) for each label (rows)", rows, ["", *names])
    return HeatFigure("What is taken for what?", caption, [heat])


def _show_tuning(maps: Maps) -> HeatFigure:
    heats = tuning_heats(
        maps["tuning_channels"],
        np.array(maps["tuning_selectivity"]),
        np.array(maps["tuning"], np.float64),
    )
    return HeatFigure(TUNING_QUESTION, TUNING_CAPTION, heats)


def tuning_heats(
    channels: Sequence[int], selectivity: np.ndarray, tuning: np.ndarray
) -> list[Heat]:
    """Make a table for each channel: its mean activation in each cell, all on one scale.

    Args:
      channels: numbers of the channels.
      selectivity: [channels], the share of each one's variance that the cell explains.
      tuning: [channels, n, n], mean activations.
    """
    heats = []
    deviations = tuning_deviations(tuning, selectivity)
    for channel, share, cells in zip(channels, selectivity, deviations, strict=True):
        strength = np.clip(cells / _FULL, -1, 1)
        rows = [
            ("", [(f"{x:+.1f}", float(s)) for x, s in zip(*row, strict=True)])
            for row in zip(cells, strength, strict=True)
        ]
        heats.append(Heat(f"{channel}: {share:.2f}", rows))
    return heats
