"""Content: which image is it? Read from the latents that position is read from.

No labels and no fit are needed: a latent seen in one cell is matched with what every image looks
like, on average, in the other cells.
"""

import functools

import jax
import jax.numpy as jnp

from gpool_jax.ops.scaling import standardise

# Cosines closer than float32 tells apart count as equal.
_TIE = 1e-6


@functools.partial(jax.jit, static_argnames="block")
def content_matches(latent: jax.Array, *, block: int = 1024) -> jax.Array:
    """Match each latent with the image it is of: float32 [N, M], 1 where it is found.

    Channels are standardised over all rows. The latent of image i in cell m is compared, by
    cosine, with the mean latent of every image over the cells other than m. Where several images
    are equally near, one of T shares the hit as 1 / T: identical images, or latents that carry
    nothing, score 1 / N.

    Args:
      latent: [N, M, C], finite: N images in M cells; of one order, see `input_orders`.
      block: latents compared at once; 4 N `block` bytes are held.

    Raises:
      ValueError: for fewer than two images or cells.
    """
    images, cells, _ = latent.shape
    if min(images, cells) < 2:
        raise ValueError(
            f"`latent` must hold at least 2 images in at least 2 cells; got shape {latent.shape}."
        )
    x = standardise(latent)
    total = x.sum(axis=1)

    def of_cell(seen: jax.Array) -> jax.Array:
        known = _unit(total - seen)

        def of_image(row: tuple[jax.Array, jax.Array]) -> jax.Array:
            index, query = row
            cosine = jnp.matmul(known, query, precision="highest")
            own = cosine[index]
            first = cosine.max() <= own + _TIE
            ties = (cosine >= own - _TIE).sum(dtype=jnp.float32)
            return jnp.where(first, 1.0, 0.0) / ties

        rows = jnp.arange(images), _unit(seen)
        return jax.lax.map(of_image, rows, batch_size=min(block, images))

    return jax.lax.map(of_cell, jnp.moveaxis(x, 1, 0)).T


def _unit(x: jax.Array) -> jax.Array:
    """Scale rows to length 1; zero rows stay zero."""
    length = jnp.linalg.norm(x, axis=-1, keepdims=True)
    return x / jnp.where(length > 0, length, 1.0)
