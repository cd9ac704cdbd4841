"""Translations of images, and the random draws of their offsets.

An offset is (dy, dx) in pixels: content moves down by dy and right by dx.
"""

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax.ops.keys import example_keys

SHIFT_MODES = ("zeros", "reflect", "replicate", "circular")


def shift(images: jax.Array, offset: jax.Array, *, mode: str = "zeros") -> jax.Array:
    """Move each image by its own whole number of pixels; size and dtype stay.

    Args:
      images: [B, H, W, C].
      offset: int [B, 2], (dy, dx).
      mode: what fills the gap: "zeros", "reflect" (the image mirrored at its edge pixels,
        which are not repeated), "replicate" (the edge pixels) or "circular" (what left on the
        other side).

    Raises:
      ValueError: if `mode` is unknown.

    >>> row = jnp.array([1, 2, 3]).reshape(1, 1, 3, 1)
    >>> shift(row, jnp.array([[0, 1]]), mode="circular").ravel().tolist()
    [3, 1, 2]
    """
    if mode not in SHIFT_MODES:
        raise ValueError(f"`mode` must be one of {SHIFT_MODES}; got {mode!r}.")
    height, width = images.shape[1:3]

    def move(image: jax.Array, by: jax.Array) -> jax.Array:
        rows, row_inside = _source(height, by[0], mode)
        columns, column_inside = _source(width, by[1], mode)
        moved = image[rows][:, columns]
        inside = row_inside[:, None] & column_inside[None, :]
        return jnp.where(inside[:, :, None], moved, jnp.zeros_like(moved))

    return jax.vmap(move)(images, offset)


def _source(side: int, by: jax.Array, mode: str) -> tuple[jax.Array, jax.Array]:
    """For every pixel of one dimension: which pixel moves here, and whether one does."""
    wanted = jnp.arange(side) - by
    everywhere = jnp.ones(side, bool)
    if mode == "circular":
        return wanted % side, everywhere
    if mode == "reflect":
        # A reflected image repeats after one way there and back, edges counted once.
        period = max(2 * (side - 1), 1)
        there = wanted % period
        return jnp.minimum(there, period - there), everywhere
    inside = (wanted >= 0) & (wanted < side)
    nearest = jnp.clip(wanted, 0, side - 1)
    return nearest, everywhere if mode == "replicate" else inside


def crop(images: jax.Array, corner: jax.Array, side: int | tuple[int, int]) -> jax.Array:
    """Cut a part out of each image: content moves, and real content enters.

    Args:
      images: [B, H, W, C].
      corner: int [B, 2], the part's first row in [0, H - height] and column in [0, W - width].
      side: side of a square, or (height, width), in pixels.

    Raises:
      ValueError: if the part is larger than the images.
    """
    height, width = (side, side) if isinstance(side, int) else side
    if height > images.shape[1] or width > images.shape[2]:
        most = min(images.shape[1:3]) if isinstance(side, int) else images.shape[1:3]
        raise ValueError(f"`side` must be at most {most}; got {side}.")

    def cut(image: jax.Array, at: jax.Array) -> jax.Array:
        zero = jnp.zeros_like(at[0])
        size = (height, width, image.shape[-1])
        return jax.lax.dynamic_slice(image, (at[0], at[1], zero), size)

    return jax.vmap(cut)(images, corner)


def fourier_shift(images: jax.Array, offset: jax.Array) -> jax.Array:
    """Move each image circularly by any fraction of a pixel: the ideal band-limited shift.

    Each frequency f of a dimension with N pixels is multiplied by exp(-2 pi i f d / N). The
    highest frequency of an even N has no sign, so it keeps only the real part, cos(pi d): whole
    shifts are exact, and shifting back after a fraction loses that one frequency.

    Args:
      images: float [B, H, W, C].
      offset: float [B, 2], (dy, dx) in pixels.
    """
    moved = jnp.fft.fft2(images.astype(jnp.float32), axes=(1, 2))
    for axis in (0, 1):
        side, distance = images.shape[1 + axis], offset[:, axis, None].astype(jnp.float32)
        frequency = jnp.asarray(np.fft.fftfreq(side) * side, jnp.float32)
        angle = 2.0 * jnp.pi / side * distance * frequency[None, :]
        turn = jnp.exp(-1j * angle.astype(jnp.complex64))
        unsigned = (side % 2 == 0) & (jnp.arange(side) == side // 2)
        turn = jnp.where(unsigned[None, :], turn.real.astype(turn.dtype), turn)
        moved = moved * jnp.expand_dims(turn, (2 - axis, 3))
    return jnp.fft.ifft2(moved, axes=(1, 2)).real.astype(jnp.float32)


def draw_shifts(key: jax.Array, index: jax.Array, max_shift: int) -> jax.Array:
    """Draw one offset per example, uniformly over [-max_shift, max_shift]; see `draw_offsets`."""
    return draw_offsets(key, index, -max_shift, max_shift)


def draw_offsets(key: jax.Array, index: jax.Array, low: int, high: int) -> jax.Array:
    """Draw one offset per example, uniformly over [low, high] in both dimensions: int32 [B, 2].

    `index`, int [B], is the global index of each example; `low` and `high` are drawn too.
    """
    draw = jax.vmap(lambda k: jax.random.randint(k, (2,), low, high + 1))
    return draw(example_keys(key, index))
