"""Erasure: the smallest affine change of a latent after which no linear probe reads the cell.

Computed in float64 on the host: the covariance is inverted, and it is often nearly singular.

Reference: Belrose, Schneider-Joseph, Ravfogel, Cotterell, Raff and Biderman, "LEACE: Perfect
linear concept erasure in closed form", 2023.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# Correlations of the whitened latent with the cells below this are rounding.
_TOLERANCE = 1e-8


class Eraser(NamedTuple):
    """The map x - left @ (right @ (x - mean)); float64 on the host.

    Attributes:
      left: [C, R], R less than the number of cells.
      right: [R, C].
      mean: [C].
    """

    left: np.ndarray
    right: np.ndarray
    mean: np.ndarray

    @property
    def matrix(self) -> np.ndarray:
        """P, [C, C], of the map x -> P x + bias."""
        return np.eye(len(self.mean)) - self.left @ self.right

    @property
    def bias(self) -> np.ndarray:
        """Offset [C] of the map x -> P x + bias."""
        return self.left @ (self.right @ self.mean)


def fit_eraser(latent: np.ndarray, cell: np.ndarray, *, shrinkage: float = 0.0) -> Eraser:
    r"""Find the least-squares eraser of the cell: section 4, with the one-hot cell as concept.

    .. math:: P = I - W^+ \Pi W, \quad W = (\Sigma_{XX}^{1/2})^+

    with the orthogonal projection :math:`\Pi` onto the columns of :math:`W \Sigma_{XZ}`. On the
    rows given, all cells then have one mean, so no linear probe beats chance; the mean of all
    rows stays, and the change is the least, in mean square, of all affine maps that do this.
    On other rows the cell is erased as well as its means are known: measure there, and fit with
    many more rows than channels.

    Args:
      latent: [N, C], finite.
      cell: int [N]; any labels.
      shrinkage: share in [0, 1) of the mean variance that is blended into the covariance. On
        other rows as much is read for any share, but where the rows are fewer than the channels
        0.1 changes the latent less; 0 is the least change on the rows given.

    Raises:
      ValueError: for other shapes or shares, values that are not finite, or fewer than two cells.
    """
    x, labels = np.asarray(latent, np.float64), np.asarray(cell)
    if x.ndim != 2 or labels.shape != x.shape[:1]:
        raise ValueError(
            f"`latent` must be [N, C] and `cell` [N]; got shapes {x.shape} and {labels.shape}."
        )
    if not np.isfinite(x).all():
        raise ValueError("`latent` must be finite; some values are not.")
    if not 0.0 <= shrinkage < 1.0:
        raise ValueError(f"`shrinkage` must be in [0, 1); got {shrinkage}.")
    names, index = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"`cell` must hold at least 2 different cells; got {len(names)}.")
    mean = x.mean(axis=0)
    x = x - mean
    covariance = x.T @ x / len(x)
    even = np.trace(covariance) / len(mean) * np.eye(len(mean))
    whiten, colour = _roots((1.0 - shrinkage) * covariance + shrinkage * even)
    cross = x.T @ np.eye(len(names))[index] / len(x)
    directions, strength, _ = np.linalg.svd(whiten @ cross, full_matrices=False)
    directions = directions[:, strength > _TOLERANCE]
    return Eraser(colour @ directions, directions.T @ whiten, mean)


def _roots(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pseudo-inverse of the square root of a covariance, and the square root."""
    values, vectors = np.linalg.eigh(covariance)
    alive = values > values[-1] * len(values) * np.finfo(np.float64).eps
    root = np.sqrt(np.where(alive, values, 0.0))
    inverse = np.divide(1.0, root, out=np.zeros_like(root), where=alive)
    return (vectors * inverse) @ vectors.T, (vectors * root) @ vectors.T


def erase(latent: jax.Array, eraser: Eraser) -> jax.Array:
    """Erase the cell from latents [..., C]: float32."""
    x = jnp.asarray(latent, jnp.float32)
    left, right, mean = (jnp.asarray(part, jnp.float32) for part in eraser)
    centred = x - mean.reshape((1,) * (x.ndim - 1) + (-1,))
    read = jnp.matmul(centred, right.T, precision="highest")
    return x - jnp.matmul(read, left.T, precision="highest")


def fold(eraser: Eraser, kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fold the eraser into the linear layer that follows, which then costs nothing to apply.

    Args:
      eraser: of `fit_eraser`.
      kernel: [C, K], of the layer `latent @ kernel + bias`.
      bias: [K].

    Returns:
      The kernel and the bias of a layer that does both, in their own dtypes.

    Raises:
      ValueError: if the kernel has another number of inputs.
    """
    if kernel.shape[:1] != eraser.mean.shape:
        raise ValueError(
            f"`kernel` must have {len(eraser.mean)} inputs, as the eraser; got {kernel.shape}."
        )
    wide = np.asarray(kernel, np.float64)
    read = eraser.left.T @ wide
    folded = wide - eraser.right.T @ read
    offset = np.asarray(bias, np.float64) + (eraser.right @ eraser.mean) @ read
    return folded.astype(kernel.dtype), offset.astype(bias.dtype)
