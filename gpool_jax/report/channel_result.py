"""Results of ranking and removing channels, as plain data: parts of results.json."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

NONE = "none"
# End of the key of a probe that is fitted again on the channels that are left.
REFIT = "_refit"


@dataclasses.dataclass(frozen=True)
class Removal:
    """One quantity in one measured region, with some channels removed.

    Attributes:
      ranking: the ranking whose first channels are removed: a method, "random",
        "matched to METHOD", or "none" if nothing is removed.
      region: the region that the ranking attacks; "overall" for random, class and none.
      action: "zero" or "mean" (the value that removed channels are set to), "keep" (all
        but the first channels are set to zero), or "none".
      count: the number of first channels.
      measured: the region that is measured; for a selectivity, the attacked one.
      measure: "value"; "drop" (the value with nothing removed, minus the value); or
        "selectivity" (drop inside the attacked region minus drop outside).
      versus: the controls whose mean was subtracted, or None.
      quantity, title: its key, and in words.
      value: in 0..1; for controls the mean over draws.
      low, high: 95 % interval, by bootstrap over images; for controls, the range of
        the draws.
      chance: the value of a guess, where there is one.
      num_draws: sets of channels behind the value.
      num_classes: classes in a mean over classes, else None.
      p: two-sided, by bootstrap, that a drop or selectivity is 0, uncorrected; None for a value
        and for controls.
    """

    ranking: str
    region: str
    action: str
    count: int
    measured: str
    measure: str
    versus: str | None
    quantity: str
    title: str
    value: float
    low: float
    high: float
    chance: float | None
    num_images: int
    num_draws: int
    num_classes: int | None
    p: float | None = None


def select(removals: Iterable[Removal], **wanted: object) -> list[Removal]:
    """Select the removals with these values of fields."""
    return [r for r in removals if all(getattr(r, k) == v for k, v in wanted.items())]


def table_actions(maps: Mapping[str, Any]) -> list[str]:
    """The fills that tables and figures show: every one, or the one that an older result names."""
    return maps.get("table_actions") or [maps.get("table_action", "zero")]


@dataclasses.dataclass(frozen=True)
class Balance:
    """How like the channels matched to those of a ranking are to them.

    Attributes:
      ranking, region, count: whose first channels they are matched to, and how many.
      num_draws: matched sets.
      num_refused: sets that were refused, for a channel without a match within the caliper.
      mean, variance: standardised difference of log mean and of log variance, removed minus
        matched channels; NaN if there is no set, or no spread.
    """

    ranking: str
    region: str
    count: int
    num_draws: int
    num_refused: int
    mean: float
    variance: float


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Similarity of two rankings of the same channels.

    Attributes:
      first, second: the methods.
      correlation: Spearman's correlation of the scores; None where one has no scores.
      overlap: number of best channels to the share of them in common.
      num_channels: channels of the feature; a random pair shares count / num_channels.
    """

    region: str
    first: str
    second: str
    correlation: float | None
    overlap: dict[str, float]
    num_channels: int


@dataclasses.dataclass(frozen=True)
class Stability:
    """Similarity of a ranking to itself on other images of the same kind.

    Attributes:
      correlation, low, high: Spearman's correlation of its scores with those of
        resampled images: mean and 95 % range over resamples.
      overlap: number of best channels to the mean share in common.
    """

    method: str
    region: str
    correlation: float
    low: float
    high: float
    overlap: dict[str, float]
    num_images: int
