"""Maps of images on a canvas that share their background: what `place` gives, computed once.

Outside one cell every canvas is the same zeros, so every map of a convolutional
network is the same for the whole batch but in a window around each image's cell:
as far as convolutions have carried the content. A `Placed` holds one background
and these windows; the functions here compute with it what the whole maps give.

Windows keep their place relative to the cell, also where they reach beyond the
canvas: what they hold there means nothing, and no result depends on it.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gpool_jax.ops.canvas import place
from gpool_jax.ops.conv import conv2d
from gpool_jax.ops.conv_lowering import convolve
from gpool_jax.ops.permute import permute_channels

# An array [B, H, W, C] or a `Placed`: a union would make every layer's caller say which.
Map = Any

# Least side of a canvas, in pixels, from which sharing its background is faster. Measured with
# ResNet-18 on two CPU cores: a training step at width 16 and batch 48 is 1.3 times faster at 64
# pixels, 1.2 at 48, slower at 24; an evaluation 1.4 times at 48 and 1.6 at 96. Other platforms
# were not measured: there the work saved (2.2 times at 160 pixels) must outweigh that a step is
# cut into more, smaller operations.
LEAST_CANVAS_CPU = 48
LEAST_CANVAS = 160

# Windows are worth their assembly up to this share of the pixels of the whole maps: training
# steps were slower, or no faster, at 0.5, 0.65 and 0.95.
WORTHWHILE = 0.8


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["background", "window", "cell"],
    meta_fields=["n", "before"],
)
@dataclasses.dataclass(frozen=True)
class Placed:
    """Maps [B, H, W, C], H = W, of images in one cell each of an n x n canvas.

    Attributes:
      background: [1, H, W, C], where no image has had an influence.
      window: [B, w, w, C], from `before` pixels before the cell (rows and columns).
      cell: int [B] in [0, n*n).
      n: cells per side; each is H / n pixels wide.
      before: pixels of the window before the cell.
    """

    background: jax.Array
    window: jax.Array
    cell: jax.Array
    n: int
    before: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(B, H, W, C) of the maps that this stands for."""
        return (self.window.shape[0], *self.background.shape[1:])

    @property
    def side(self) -> int:
        """Pixels of a cell."""
        return self.background.shape[1] // self.n

    @property
    def after(self) -> int:
        """Pixels of the window after the cell."""
        return self.window.shape[1] - self.before - self.side

    def replace(self, background: jax.Array, window: jax.Array, before: int) -> "Placed":
        """Other maps of the same images in the same cells."""
        return Placed(background, window, self.cell, self.n, before)


def sharing_pays(n: int, side: int, platform: str) -> bool:
    """Whether a network runs faster on `place_shared` than on `place`.

    Args:
      n: cells per side.
      side: pixels of a cell.
      platform: "cpu", "gpu" or "tpu".

    >>> [sharing_pays(3, 32, platform) for platform in ("cpu", "gpu")]
    [True, False]
    """
    least = LEAST_CANVAS_CPU if platform == "cpu" else LEAST_CANVAS
    return n > 1 and n * side >= least


def place_shared(images: jax.Array, cell: jax.Array, n: int) -> Map:
    """Paste each image into one cell of a canvas of zeros, like `place`, but share the zeros.

    Args:
      images: square, [B, H, H, C], already normalised.
      cell: int [B] in [0, n*n).
      n: cells per side.

    Returns:
      What stands for [B, n*H, n*H, C]; `compose` gives it. Images that are not
      square are placed by `place`.
    """
    side, width, channels = images.shape[1:]
    if side != width:
        return place(images, cell, n)
    background = jnp.zeros((1, n * side, n * side, channels), images.dtype)
    return Placed(background, images, cell, n, before=0)


