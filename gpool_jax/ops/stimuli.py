"""Stimuli of an audit: an image in every cell of a canvas, on a background; and shifted views."""

import functools

import jax
import jax.numpy as jnp

from gpool_jax.ops.shifts import shift

BACKGROUNDS = ("mean", "noise", "blur", "image")
VIEWS = ("crop", "zeros", "circular")


@functools.partial(jax.jit, static_argnames=("n", "background", "size"))
def canvases(
    images: jax.Array,
    *,
    n: int,
    size: tuple[int, int],
    background: str = "mean",
    others: jax.Array | None = None,
    seed: int = 0,
) -> jax.Array:
    """Paste each image into every cell of a canvas: float32 [B, n*n, H, W, C].

    Cell `row * n + column` is the part of the canvas from its corner on that the image covers;
    where n does not divide the canvas, what is left over lies at its lower and right ends.

    Args:
      images: float [B, h, w, C], normalised; n*h and n*w are at most H and W.
      n: cells per side.
      size: (H, W) of the canvas.
      background: "mean" (zeros), "noise" (of the mean and deviation of the image's own colours),
        "blur" (the image itself, as large as the canvas and without details) or "image" (another
        image, as large as the canvas).
      others: float [B, h, w, C], the images of background "image".
      seed: random seed of the noise.

    Raises:
      ValueError: for an unknown background, or images that do not fit.
    """
    batch, height, width, channels = images.shape
    if background not in BACKGROUNDS or (background == "image" and others is None):
        raise ValueError(
            f"`background` must be one of {BACKGROUNDS}, with `others`; got {background!r}."
        )
    if n * height > size[0] or n * width > size[1]:
        raise ValueError(f"`images` of {height} x {width} do not fit {n} times into {size}.")
    whole = (batch, *size, channels)
    if background == "noise":
        mean, deviation = (f(images, axis=(1, 2), keepdims=True) for f in (jnp.mean, jnp.std))
        base = mean + deviation * jax.random.normal(jax.random.key(seed), whole)
    elif background == "blur":
        # A quarter of a cell is a pixel: no detail, the colours where they are.
        small = jax.image.resize(images, (batch, 4, 4, channels), "linear")
        base = jax.image.resize(small, whole, "cubic")
    elif background == "image":
        base = jax.image.resize(others, whole, "linear")
    else:
        base = jnp.zeros(whole, jnp.float32)

    def paste(cell: jax.Array) -> jax.Array:
        corner = (0, cell // n * height, cell % n * width, 0)
        return jax.lax.dynamic_update_slice(base, images.astype(base.dtype), corner)

    return jax.vmap(paste, out_axes=1)(jnp.arange(n * n))


@functools.partial(jax.jit, static_argnames=("protocol", "margin"))
def shifted_views(
    images: jax.Array, offsets: jax.Array, *, protocol: str, margin: int = 0
) -> jax.Array:
    """Every image at every offset: [B, V, H, W, C].

    Args:
      images: [B, H + 2 * margin, W + 2 * margin, C].
      offsets: int [V, 2], (dy, dx): content moves down and right; at most `margin` for "crop".
      protocol: what enters where content left: "crop" (what lies in the margin), "zeros" or
        "circular" (what left on the other side).
      margin: pixels around the unshifted view, for "crop".

    Raises:
      ValueError: for an unknown protocol.
    """
    if protocol not in VIEWS:
        raise ValueError(f"`protocol` must be one of {VIEWS}; got {protocol!r}.")
    batch, height, width, _ = images.shape
    inside = height - 2 * margin, width - 2 * margin

    def view(offset: jax.Array) -> jax.Array:
        by = jnp.broadcast_to(offset, (batch, 2))
        if protocol != "crop":
            return shift(images, by, mode=protocol)
        start = margin - offset
        return jax.lax.dynamic_slice(
            images, (0, start[0], start[1], 0), (batch, *inside, images.shape[-1])
        )

    return jax.vmap(view, out_axes=1)(offsets)
