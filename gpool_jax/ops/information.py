"""Bits that a probe finds, which tell more than its accuracy, and what of them survives sorting."""

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax.ops.bootstrap import resampled_means
from gpool_jax.ops.losses import cross_entropy


def row_bits(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Bits about the label that the probe has of each row, float32 [N]; negative if misled.

    log2(K) plus log2 of the probability that the probe gives to the label. Their mean is an
    estimate of information: resample the means of images for its interval, and clip at 0 last.

    Args:
      logits: [N, K], held out, of a logistic or MLP probe (`held_out_logits`, its penalty picked
        by likelihood); a ridge probe's outputs are no logits.
      targets: int [N], all K labels equally frequent, as cells are.

    >>> row_bits(jnp.array([[30.0, 0.0], [0.0, 0.0]]), jnp.array([0, 1])).tolist()
    [1.0, 0.0]
    """
    loss = cross_entropy(logits.astype(jnp.float32), targets)
    return (jnp.log(jnp.float32(logits.shape[-1])) - loss) / jnp.log(jnp.float32(2.0))


def information_bits(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Bits about the label that the probe finds: the mean of `row_bits`, at least 0.

    log2(K) minus the cross-entropy in bits, on held-out rows: a lower bound of the mutual
    information of latent and label, on average.

    Reference: Xu, Zhao, Song, Stewart and Ermon, "A theory of usable information under
    computational constraints", 2020.
    """
    return jnp.maximum(row_bits(logits, targets).mean(), 0.0)


# A mean of shares of a hit is at chance up to this.
_ROUNDING = 1e-6


def surviving_share(
    ordered: np.ndarray,
    unordered: np.ndarray,
    *,
    chance: float,
    num_draws: int = 2000,
    seed: int = 0,
) -> tuple[float, np.ndarray]:
    """Share of what is read from the latent that is still read from it sorted (or permuted).

    (unordered - chance) / (ordered - chance), each the mean over images. The draws of one seed
    are the same images whatever is asked, so that the shares of position and of content can be
    subtracted draw by draw.

    Args:
      ordered: [N], each image's score from the latent in order.
      unordered: [N], from the sorted one.
      chance: score of a guess.
      num_draws: D, see `draw_resamples`.
      seed: random seed of the draws.

    Returns:
      The share, and float64 [D], that of every draw. NaN where the ordered score is not above
      chance: there is nothing that could survive, and an interval from the other draws would
      hide it.

    Raises:
      ValueError: if the two do not have the same images.

    >>> surviving_share(np.array([1.0, 1.0]), np.array([0.5, 0.7]), chance=0.1, num_draws=5)[0]
    0.5555555555555556
    """
    scores = [np.asarray(score, np.float64) for score in (unordered, ordered)]
    if scores[0].ndim != 1 or scores[0].shape != scores[1].shape:
        raise ValueError(
            f"`ordered` and `unordered` must be scores [N] of the same images; got shapes "
            f"{scores[1].shape} and {scores[0].shape}."
        )
    pair = np.stack(scores, axis=1)
    draws = resampled_means(pair, np.ones(len(pair)), num_draws=num_draws, seed=seed)
    above = np.vstack([pair.mean(axis=0, keepdims=True), draws]) - chance
    known = above[:, 1] > _ROUNDING
    shares = np.divide(above[:, 0], above[:, 1], out=np.full(len(above), np.nan), where=known)
    return float(shares[0]), shares[1:]