def compose(x: Map) -> jax.Array:
    """The whole maps [B, H, W, C]; an array is returned as it is."""
    if not isinstance(x, Placed):
        return x
    out, inside = x.window, jnp.ones((1, 1, 1, 1), bool)
    size, whole = x.window.shape[1], x.background.shape[1]
    for axis, index in ((1, x.cell // x.n), (2, x.cell % x.n)):
        # A choice between n static places: XLA fuses it and its gradient, where it would loop
        # over the batch for a scatter.
        pads = [[(0, 0, 0)] * 4 for _ in range(x.n)]
        for i in range(x.n):
            low = i * x.side - x.before
            pads[i][axis] = (low, whole - low - size, 0)
        places = [lax.pad(out, jnp.zeros((), out.dtype), pad) for pad in pads]
        out = _choose(index, places)
        offset = jnp.arange(whole)[None] - index[:, None] * x.side + x.before
        here = (offset >= 0) & (offset < size)
        inside = inside & jnp.expand_dims(here, (3 - axis, 3))
    return jnp.where(inside, out, x.background)


def _choose(index: jax.Array, options: list[jax.Array]) -> jax.Array:
    index = index[:, None, None, None]
    return functools.reduce(
        lambda out, i: jnp.where(index == i, options[i], out), range(1, len(options)), options[0]
    )


def elementwise(fn: Callable, x: Map) -> Map:
    """Apply a function that treats every pixel alike."""
    if not isinstance(x, Placed):
        return fn(x)
    return x.replace(fn(x.background), fn(x.window), x.before)


def add(x: Map, y: Map) -> Map:
    """Sum of two maps; the window is the larger one."""
    if not (isinstance(x, Placed) and isinstance(y, Placed)):
        return compose(x) + compose(y)
    before, after = max(x.before, y.before), max(x.after, y.after)
    x, y = (_resize(z, before, after) for z in (x, y))
    return x.replace(x.background + y.background, x.window + y.window, before)


def permute(x: Map, permutation: jax.Array) -> Map:
    """Permute channels; one permutation per example leaves no background to share."""
    if permutation.ndim > 1:
        return permute_channels(compose(x), permutation)
    return elementwise(lambda maps: permute_channels(maps, permutation), x)


def subsample(x: Map, stride: int) -> Map:
    """Every `stride`-th pixel in both dimensions."""
    if not isinstance(x, Placed) or x.side % stride:
        return compose(x)[:, ::stride, ::stride]
    before = x.before // stride
    first = x.before - before * stride
    window = x.window[:, first::stride, first::stride]
    return x.replace(x.background[:, ::stride, ::stride], window, before)


def conv2d_placed(
    x: Map,
    kernel: jax.Array,
    *,
    stride: int = 1,
    dilation: int = 1,
    padding: str = "zeros",
) -> Map:
    """Convolve like `conv2d`; what no longer pays to be shared comes back whole.

    Args:
      x: maps.
      kernel: [k, k, C, F], k odd.
      stride: step between output pixels.
      dilation: step between taps; any but 1 is computed whole.
      padding: any but "zeros" is computed whole.

    Returns:
      Windows that hold every pixel that the images have an influence on.
    """
    whole = functools.partial(
        conv2d, kernel=kernel, stride=stride, dilation=dilation, padding=padding
    )
    if not isinstance(x, Placed) or dilation > 1 or padding != "zeros" or x.side % stride:
        return whole(compose(x))
    batch, reach = len(x.window), kernel.shape[0] // 2
    before, after = (x.before + reach) // stride, -(-(x.after + reach) // stride)
    map_pixels = (x.n * x.side // stride) ** 2
    window_pixels = (before + x.side // stride + after) ** 2
    if batch * window_pixels + map_pixels > WORTHWHILE * batch * map_pixels:
        return whole(compose(x))
    # The window's taps, from the first of its first pixel to the last of its last.
    first, last = before * stride + reach, (after - 1) * stride + reach + 1
    taps = _resize(_clear_outside(x), first, last)
    window = convolve(taps.window, kernel, stride=stride)
    return x.replace(whole(x.background), window, before)


def _inside(x: Placed) -> jax.Array:
    """Where windows lie on the canvas: bool [B, w, w, 1]."""
    size = x.window.shape[1]
    position = np.arange(x.n)[:, None] * x.side - x.before + np.arange(size)[None]
    inside = jnp.asarray((position >= 0) & (position < x.background.shape[1]))
    rows, columns = inside[x.cell // x.n], inside[x.cell % x.n]
    return (rows[:, :, None] & columns[:, None, :])[..., None]


def _clear_outside(x: Placed) -> Placed:
    window = jnp.where(_inside(x), x.window, jnp.zeros_like(x.window))
    return x.replace(x.background, window, x.before)


def _resize(x: Placed, before: int, after: int) -> Placed:
    """Cut windows, or extend them by the background; beyond the canvas stand zeros."""
    start, stop = max(x.before - before, 0), x.window.shape[1] - max(x.after - after, 0)
    window = x.window[:, start:stop, start:stop]
    # Left and right of what is kept, then above and below all of it.
    kept = (-min(x.before, before), x.side + min(x.after, after))
    whole = (-before, x.side + after)
    if kept == whole:
        return x.replace(x.background, window, before)
    sides = [(whole[0], kept[0]), (kept[1], whole[1])]
    for axis in (2, 1):
        strips = [_surround(x, *((kept, side) if axis == 2 else (side, whole))) for side in sides]
        window = jnp.concatenate([strips[0], window, strips[1]], axis=axis)
    return x.replace(x.background, window, before)


def _surround(x: Placed, rows: tuple[int, int], columns: tuple[int, int]) -> jax.Array:
    """The background at rows and columns counted from each image's cell: [B, h, w, C]."""
    margin = max(-rows[0], -columns[0], rows[1] - x.side, columns[1] - x.side, 0)
    source = jnp.pad(x.background[0], ((margin, margin), (margin, margin), (0, 0)))
    size = (rows[1] - rows[0], columns[1] - columns[0], source.shape[-1])

    def cut(row: jax.Array, column: jax.Array) -> jax.Array:
        first = (margin + rows[0] + row * x.side, margin + columns[0] + column * x.side)
        return lax.dynamic_slice(source, (*first, jnp.zeros_like(row)), size)

    return jax.vmap(cut)(x.cell // x.n, x.cell % x.n)


def moments(x: Placed) -> tuple[jax.Array, jax.Array]:
    """Mean and mean square of the whole maps: [C] each, float32 at least."""
    batch, height, width, _ = x.shape
    offset = np.arange(height)[None] - np.arange(x.n)[:, None] * x.side + x.before
    covers = ((offset >= 0) & (offset < x.window.shape[1])).astype(np.float32)
    images = jax.nn.one_hot(x.cell, x.n**2).sum(0).reshape(x.n, x.n)
    # In how many maps each pixel is background.
    free = batch - jnp.einsum("rc,ry,cx->yx", images, covers, covers, precision="highest")
    dtype = jnp.promote_types(x.window.dtype, jnp.float32)
    window = _clear_outside(x).window.astype(dtype)
    background = x.background[0].astype(dtype)
    sums = (
        (window**power).sum((0, 1, 2)) + (free[:, :, None] * background**power).sum((0, 1))
        for power in (1, 2)
    )
    mean, square = (total / (batch * height * width) for total in sums)
    return mean, square
