"""Measurements from sums that can be added over batches and devices."""

import jax
import jax.numpy as jnp
import numpy as np


def masked_sum(values: jax.Array, *, mask: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """A quantity as (sum, count), float32 scalars, so that means over unequal batches are exact.

    `values` [B] has one value per example; `mask`, bool [B], is False where it is padding.
    """
    values = values.astype(jnp.float32)
    if mask is None:
        return values.sum(), jnp.float32(values.size)
    mask = mask.astype(jnp.float32)
    return (values * mask).sum(), mask.sum()


def position_selectivity(total: np.ndarray, total_of_squares: np.ndarray, count: int) -> np.ndarray:
    """Share of each channel's variance that the cell explains (eta squared).

    Args:
      total: [cells, C], sum of the latent over images, per cell.
      total_of_squares: [cells, C], sum of its square.
      count: images per cell.

    Returns:
      float64 [C] in 0..1; 0 for a channel that never changes.

    Reference: Fisher, Statistical Methods for Research Workers, 1925 (the correlation ratio).
    """
    total = np.asarray(total, np.float64)
    mean_per_cell = total / count
    between = mean_per_cell.var(axis=0)
    everything = np.asarray(total_of_squares, np.float64).mean(axis=0) / count
    variance = everything - mean_per_cell.mean(axis=0) ** 2
    # Rounding alone makes a dead channel's variance about 1e-7 of its square.
    alive = variance > 1e-6 * np.maximum(everything, 1e-12)
    return np.where(alive, np.clip(between / np.where(alive, variance, 1.0), 0.0, 1.0), 0.0)
