"""Removing channels, and the sets of channels that a removal is compared with.

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


def matched_channels(
    key: jax.Array,
    removed: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    *,
    num_draws: int,
    neighbours: int = 10,
) -> np.ndarray:
    """For each removed channel, draw another that is about as active: int [num_draws, N].

    Removing a strong channel harms more than removing a weak one, whatever it carries. Matched
    channels hold strength fixed: each removed channel, in random order, gets one of its nearest
    in log mean and log variance (each scaled to unit spread) among those neither removed nor
    taken yet.

    Args:
      key: PRNG key.
      removed: int [N], at most half of the channels.
      mean: [C], mean activation of each channel, at least 0.
      variance: [C], its variance.
      num_draws: how often all are drawn.
      neighbours: how many of the nearest one is drawn from.

    Raises:
      ValueError: if more than half of the channels are removed.
    """
    count, channels = len(removed), len(mean)
    if 2 * count > channels:
        raise ValueError(
            f"`removed` must hold at most half of the {channels} channels to be matched; got "
            f"{count}."
        )
    place = np.stack([_log_spread(np.abs(mean)), _log_spread(variance)], axis=1)
    distance = ((place[removed][:, None] - place[None]) ** 2).sum(axis=-1)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    matched = np.empty((num_draws, count), int)
    for draw in range(num_draws):
        free = np.ones(channels, bool)
        free[removed] = False
        for row in generator.permutation(count):
            candidates = np.flatnonzero(free)
            nearest = candidates[np.argsort(distance[row, candidates], kind="stable")]
            chosen = generator.choice(nearest[:neighbours])
            matched[draw, row] = chosen
            free[chosen] = False
    return matched


def _log_spread(values: np.ndarray) -> np.ndarray:
    """Logarithms scaled to unit spread; a silent channel is put with the weakest."""
    values = np.asarray(values, np.float64)
    positive = values[values > 0]
    floor = positive.min() if len(positive) else 1.0
    logs = np.log(np.maximum(values, floor))
    spread = logs.std()
    return logs / spread if spread > 0 else logs
