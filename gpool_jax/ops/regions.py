"""Regions of an image: named parts, boxes in relative coordinates, cells of a grid.

A box is (top, left, bottom, right) in 0..1 of the image's height and width.
"""

import re

import numpy as np

Box = tuple[float, float, float, float]

# "centre" is the reference's: the middle half of the columns, every row.
REGIONS: dict[str, Box] = {
    "overall": (0.0, 0.0, 1.0, 1.0),
    "left": (0.0, 0.0, 1.0, 0.5),
    "right": (0.0, 0.5, 1.0, 1.0),
    "top": (0.0, 0.0, 0.5, 1.0),
    "bottom": (0.5, 0.0, 1.0, 1.0),
    "centre": (0.0, 0.25, 1.0, 0.75),
}


def region_box(name: str) -> Box:
    """Look up or parse the box that a name stands for.

    Args:
      name: one of `REGIONS`; "i/n", cell i (row-major) of an n x n grid; or
        "top,left,bottom,right", four numbers in 0..1.

    Raises:
      ValueError: if it is none of them, is empty, or reaches outside the image.

    >>> region_box("3/2")
    (0.5, 0.5, 1.0, 1.0)
    """
    if name in REGIONS:
        return REGIONS[name]
    cell = re.fullmatch(r"(\d+)/(\d+)", name)
    if cell:
        index, n = int(cell[1]), int(cell[2])
        if n < 2 or index >= n * n:
            raise ValueError(
                f"`regions`: cell {name!r} must be i/n with n at least 2 and i below n * n."
            )
        row, column = divmod(index, n)
        return row / n, column / n, (row + 1) / n, (column + 1) / n
    try:
        top, left, bottom, right = (float(part) for part in name.split(","))
    except ValueError:
        raise ValueError(
            f"`regions` must be among {', '.join(REGIONS)}, a box top,left,bottom,right in 0..1, "
            f"or a cell i/n; got {name!r}."
        ) from None
    # Written this way round so that "nan" is refused as well.
    if not (0 <= min(top, left) and max(bottom, right) <= 1):
        raise ValueError(f"`regions`: box {name!r} reaches outside the image (0..1).")
    if not (top < bottom and left < right):
        raise ValueError(f"`regions`: box {name!r} is empty; it is top,left,bottom,right.")
    return top, left, bottom, right


def region_mask(box: Box, height: int, width: int) -> np.ndarray:
    """Mark the pixels of a map whose centres lie in a box: bool [height, width].

    A centre on the border of two boxes belongs to the lower or right one, so that boxes side
    by side share no pixel.

    >>> region_mask(REGIONS["left"], 1, 4).tolist()
    [[True, True, False, False]]
    """
    top, left, bottom, right = box
    rows, columns = ((np.arange(side) + 0.5) / side for side in (height, width))
    in_rows = (rows >= top) & (rows < bottom)
    in_columns = (columns >= left) & (columns < right)
    return in_rows[:, None] & in_columns[None, :]


def region_weights(box: Box, height: int, width: int) -> np.ndarray:
    """Compute the share of every pixel that lies in a box: float64 [height, width] in 0..1.

    For coarse maps, whose pixels a region's border may cut: halves then weigh the same, and no
    region is empty.

    >>> region_weights(REGIONS["left"], 1, 3).tolist()
    [[1.0, 0.5, 0.0]]
    """
    top, left, bottom, right = box

    def shares(low: float, high: float, side: int) -> np.ndarray:
        edges = np.arange(side + 1)
        inside = np.minimum(edges[1:], high * side) - np.maximum(edges[:-1], low * side)
        return np.clip(inside, 0.0, 1.0)

    return np.outer(shares(top, bottom, height), shares(left, right, width))


def region_cells(box: Box, n: int) -> np.ndarray:
    """Mark the cells of an n x n grid whose centres lie inside a box: bool [n * n], row-major.

    The middle column of an odd grid belongs to neither half.

    >>> region_cells(REGIONS["right"], 3).tolist()[:3]
    [False, False, True]
    """
    top, left, bottom, right = box
    centre = (np.arange(n) + 0.5) / n
    in_rows = (centre > top) & (centre < bottom)
    in_columns = (centre > left) & (centre < right)
    return (in_rows[:, None] & in_columns[None, :]).reshape(-1)


def mirror_axis(box: Box) -> int | None:
    """Find the axis that tells a box from its mirror image: 2 (left-right), 1 (up-down) or None.

    Where both would, left-right is taken, as in the reference.
    """
    top, left, bottom, right = box
    if abs(left + right - 1.0) > 1e-9:
        return 2
    return 1 if abs(top + bottom - 1.0) > 1e-9 else None
