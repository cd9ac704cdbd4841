"""Maps of images on canvases, computed once where no image has an influence.

Outside one cell every canvas is zero, so every map of a convolutional network is the same for
the whole batch, except in a window around each image's cell: as far as convolutions have
carried its content. `SharedBackground` holds one background and these windows. `conv2d`,
`permute_channels` and the functions of `maps` accept it in place of an array and give what
the whole maps would give, so that a network need not know which of the two it computes with.

Windows keep their place relative to the cell, also where they reach beyond the canvas: what
they hold there means nothing, and no result depends on it.
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
from gpool_jax.ops.maps import moments, pad_channels, relu, subsample
from gpool_jax.ops.permute import permute_channels

# Smallest canvas, in pixels, on which sharing is faster. Measured with ResNet-18 on two CPU cores:
# a training step at width 16 and batch 48 is 1.3 times faster at 64 pixels, 1.2 at 48, slower at
# 24; an evaluation 1.4 times at 48 and 1.6 at 96. Not measured elsewhere: there the work saved
# (2.2 times at 160 pixels) must outweigh that a step consists of more, smaller operations.
LEAST_CANVAS_CPU = 48
LEAST_CANVAS = 160

# Windows are used up to this share of the pixels of the whole maps: training steps were slower,
# or no faster, at 0.5, 0.65 and 0.95.
WORTHWHILE = 0.8


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["background", "window", "cell"],
    meta_fields=["n", "before"],
)
@dataclasses.dataclass(frozen=True)
class SharedBackground:
    """Maps [B, H, W, C], H = W, of images in one cell each of an n x n canvas.

    Attributes:
      background: [1, H, W, C], the values where no image has an influence.
      window: [B, w, w, C], the values from `before` pixels before the cell on.
      cell: int [B] in [0, n*n).
      n: cells per side; each is H / n pixels wide.
      before: pixels of the window before the cell, in rows and in columns.
    """

    background: jax.Array
    window: jax.Array
    cell: jax.Array
    n: int
    before: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(B, H, W, C) of the whole maps."""
        return (self.window.shape[0], *self.background.shape[1:])

    @property
    def dtype(self) -> jnp.dtype:
        """Type of the values."""
        return self.window.dtype

    @property
    def side(self) -> int:
        """Pixels of a cell."""
        return self.background.shape[1] // self.n

    @property
    def after(self) -> int:
        """Pixels of the window after the cell."""
        return self.window.shape[1] - self.before - self.side

    def replace(self, background: jax.Array, window: jax.Array, before: int) -> "SharedBackground":
        """Other maps of the same images in the same cells."""
        return SharedBackground(background, window, self.cell, self.n, before)

    def pointwise(self, fn: Callable[[jax.Array], jax.Array]) -> "SharedBackground":
        """Apply a function that treats every pixel alike."""
        return self.replace(fn(self.background), fn(self.window), self.before)

    def astype(self, dtype: jax.typing.DTypeLike) -> "SharedBackground":
        """Convert the values to another type."""
        return self.pointwise(lambda x: x.astype(dtype))

    def __sub__(self, value: jax.Array) -> "SharedBackground":
        """Subtract one value per channel [1, 1, 1, C]."""
        return self.pointwise(lambda x: x - value)

    def __mul__(self, value: jax.Array) -> "SharedBackground":
        """Multiply by one value per channel [1, 1, 1, C]."""
        return self.pointwise(lambda x: x * value)

    def __add__(self, other: "Maps") -> "Maps":
        """Add other maps, or one value per channel [1, 1, 1, C]; the larger window is kept."""
        if not isinstance(other, SharedBackground):
            if other.shape[:3] == (1, 1, 1):
                return self.pointwise(lambda x: x + other)
            return compose(self) + other
        before, after = max(self.before, other.before), max(self.after, other.after)
        x, y = (_resize(z, before, after) for z in (self, other))
        return x.replace(x.background + y.background, x.window + y.window, before)

    def __radd__(self, other: jax.Array) -> jax.Array:
        """Add to whole maps."""
        return other + compose(self)


# Maps [B, H, W, C] as an array, or with a shared background.
Maps = jax.Array | SharedBackground


def sharing_pays(n: int, side: int, platform: str) -> bool:
    """Tell whether `place_shared` is faster than `place`, with n x n cells of `side`.

    >>> [sharing_pays(3, 32, platform) for platform in ("cpu", "gpu")]
    [True, False]
    """
    least = LEAST_CANVAS_CPU if platform == "cpu" else LEAST_CANVAS
    return n > 1 and n * side >= least


def place_shared(images: jax.Array, cell: jax.Array, n: int) -> Maps:
    """Paste each image into one cell of a canvas, like `place`, but share the zeros around it.

    Images that are not square are placed by `place`.
    """
    side, width, channels = images.shape[1:]
    if side != width:
        return place(images, cell, n)
    background = jnp.zeros((1, n * side, n * side, channels), images.dtype)
    return SharedBackground(background, images, cell, n, before=0)


