"""Removing channels, and random sets of channels that a removal is compared with.

A set is a mask `keep` bool [C]: False where the channel is removed.
"""

import jax
import numpy as np


def ablate(x: jax.Array, keep: jax.Array, *, fill: jax.Array | None = None) -> jax.Array:
    """Remove channels: [B, ..., C], the dtype of `x`.

    Args:
      x: [B, ..., C].
      keep: [C] or [B, C]; bool, or a gate between 0 and 1.
      fill: [C], the value that replaces a removed channel; None: zero.

    Raises:
      ValueError: if the shapes do not fit.

    >>> ablate(np.ones((1, 2)), np.array([True, False]), fill=np.array([5.0, 7.0])).tolist()
    [[1.0, 7.0]]
    """
    if keep.shape not in (x.shape[-1:], (x.shape[0], x.shape[-1])):
        raise ValueError(
            f"`keep` must have shape {x.shape[-1:]} or {(x.shape[0], x.shape[-1])} for an input "
            f"of shape {x.shape}; got {keep.shape}."
        )
    batch = keep.shape[0] if keep.ndim == 2 else 1
    gate = keep.astype(x.dtype).reshape(batch, *(1,) * (x.ndim - 2), -1)
    kept = x * gate
    if fill is None:
        return kept
    return kept + (1 - gate) * fill.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))


def removal_masks(order: np.ndarray, counts: tuple[int, ...]) -> np.ndarray:
    """Masks that remove the first channels of a ranking, one per count: bool [len(counts), C].

    Args:
      order: int [C], every channel once, first to go first.
      counts: numbers of channels to remove.

    Raises:
      ValueError: if a count is not in [1, C], or the order is no permutation.

    >>> removal_masks(np.array([2, 0, 1]), (1, 2)).tolist()
    [[True, True, False], [False, True, False]]
    """
    order = np.asarray(order)
    if not np.array_equal(np.sort(order), np.arange(len(order))):
        raise ValueError(f"`order` must hold every channel in [0, {len(order)}) once.")
    for count in counts:
        if not 1 <= count <= len(order):
            raise ValueError(f"`counts` must be in [1, {len(order)}]; got {count}.")
    return np.argsort(order)[None, :] >= np.asarray(counts)[:, None]


def random_orders(key: jax.Array, num_draws: int, num_channels: int) -> np.ndarray:
    """Draw rankings uniformly: int [num_draws, num_channels]."""
    keys = jax.random.split(key, num_draws)
    return np.asarray(jax.vmap(lambda k: jax.random.permutation(k, num_channels))(keys))
