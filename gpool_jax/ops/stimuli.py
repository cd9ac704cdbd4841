"""The stimuli of an audit: an image in every cell of a canvas, and an image at many offsets.

Cells are numbered row-major, ``row * n + column``, as in `canvas`; an offset is (dy, dx) in
pixels, down and right, as in `shifts`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax.ops.keys import example_keys
from gpool_jax.ops.shifts import crop, shift

BACKGROUNDS = ("mean", "noise", "blur", "image")
VIEW_PROTOCOLS = ("crop", "zeros", "circular")
# Standard deviation of the blur, as a share of the canvas: no detail of the image is left.
_BLUR = 0.125

Size = tuple[int, int]


def canvas_sizes(size: Size, n: int, *, grown: bool = False) -> tuple[Size, Size]:
    """Sizes of an image in its cell and of the canvas, for a network's own input size.

    Args:
      size: (height, width) of the network's inputs, in pixels.
      n: cells per side.
      grown: keep images at `size`, on a canvas that is n times as large; without it the canvas
        is of `size`, and images shrink into their cell.

    Raises:
      ValueError: if there are more cells than pixels.

    >>> canvas_sizes((224, 192), 3)
    ((74, 64), (224, 192))
    """
    height, width = size
    if not 1 <= n <= min(size):
        raise ValueError(f"`n` must be in [1, {min(size)}], the pixels of a canvas; got {n}.")
    if grown:
        return size, (n * height, n * width)
    return (height // n, width // n), size


@functools.partial(jax.jit, static_argnames=("n", "size", "background", "circular"))
def canvases(
    key: jax.Array,
    images: jax.Array,
    index: jax.Array,
    *,
    n: int,
    size: Size | None = None,
    background: str = "mean",
    others: jax.Array | None = None,
    circular: bool = False,
) -> jax.Array:
    """Paste each image into every cell of its canvas: [B, n*n, H, W, C], dtype of `images`.

    Cells are as large as the images; pixels that are left over go half to each side. The
    background of an image is the same for all its cells.

    Args:
      key: PRNG key of the noise.
      images: float [B, h, w, C], normalised.
      index: int [B], the global index of each image: its noise does not depend on the batch.
      n: cells per side.
      size: (H, W) of the canvas, at least (n * h, n * w); None: that.
      background: "mean" (0, the mean colour after normalisation), "noise" (normal noise of the
        image's own mean and standard deviation in each channel), "blur" (the image itself over
        the whole canvas, blurred) or "image" (another image). The border of a pasted image is a
        cue of its own, which differs among them.
      others: [B, H, W, C], normalised, the images of background "image".
      circular: instead of the image, roll the whole canvas from the first cell to the others. A
        network with circular padding then sees one stimulus, shifted: by multiples of (h, w),
        which must be multiples of its total stride for latents to be equal.

    Raises:
      ValueError: if the background is unknown, or sizes do not fit.
    """
    height, width = images.shape[1:3]
    size = (n * height, n * width) if size is None else size
    margin = [size[0] - n * height, size[1] - n * width]
    if min(margin) < 0:
        raise ValueError(
            f"`size` must be at least {(n * height, n * width)}, {n} images a side; got {size}."
        )
    behind = _background(key, images, index, size, background, others)
    # Every cell shows the image; each canvas sees one of them through a window.
    around = [(space // 2, space - space // 2) for space in margin]
    tiled = jnp.pad(jnp.tile(images, (1, n, n, 1)), ((0, 0), *around, (0, 0)))
    sides = zip(size, (height, width), around, strict=True)
    rows, columns = (
        (np.arange(whole) - before) // side == np.arange(n)[:, None]
        for whole, side, (before, _) in sides
    )
    window = jnp.asarray(rows)[:, None, :, None] & jnp.asarray(columns)[None, :, None, :]
    window = window.reshape(1, n * n, *size, 1)[:, : 1 if circular else n * n]
    placed = jnp.where(window, tiled[:, None], behind[:, None])
    if not circular:
        return placed
    steps = [(row * height, column * width) for row in range(n) for column in range(n)]
    return jnp.stack([jnp.roll(placed[:, 0], step, (1, 2)) for step in steps], axis=1)


def shifted_views(
    images: jax.Array, offsets: jax.Array, *, protocol: str, margin: int = 0
) -> jax.Array:
    """Move each image by every offset: [B, V, H, W, C], dtype of `images`.

    The unshifted view is the central part of the image, the same under every protocol.

    Args:
      images: [B, H + 2 * margin, W + 2 * margin, C].
      offsets: int [V, 2], or [B, V, 2] with an image's own.
      protocol: what enters where content leaves: "crop" (what the margin holds), "zeros", or
        "circular" (what left on the other side).
      margin: pixels around the unshifted view.

    Raises:
      ValueError: if the protocol is unknown, the margin leaves no pixel, or an offset under
        "crop" is not in [-margin, margin].
    """
    if protocol not in VIEW_PROTOCOLS:
        raise ValueError(f"`protocol` must be one of {VIEW_PROTOCOLS}; got {protocol!r}.")
    if not 0 <= 2 * margin < min(images.shape[1:3]):
        raise ValueError(f"`margin` must leave pixels of {images.shape[1:3]}; got {margin}.")
    # A slice would stop at the border without a word.
    if protocol == "crop" and not isinstance(offsets, jax.core.Tracer):
        farthest = int(np.abs(np.asarray(offsets)).max(initial=0))
        if farthest > margin:
            raise ValueError(f"`offsets` must be within `margin` = {margin}; got {farthest}.")
    return _views(images, offsets, protocol, margin)


@functools.partial(jax.jit, static_argnames=("protocol", "margin"))
def _views(images: jax.Array, offsets: jax.Array, protocol: str, margin: int) -> jax.Array:
    batch, height, width, _ = images.shape
    size = height - 2 * margin, width - 2 * margin
    own = offsets if offsets.ndim == 3 else offsets[None]
    own = jnp.broadcast_to(own, (batch, *own.shape[1:]))
    still = images[:, margin : margin + size[0], margin : margin + size[1]]

    def move(by: jax.Array) -> jax.Array:
        if protocol == "crop":
            return crop(images, margin - by, size)
        return shift(still, by, mode=protocol)

    return jax.vmap(move, in_axes=1, out_axes=1)(own)


def _background(
    key: jax.Array,
    images: jax.Array,
    index: jax.Array,
    size: Size,
    kind: str,
    others: jax.Array | None,
) -> jax.Array:
    """What surrounds the image on a canvas: [B, H, W, C], dtype of `images`."""
    shape = (images.shape[0], *size, images.shape[-1])
    if kind not in BACKGROUNDS:
        raise ValueError(f"`background` must be one of {BACKGROUNDS}; got {kind!r}.")
    if kind == "mean":
        return jnp.zeros(shape, images.dtype)
    if kind == "image":
        if others is None or others.shape != shape:
            given = None if others is None else others.shape
            raise ValueError(f"`others` must be the background images, {shape}; got {given}.")
        return others.astype(images.dtype)
    if kind == "noise":
        mean, std = (f(images, (1, 2), keepdims=True) for f in (jnp.mean, jnp.std))
        keys = example_keys(key, index)
        return mean + std * jax.vmap(lambda k: jax.random.normal(k, shape[1:], images.dtype))(keys)
    down, across = (_blur_weights(*sides) for sides in zip(size, images.shape[1:3], strict=True))
    return jnp.einsum(
        "yh,bhwc,xw->byxc", down.astype(images.dtype), images, across.astype(images.dtype)
    )


def _blur_weights(out: int, side: int) -> np.ndarray:
    """Weights [out, side] of pixels of one dimension, stretched to `out` and blurred."""
    distance = ((np.arange(out) + 0.5) / out)[:, None] - ((np.arange(side) + 0.5) / side)[None]
    weights = np.exp(-0.5 * (distance / _BLUR) ** 2)
    return weights / weights.sum(1, keepdims=True)