def compose(x: Maps) -> jax.Array:
    """Write out the whole maps [B, H, W, C]; an array is returned as it is."""
    if not isinstance(x, SharedBackground):
        return x
    out, inside = x.window, jnp.ones((1, 1, 1, 1), bool)
    size, whole = x.window.shape[1], x.background.shape[1]
    for axis, index in ((1, x.cell // x.n), (2, x.cell % x.n)):
        # A choice between n static places: XLA fuses it and its gradient, where it would loop
        # over the batch for a scatter.
        places = []
        for i in range(x.n):
            pads, low = [(0, 0, 0)] * 4, i * x.side - x.before
            pads[axis] = (low, whole - low - size, 0)
            places.append(lax.pad(out, jnp.zeros((), out.dtype), pads))
        out = places[0]
        for i in range(1, x.n):
            out = jnp.where(index[:, None, None, None] == i, places[i], out)
        offset = jnp.arange(whole)[None] - index[:, None] * x.side + x.before
        here = (offset >= 0) & (offset < size)
        inside = inside & jnp.expand_dims(here, (3 - axis, 3))
    return jnp.where(inside, out, x.background)


def _extend(function: Any) -> Callable:
    """Give a function of arrays its case for a `SharedBackground`."""
    return function.register(SharedBackground)


@_extend(relu)
def _(x: SharedBackground) -> SharedBackground:
    return x.pointwise(jax.nn.relu)


@_extend(pad_channels)
def _(x: SharedBackground, *, before: int, after: int) -> SharedBackground:
    return x.pointwise(lambda maps: pad_channels(maps, before=before, after=after))


@_extend(permute_channels)
def _(x: SharedBackground, permutation: jax.Array) -> Maps:
    # One permutation per example leaves no background to share.
    if permutation.ndim > 1:
        return permute_channels(compose(x), permutation)
    return x.pointwise(lambda maps: permute_channels(maps, permutation))


@_extend(subsample)
def _(x: SharedBackground, *, stride: int) -> Maps:
    if x.side % stride:
        return subsample(compose(x), stride=stride)
    before = x.before // stride
    first = x.before - before * stride
    window = x.window[:, first::stride, first::stride]
    return x.replace(subsample(x.background, stride=stride), window, before)


@_extend(conv2d)
def _(
    x: SharedBackground,
    kernel: jax.Array,
    *,
    stride: int = 1,
    dilation: int = 1,
    padding: str = "zeros",
) -> Maps:
    """Give windows that hold every pixel the images influence, or whole maps where those pay."""
    whole = functools.partial(
        conv2d, kernel=kernel, stride=stride, dilation=dilation, padding=padding
    )
    if dilation > 1 or padding != "zeros" or x.side % stride:
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


def _clear_outside(x: SharedBackground) -> SharedBackground:
    """Set the pixels of the windows that lie beyond the canvas to zero."""
    size = x.window.shape[1]
    position = np.arange(x.n)[:, None] * x.side - x.before + np.arange(size)[None]
    inside = jnp.asarray((position >= 0) & (position < x.background.shape[1]))
    rows, columns = inside[x.cell // x.n], inside[x.cell % x.n]
    mask = (rows[:, :, None] & columns[:, None, :])[..., None]
    window = jnp.where(mask, x.window, jnp.zeros_like(x.window))
    return x.replace(x.background, window, x.before)


def _resize(x: SharedBackground, before: int, after: int) -> SharedBackground:
    """Cut windows, or extend them by the background; beyond the canvas are zeros."""
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


def _surround(x: SharedBackground, rows: tuple[int, int], columns: tuple[int, int]) -> jax.Array:
    """The background at rows and columns counted from each image's cell: [B, h, w, C]."""
    margin = max(-rows[0], -columns[0], rows[1] - x.side, columns[1] - x.side, 0)
    source = jnp.pad(x.background[0], ((margin, margin), (margin, margin), (0, 0)))
    size = (rows[1] - rows[0], columns[1] - columns[0], source.shape[-1])

    def cut(row: jax.Array, column: jax.Array) -> jax.Array:
        first = (margin + rows[0] + row * x.side, margin + columns[0] + column * x.side)
        return lax.dynamic_slice(source, (*first, jnp.zeros_like(row)), size)

    return jax.vmap(cut)(x.cell // x.n, x.cell % x.n)


@_extend(moments)
def _(x: SharedBackground) -> tuple[jax.Array, jax.Array]:
    batch, height, width, _ = x.shape
    offset = np.arange(height)[None] - np.arange(x.n)[:, None] * x.side + x.before
    covers = ((offset >= 0) & (offset < x.window.shape[1])).astype(np.float32)
    images = jax.nn.one_hot(x.cell, x.n**2, dtype=jnp.float32).sum(0).reshape(x.n, x.n)
    # In how many maps each pixel is background.
    free = batch - jnp.einsum("rc,ry,cx->yx", images, covers, covers, precision="highest")
    dtype = np.promote_types(x.dtype, np.float32)
    window, free = _clear_outside(x).window.astype(dtype), free.astype(dtype)
    background = x.background[0].astype(dtype)
    sums = (
        (window**power).sum((0, 1, 2)) + (free[:, :, None] * background**power).sum((0, 1))
        for power in (1, 2)
    )
    mean, square = (total / (batch * height * width) for total in sums)
    return mean, square
