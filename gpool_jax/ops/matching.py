"""Channels that are about as active as others, to remove instead of them; and are they?"""

import jax
import numpy as np


def matched_channels(
    key: jax.Array,
    removed: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    *,
    num_draws: int,
    neighbours: int = 10,
    caliper: float | None = None,
) -> np.ndarray:
    """For each removed channel, draw another that is about as active: int [D, N].

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
      caliper: largest distance of a match, in spreads; None: any. A draw in which a channel
        finds no match so near is refused.

    Returns:
      D is `num_draws`, or fewer where a caliper refuses some: 0 if the channels have no match.

    Raises:
      ValueError: if more than half of the channels are removed.

    Reference: Rosenbaum and Rubin, "Constructing a control group using multivariate matched
    sampling methods that incorporate the propensity score", 1985.
    """
    count, channels = len(removed), len(mean)
    if 2 * count > channels:
        raise ValueError(
            f"`removed` must hold at most half of the {channels} channels to be matched; got "
            f"{count}."
        )
    place = np.stack([_log_spread(np.abs(mean)), _log_spread(variance)], axis=1)
    distance = np.sqrt(((place[removed][:, None] - place[None]) ** 2).sum(axis=-1))
    if caliper is not None:
        distance = np.where(distance > caliper, np.inf, distance)
    distance[:, removed] = np.inf
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    drawn = (_draw_matches(generator, distance, neighbours) for _ in range(num_draws))
    complete = [matches for matches in drawn if matches is not None]
    return np.array(complete, int).reshape(len(complete), count)


def _draw_matches(
    generator: np.random.Generator, distance: np.ndarray, neighbours: int
) -> np.ndarray | None:
    """Match all rows of [N, C] once, infinite distances never; None if one finds no match."""
    distance = distance.copy()
    matches = np.empty(len(distance), int)
    for row in generator.permutation(len(distance)):
        nearest = np.argsort(distance[row], kind="stable")[:neighbours]
        nearest = nearest[np.isfinite(distance[row, nearest])]
        if len(nearest) == 0:
            return None
        matches[row] = generator.choice(nearest)
        distance[:, matches[row]] = np.inf
    return matches


def standardised_differences(
    channels: np.ndarray, controls: np.ndarray, mean: np.ndarray, variance: np.ndarray
) -> tuple[float, float]:
    """Balance of channels and their controls: differences in log mean and in log variance.

    Each is the mean over `channels` minus that over `controls`, divided by the root of the mean
    of the two sets' variances; beyond 0.1 to 0.25 in size, the controls are not alike.

    Args:
      channels: int [N].
      controls: int, any shape: [D, N] of `matched_channels`, all draws together.
      mean: [C], mean activation of each channel, at least 0.
      variance: [C], its variance.

    Returns:
      (log mean, log variance); NaN without controls, infinite where two sets differ and neither
      varies.

    Reference: Austin, "Balance diagnostics for comparing the distribution of baseline covariates
    between treatment groups in propensity-score matched samples", 2009.

    >>> standardised_differences([0, 1], [[2, 3]], np.exp([2.0, 4, 1, 3]), np.ones(4))
    (1.0, 0.0)
    """
    sets = [np.ravel(np.asarray(numbers, int)) for numbers in (channels, controls)]
    if min(len(numbers) for numbers in sets) == 0:
        return float("nan"), float("nan")

    def difference(values: np.ndarray) -> float:
        first, second = (_logs(values)[numbers] for numbers in sets)
        gap = float(first.mean() - second.mean())
        spread = float(np.sqrt((first.var() + second.var()) / 2.0))
        if spread > 0:
            return gap / spread
        return 0.0 if gap == 0 else float(np.copysign(np.inf, gap))

    return difference(np.abs(mean)), difference(variance)


def _logs(values: np.ndarray) -> np.ndarray:
    """Logarithms; a silent channel is put with the weakest."""
    values = np.asarray(values, np.float64)
    positive = values[values > 0]
    floor = positive.min() if len(positive) else 1.0
    return np.log(np.maximum(values, floor))


def _log_spread(values: np.ndarray) -> np.ndarray:
    """Logarithms scaled to unit spread."""
    logs = _logs(values)
    spread = logs.std()
    return logs / spread if spread > 0 else logs
