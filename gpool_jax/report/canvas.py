"""Figures without pyplot, its global state or a display."""

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

Drawn = tuple[str, str, Any]  # the question that a figure answers, its caption, the figure

PALETTE = (
    "#7a7a7a",
    "#d1822b",
    "#3b6fb6",
    "#4b9a6a",
    "#a3537e",
    "#b0a03a",
    "#2f8f9d",
    "#c04f4f",
    "#6b5fb5",
)
# Places in the palette of the methods that rank channels, and of the arms of `gpool invariance`.
_OWN = {
    "random": 0,
    "class": 1,
    "translation": 8,
    "flip": 2,
    "gate": 3,
    "integrated": 4,
    "mean": 5,
    "probe": 6,
    "variance": 7,
    "baseline": 0,
    "shift augmentation": 1,
    "AugShift": 2,
    "BlurPool-3": 3,
    "AugShift + BlurPool-3": 4,
}


def new_figure(width: float, height: float) -> Any:
    """Make an empty matplotlib figure, sizes in inches."""
    _import_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def new_panels(
    titles: Sequence[str], width: float, height: float, **options: Any
) -> tuple[Any, np.ndarray]:
    """Make a figure and in it, side by side, panels with these titles."""
    figure = new_figure(width, height)
    panels = figure.subplots(1, len(titles), squeeze=False, **options)[0]
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, fontsize=9)
    open_sides(panels)
    return figure, panels


def to_png(figure: Any) -> bytes:
    """Render a figure; `savefig` would draw it twice, the first time for the layout only.

    Dollars in the names of classes, files and networks stand for themselves.
    """
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        # The ticks of a logarithmic axis are formulas; they are not written yet.
        if "$" in text.get_text():
            text.set_parse_math(False)
    with warnings.catch_warnings():
        # Names in scripts that matplotlib's font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from font")
        figure.canvas.draw()
    return encode_png(np.asarray(figure.canvas.buffer_rgba()))


def encode_png(pixels: np.ndarray) -> bytes:
    """Encode uint8 [H, W, 3 or 4] as an RGB picture."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def colour(index: int) -> str:
    """Return the palette's colour of a line, starting again after the last one."""
    return PALETTE[index % len(PALETTE)]


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """Give each name a colour: methods and arms their own on every page, others what is left.

    >>> colours_of(["gate", "flip"]) == colours_of(["flip", "gate"])
    True
    """
    names = list(dict.fromkeys(names))
    known = {name: PALETTE[_OWN[name]] for name in names if name in _OWN}
    free = [shade for shade in PALETTE[1:] if shade not in known.values()] or list(PALETTE)
    others = [name for name in names if name not in known]
    return known | {name: free[i % len(free)] for i, name in enumerate(others)}


def open_sides(grid: Iterable[Any]) -> None:
    """Hide the top and right spines of axes."""
    for axes in grid:
        axes.spines[["top", "right"]].set_visible(False)


def legend_below(figure: Any, grid: Iterable[Any], ncols: int, fontsize: int = 8) -> None:
    """Put one legend for all axes below the figure."""
    handles: dict[str, Any] = {}
    for axes in grid:
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    where = "outside lower center"
    figure.legend(handles.values(), handles.keys(), fontsize=fontsize, ncols=ncols, loc=where)


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
