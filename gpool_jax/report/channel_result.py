"""What ranking and removing channels found, as plain data: parts of results.json."""

import dataclasses

NONE = "none"


@dataclasses.dataclass(frozen=True)
class Removal:
    """One quantity of one measured region, with some channels removed.

    Attributes:
      ranking: whose first channels: a method, "random", "matched to METHOD", or
        "none": nothing is removed.
      region: that the ranking attacks; "overall" for random and none.
      action: "zero" or "mean" (what removed channels are put to), "keep" (the
        first channels are kept, the rest put to zero), or "none".
      count: how many channels are the first.
      measured: region that is measured; for a selectivity, the attacked one.
      measure: "value"; "drop" (value with nothing removed, less the value); or
        "selectivity" (drop inside the attacked region less drop outside).
      versus: None, or the controls whose mean was taken away.
      quantity: key; `title` says it in words.
      title: of the quantity.
      value: in 0..1; of controls the mean over draws.
      low, high: 95 %: bootstrap over images; of controls, the range of the draws.
      chance: value of a guess, where there is one.
      num_images: measured on.
      num_draws: sets of channels behind the value.
      num_classes: in the mean over classes; None where there is none.
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


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How alike two rankings of the same channels are.

    Attributes:
      region: that both are for.
      first, second: methods.
      correlation: Spearman's, of the scores; None where one holds no scores.
      overlap: number of best channels to the share of them in common.
      num_channels: of the feature; a random pair shares count / num_channels.
    """

    region: str
    first: str
    second: str
    correlation: float | None
    overlap: dict[str, float]
    num_channels: int


@dataclasses.dataclass(frozen=True)
class Stability:
    """How alike a ranking is to itself on other images of the same kind.

    Attributes:
      method: of the ranking.
      region: that it is for.
      correlation, low, high: Spearman's correlation of its scores with those of
        resampled images: mean and 95 % range over resamples.
      overlap: number of best channels to the mean share in common.
      num_images: ranked on.
    """

    method: str
    region: str
    correlation: float
    low: float
    high: float
    overlap: dict[str, float]
    num_images: int
