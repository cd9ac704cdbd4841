"""Images with a segmentation network's predictions laid over them."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from gpool_jax.report.canvas import Drawn, new_figure


@dataclasses.dataclass(frozen=True)
class Overlay:
    """One image and several predictions.

    Attributes:
      image: uint8 [H, W, 3].
      labels: int [H, W]; pixels whose label is no class stay grey.
      answers: title to predictions, int [H, W].
      box: frame to draw, (top, left, bottom, right) in 0..1, or None.
    """

    image: np.ndarray
    labels: np.ndarray
    answers: dict[str, np.ndarray]
    box: tuple[float, float, float, float] | None = None


def draw_overlays(overlays: Sequence[Overlay], class_names: list[str]) -> Drawn:
    """Draw a row per image: the image, its labels and every prediction, one colour per class."""
    columns = 2 + max(len(overlay.answers) for overlay in overlays)
    figure = new_figure(min(18.0, 2.1 * columns), 0.7 + 1.75 * len(overlays))
    from matplotlib import colormaps
    from matplotlib.patches import Patch, Rectangle

    colours = colormaps["tab20"](np.arange(len(class_names)) % 20)[:, :3]
    grid = figure.subplots(len(overlays), columns, squeeze=False)
    for row, overlay in zip(grid, overlays, strict=True):
        for axes in row:
            axes.axis("off")
        row[0].imshow(overlay.image)
        row[0].set_title("image", fontsize=7)
        painted = {"labels": overlay.labels, **overlay.answers}
        for axes, (title, classes) in zip(row[1:], painted.items(), strict=False):
            axes.imshow(_blend(overlay.image, classes, colours))
            axes.set_title(title, fontsize=7)
            if overlay.box is not None and title != "labels":
                top, left, bottom, right = overlay.box
                height, width = classes.shape
                corner = (left * width, top * height)
                right, bottom = right * width - 1, bottom * height - 1
                frame = Rectangle(corner, right - corner[0], bottom - corner[1], fill=False)
                frame.set(edgecolor="white", linewidth=1.5)
                axes.add_patch(frame)
    patches = [Patch(color=c, label=n) for c, n in zip(colours, class_names, strict=True)]
    figure.legend(handles=patches, fontsize=7, ncols=6, loc="outside lower center")
    caption = (
        "Predictions, one colour a class; pixels without a label are grey. The frame is the "
        "attacked region."
    )
    return "What does the attack look like?", caption, figure


def _blend(image: np.ndarray, classes: np.ndarray, colours: np.ndarray) -> np.ndarray:
    known = classes < len(colours)
    grey = 0.35 * (image.mean(axis=-1, keepdims=True) / 255.0)
    return np.where(known[..., None], grey + 0.65 * colours[np.where(known, classes, 0)], grey)
