"""The random-code null: how much of a code without structure would survive sorting?

Some position is read from a sorted latent whatever the code: channels that vary with the cell
change the distribution of values too. The null has each channel's values as they are, but which
cell has which value is drawn anew in every channel.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gpool_jax.ops.scaling import standardise


class RandomCode(NamedTuple):
    """A random code.

    Attributes:
      latent: [N, M, C], to be probed like the observed one.
      noise: factor of the deviations from the cells' means; 1 leaves them as observed.
      accuracy: the ordered accuracy reached.
    """

    latent: jax.Array
    noise: float
    accuracy: float


@jax.jit
def shuffle_code(key: jax.Array, latent: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Shuffle each channel's cell means by a permutation of its own.

    Args:
      key: PRNG key.
      latent: [N, M, C]: N images in M cells.

    Returns:
      The shuffled means [M, C], and the deviations of `latent` from its own, [N, M, C].
    """
    latent = latent.astype(jnp.float32)
    mean = latent.mean(axis=0)
    return jax.random.permutation(key, mean, axis=0, independent=True), latent - mean[None]


def random_code(
    key: jax.Array,
    latent: jax.Array,
    *,
    accuracy: Callable[[jax.Array], float] | None = None,
    target: float | None = None,
    tolerance: float = 0.005,
    max_steps: int = 16,
) -> RandomCode:
    """Draw a random code in which the cell is read, in order, as well as in the observed latent.

    The noise is the observed one: deviations from the cells' means, so that their distribution
    and their correlation between channels stay; they are multiplied by one factor, found by
    bisection from 1. The search ends at the first factor within the tolerance, so that where
    accuracy is saturated the noise stays as observed.

    Args:
      key: PRNG key.
      latent: [N, M, C]: N images in M cells.
      accuracy: reads the cell from [N, M, C] in order, 0..1; None: `nearest_mean_hits`. It is
        called up to `max_steps` times, and should fall as noise rises.
      target: accuracy to reach; None: that of `latent`.
      tolerance: difference in accuracy that counts as none.
      max_steps: factors tried; the nearest is given if none is within the tolerance, so compare
        the accuracy reached.
    """
    read = accuracy or (lambda x: float(nearest_mean_hits(x).mean()))
    target = read(latent) if target is None else target
    means, deviations = shuffle_code(key, latent)
    low, high, noise = 0.0, float("inf"), 1.0
    nearest = None
    for _ in range(max_steps):
        code = means[None] + noise * deviations
        reached = float(read(code))
        if nearest is None or abs(reached - target) < abs(nearest.accuracy - target):
            nearest = RandomCode(code, noise, reached)
        if abs(reached - target) <= tolerance:
            break
        low, high = (noise, high) if reached > target else (low, noise)
        noise = 2.0 * low if high == float("inf") else (low + high) / 2.0
    if nearest is None:
        raise ValueError(f"`max_steps` must be at least 1; got {max_steps}.")
    return nearest


@jax.jit
def nearest_mean_hits(latent: jax.Array) -> jax.Array:
    """Read the cell as that of the nearest mean of the other images: float32 [N, M], 0 or 1.

    Channels are standardised over all rows; distances are Euclidean. `latent` is [N, M, C].
    """
    x = standardise(latent)
    images, cells, _ = x.shape
    total = x.sum(axis=0)

    def of_image(own: jax.Array) -> jax.Array:
        means = (total - own) / (images - 1)
        nearness = jnp.matmul(own, means.T, precision="highest")
        nearness = nearness - 0.5 * (means**2).sum(axis=-1)[None]
        return nearness.argmax(axis=-1) == jnp.arange(cells)

    hits = jax.lax.map(of_image, x, batch_size=min(256, images))
    return hits.astype(jnp.float32)
