"""Sets of channels to remove: every ranking, its controls, and how many channels."""

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np

from gpool_jax import ops
from gpool_jax.config import AttackConfig
from gpool_jax.errors import InputError
from gpool_jax.experiments.channels.files import Ranking
from gpool_jax.report.channel_result import Balance

RANDOM = "random"
CLASS = "class"
MATCHED = "matched to "
_KEY = 0xA77AC


@dataclasses.dataclass(frozen=True)
class Arm:
    """One set of channels that are removed.

    Attributes:
      ranking: whose first channels go: a method, "random", or "matched to METHOD".
      region: what the ranking is for; "overall" for random.
      action: "zero" or "mean" (what the removed channels are put to), or "keep":
        the first channels are kept, and the rest put to zero.
      count: how many channels are the first.
      draw: number of a control's draw; 0 for a ranking.
    """

    ranking: str
    region: str
    action: str
    count: int
    draw: int = 0


@dataclasses.dataclass(frozen=True)
class Plan:
    """All arms, and the different masks among them.

    Attributes:
      arms: what is asked.
      row: int [arms], the mask of each: arms that are the same set share one.
      keep: bool [M, C]; the first removes nothing.
      use_mean: bool [M], whether removed channels are put to their mean.
      table_count: the number of channels that tables are made for.
      table_actions: the actions that they are made for: every fill.
      balances: how like the matched channels are, for each ranking and number of channels.
    """

    arms: list[Arm]
    row: np.ndarray
    keep: np.ndarray
    use_mean: np.ndarray
    table_count: int
    table_actions: tuple[str, ...]
    balances: list[Balance]

    def table_masks(self) -> list[int]:
        """The masks that tables are made for, once each; the first removes nothing."""
        return list(dict.fromkeys([0, *self.table_rows().values()]))

    def table_rows(self) -> dict[Arm, int]:
        """The arms that tables are made for, and their masks."""
        return {
            arm: int(row)
            for arm, row in zip(self.arms, self.row, strict=True)
            if arm.count == self.table_count and arm.action in self.table_actions
        }


def resolve_counts(config: AttackConfig, num_channels: int) -> tuple[tuple[int, ...], int]:
    """Numbers of channels that are removed, ascending, and the one for tables; or `InputError`."""
    own = () if config.table_count is None else (config.table_count,)
    for name, given in (("counts", config.counts), ("table_count", own)):
        for count in given:
            if not 1 <= count <= num_channels:
                raise InputError(
                    f"`attack.{name}` must be in [1, {num_channels}], the channels of the feature; "
                    f"got {count}."
                )
    shares = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)
    chosen = config.counts or tuple(max(1, round(num_channels * share)) for share in shares)
    counts = tuple(sorted({*chosen, *own}))
    return counts, min(own or counts, key=lambda count: abs(count - num_channels / 8))


def make_plan(
    config: AttackConfig,
    rankings: list[Ranking],
    activation: tuple[np.ndarray, np.ndarray],
    *,
    seed: int,
) -> Plan:
    """Lay out every set of channels that is removed.

    Matched controls are drawn by `activation`, the mean [C] and variance [C] of the channels.
    """
    channels = len(activation[0])
    counts, table_count = resolve_counts(config, channels)
    actions = (*config.fills, *(("keep",) if config.keep_only else ()))
    random_key, matched_key = jax.random.split(jax.random.key(seed ^ _KEY))
    sets: list[tuple[Arm, np.ndarray]] = []
    for ranking in rankings:
        masks = ops.removal_masks(ranking.order, counts)
        sets += _make_arms(Arm(ranking.method, ranking.region, "", 0), counts, masks, actions)
    orders = ops.random_orders(random_key, max(1, config.random_draws), channels)
    for draw, order in enumerate(orders[: config.random_draws]):
        masks = ops.removal_masks(order, counts)
        sets += _make_arms(Arm(RANDOM, "overall", "", 0, draw), counts, masks, actions)
    half = tuple(count for count in counts if 2 * count <= channels)
    balances = []
    for place, ranking in enumerate(rankings if config.matched_draws else ()):
        if ranking.method == CLASS:  # a control itself
            continue
        key = jax.random.fold_in(matched_key, place)
        for count in half:
            masks, balance = _matched(key, config, ranking, count, activation)
            balances.append(balance)
            for draw, mask in enumerate(masks):
                arm = Arm(MATCHED + ranking.method, ranking.region, "", 0, draw)
                # Matched channels are only removed: there are many sets of them.
                sets += _make_arms(arm, (count,), mask[None], config.fills)
    # A mask and what its removed channels are put to; the first removes nothing.
    rows = np.zeros((1 + len(sets), channels + 1), bool)
    rows[0, :-1] = True
    for row, (arm, keep) in zip(rows[1:], sets, strict=True):
        row[:-1], row[-1] = keep, arm.action == "mean"
    unique, which = _unique_rows(rows)
    arms = [arm for arm, _ in sets]
    keep, use_mean = unique[:, :-1], unique[:, -1]
    return Plan(arms, which[1:], keep, use_mean, table_count, config.fills, balances)


def _make_arms(
    arm: Arm, counts: tuple[int, ...], masks: np.ndarray, actions: tuple[str, ...]
) -> Iterator[tuple[Arm, np.ndarray]]:
    """An arm with every action and count, and the channels [C] that it keeps."""
    for action in actions:
        for count, keep in zip(counts, masks, strict=True):
            filled = dataclasses.replace(arm, action=action, count=count)
            yield filled, ~keep if action == "keep" else keep


def _matched(
    key: jax.Array,
    config: AttackConfig,
    ranking: Ranking,
    count: int,
    activation: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, Balance]:
    """Keep masks [D, C] of channels matched to the first `count`, and their balance."""
    removed = ranking.order[:count]
    drawn = ops.matched_channels(
        jax.random.fold_in(key, count),
        removed,
        *activation,
        num_draws=config.matched_draws,
        caliper=config.caliper,
    )
    masks = np.ones((len(drawn), len(ranking.order)), bool)
    np.put_along_axis(masks, drawn, False, axis=1)
    found = ops.standardised_differences(removed, drawn, *activation)
    # Infinite where neither set varies: no number.
    mean, variance = (value if np.isfinite(value) else float("nan") for value in found)
    balance = Balance(
        ranking=ranking.method,
        region=ranking.region,
        count=count,
        num_draws=len(drawn),
        num_refused=config.matched_draws - len(drawn),
        mean=mean,
        variance=variance,
    )
    return masks, balance


def _unique_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Different rows in the order of their first appearance, and which one each row is."""
    _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return rows[first[order]], np.argsort(order)[inverse.reshape(-1)]
