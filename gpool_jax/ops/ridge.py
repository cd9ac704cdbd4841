"""Ridge regressions that leave folds out, all from one pass over the rows.

The rows of each fold are summed up once (count, means, Gram matrix about the fold's own mean).
What leaves some folds out is solved from the sums of the others, which are added, never
subtracted, so that nothing cancels; a regression on some of the channels needs no new sums either.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gpool_jax.ops.scaling import inverse_deviation

# Penalties on standardised inputs, relative to the mean loss.
STRENGTHS = (1e-4, 1e-2, 1.0)
_BLOCK = 1024


class Moments(NamedTuple):
    """Sums over the rows of each fold.

    Attributes:
      size: [F], number of rows.
      mean: [F, D], mean input.
      target: [F, T], mean target.
      gram: [F, D, D], products of the inputs minus their means, summed.
      cross: [F, D, T], products of such inputs and targets.
    """

    size: jax.Array
    mean: jax.Array
    target: jax.Array
    gram: jax.Array
    cross: jax.Array


class Regression(NamedTuple):
    """Ridge regressions, one per penalty: y = (x - mean) @ kernel[s] + offset.

    Attributes:
      mean: [D].
      kernel: [S, D, T].
      offset: [T].
    """

    mean: jax.Array
    kernel: jax.Array
    offset: jax.Array


def fold_moments(
    inputs: jax.Array, targets: jax.Array, fold: jax.Array, *, num_folds: int
) -> Moments:
    """Sum up each fold in one pass: 2 N D (D + T) operations, and no copy of the inputs.

    Args:
      inputs: float [N, D].
      targets: float [N, T].
      fold: int [N] in [0, num_folds).
      num_folds: F.
    """
    x, y = jnp.asarray(inputs, jnp.float32), jnp.asarray(targets, jnp.float32)
    member = jax.nn.one_hot(fold, num_folds, axis=0)
    size = member.sum(axis=1)
    share = member / jnp.maximum(size, 1.0)[:, None]
    mean, target = _product(share, x), _product(share, y)

    def add(sums: tuple[jax.Array, jax.Array], block: tuple) -> tuple[tuple, None]:
        gram, cross = sums
        rows, inside, k = block
        centred = jnp.where(inside[:, None], x[rows] - mean[k][None], 0.0)
        gram = gram.at[k].add(_product(centred.T, centred))
        return (gram, cross.at[k].add(_product(centred.T, y[rows] - target[k][None]))), None

    channels = x.shape[1]
    empty = jnp.zeros((num_folds, channels, channels)), jnp.zeros((num_folds, channels, y.shape[1]))
    (gram, cross), _ = jax.lax.scan(add, empty, _blocks(fold, num_folds))
    return Moments(size, mean, target, gram, cross)


def _blocks(fold: jax.Array, num_folds: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Cut the rows into blocks of one fold each: (rows [B, b], whether they count, fold [B])."""
    size = min(_BLOCK, -(-len(fold) // num_folds))
    order = jnp.argsort(fold)
    counts = jnp.bincount(fold, length=num_folds)
    last = jnp.cumsum(-(-counts // size))
    block = jnp.arange(len(fold) // size + num_folds)
    k = jnp.minimum(jnp.searchsorted(last, block, side="right"), num_folds - 1)
    # Place of a row among those of its fold; the last block of a fold may reach beyond them.
    first = (block - (last - (-(-counts // size)))[k]) * size
    place = first[:, None] + jnp.arange(size)[None]
    start = jnp.cumsum(counts) - counts
    rows = order[jnp.minimum(start[k][:, None] + place, len(fold) - 1)]
    return rows, place < counts[k][:, None], k


def regress(
    moments: Moments,
    folds: jax.Array,
    strengths: jax.Array,
    *,
    keep: jax.Array | None = None,
    standardised: bool = False,
) -> Regression:
    """Solve for every penalty, on the rows of some folds.

    The penalty is on standardised inputs, by the statistics of those folds; the offset is free.

    Args:
      moments: of `fold_moments`.
      folds: [F], bool or 0 and 1, the folds to fit.
      strengths: [S], penalties relative to the mean loss.
      keep: bool [D], the channels that are used; None: all.
      standardised: the inputs are standardised already, or are a rotation of such.
    """
    count = moments.size * folds.astype(jnp.float32)
    share = count / count.sum()
    folds = folds.astype(jnp.float32) / count.sum()
    mean, offset = _product(share, moments.mean), _product(share, moments.target)
    apart = moments.mean - mean[None]
    between = (apart * share[:, None]).T
    gram = jnp.einsum("f,fde->de", folds, moments.gram) + _product(between, apart)
    cross = jnp.einsum("f,fdt->dt", folds, moments.cross)
    cross = cross + _product(between, moments.target - offset[None])
    scale = jnp.ones_like(mean)
    if not standardised:
        scale = inverse_deviation(mean, jnp.diagonal(gram))
    scale = scale if keep is None else scale * keep.astype(scale.dtype)
    correlation, cross = gram * scale[:, None] * scale[None], cross * scale[:, None]

    def solve(strength: jax.Array) -> jax.Array:
        # An eigendecomposition, made once for all penalties, costs more than twenty of these.
        return jnp.linalg.solve(correlation + strength * jnp.eye(len(scale)), cross)

    return Regression(mean, jax.vmap(solve)(strengths) * scale[None, :, None], offset)


def predict(regression: Regression, inputs: jax.Array) -> jax.Array:
    """Predictions of every penalty's regression: float32 [S, N, T] from inputs [N, D]."""
    centred = jnp.asarray(inputs, jnp.float32) - regression.mean[None]
    outputs = jnp.einsum("nd,sdt->snt", centred, regression.kernel, precision="highest")
    return outputs + regression.offset[None, None]


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    # Accelerators would round the factors to half precision, and a small penalty shows it.
    return jnp.matmul(a, b, precision="highest")
