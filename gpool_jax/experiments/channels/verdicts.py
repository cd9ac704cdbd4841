"""Sentences about removed channels, made only of what holds under every fill and control."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from gpool_jax.experiments.channels.plan import CLASS, MATCHED, RANDOM
from gpool_jax.report.channel_result import NONE, REFIT, Removal, select

_LEVEL = 0.05


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One question to a ranking: does removing its channels cost more than removing others?

    Attributes:
      what: ranking, region, and what is lost.
      versus: the controls, in words.
      more, less: probability, one-sided, of the least convincing of its parts if the answer were
        no; None if a part is missing.
      least: smallest of the differences from the controls, in size, of all parts.
    """

    what: str
    versus: str
    more: float | None
    less: float | None
    least: float

    @property
    def p(self) -> float:
        """Two-sided probability; 1 if it cannot be judged."""
        if self.more is None or self.less is None:
            return 1.0
        return min(1.0, 2.0 * min(self.more, self.less))


def conclude(removals: Sequence[Removal], fills: Sequence[str], count: int) -> list[str]:
    """State what may be concluded from the removal of `count` channels, and what may not.

    The rule. Every ranking but the controls is asked whether removing its first channels costs

    - more of the first quantity, for a ranking of the whole image; for a ranking of a region,
      more of it inside the region than outside;
    - and, where probes are fitted again without the channels, more of what these find,

    than removing (1) random *and* matched sets, and (2), of the first quantity, class channels.
    A comparison is made of one part for every fill and control, and for "more" also of the
    removal alone, which must cost something. "More", or "less", needs every part to point that
    way: the comparison's p is the largest of theirs (an intersection-union test, which needs no
    correction for the parts). The p values of all comparisons are corrected together (Holm) and
    held against 5 %. What fails is "indistinguishable", which is no proof of equality; without a
    matched set nothing is said.

    References: Berger, "Multiparameter hypothesis testing and acceptance sampling", 1982; Holm,
    "A simple sequentially rejective multiple test procedure", 1979.
    """
    comparisons = list(_compare(removals, fills, count))
    if not comparisons:
        return []
    corrected = holm([comparison.p for comparison in comparisons])
    notes = [
        f"Verdicts on {count} channels removed are from {len(comparisons)} comparisons, corrected "
        "together (Holm, 5 %). Each must hold with removed channels set to "
        f"{' and to '.join(fills)} and beyond all the controls that it names. They are of these "
        "images and this network: they say nothing about other seeds."
    ]
    same, unknown = [], []
    for comparison, p in zip(comparisons, corrected, strict=True):
        name = f"{comparison.what} (against {comparison.versus})"
        if comparison.more is None or comparison.less is None:
            unknown.append(name)
        elif p >= _LEVEL:
            same.append(name)
        else:
            word = "more" if comparison.more < comparison.less else "less"
            shown = "< 0.001" if p < 0.001 else f"= {p:.3f}"
            notes.append(
                f"{comparison.what}: {word} than with {comparison.versus}, by "
                f"{100 * comparison.least:.1f} points or more (p {shown})."
            )
    if same:
        notes.append(f"Indistinguishable: {'; '.join(same)}.")
    if unknown:
        notes.append(f"Not judged, for want of controls: {'; '.join(unknown)}.")
    return notes


def holm(p: Sequence[float]) -> np.ndarray:
    """Correct p values for their number: no one of them is below 5 % by chance, in 95 %.

    >>> holm([0.04, 0.01]).tolist()
    [0.04, 0.02]
    """
    values = np.asarray(p, float)
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(steps, 1.0)
    return corrected


def _compare(removals: Sequence[Removal], fills: Sequence[str], count: int) -> Iterator[Comparison]:
    """Every comparison, ranking by ranking."""
    lost = [r for r in select(removals, count=count) if r.measure != "value"]
    controls = (NONE, RANDOM, CLASS)
    rankings = [r for r in lost if r.ranking not in controls and MATCHED not in r.ranking]
    first = removals[0].quantity
    quantities = [first, *(q for q in _unique(r.quantity for r in lost) if q.endswith(REFIT))]
    for ranking, region in _unique((r.ranking, r.region) for r in rankings):
        for quantity in quantities:
            whole = region == "overall" or quantity.endswith(REFIT)
            own = [
                r
                for r in select(rankings, ranking=ranking, region=region, quantity=quantity)
                if r.action in fills
                and r.measure == ("drop" if whole else "selectivity")
                and r.measured == ("overall" if whole else region)
            ]
            if not own:
                continue
            where = "drop" if whole else f"drop inside minus outside {region}"
            what = f"{ranking} for {region}, {where} of {own[0].title}"
            matched = MATCHED + ranking
            yield _judge(what, "random and matched sets", own, fills, (RANDOM, matched))
            if quantity == first and any(r.versus == CLASS for r in own):
                yield _judge(what, "class channels", own, fills, (CLASS,))


def _judge(
    what: str, versus: str, own: list[Removal], fills: Sequence[str], controls: tuple[str, ...]
) -> Comparison:
    beyond = [r for r in own if r.versus in controls]
    alone = [r for r in own if r.versus is None]
    parts = [*alone, *beyond]
    complete = len(beyond) == len(fills) * len(controls) and len(alone) == len(fills)
    if not complete or any(r.p is None or r.p != r.p for r in parts):
        return Comparison(what, versus, None, None, 0.0)
    least = min(abs(r.value) for r in beyond)
    more = max(_one_sided(r, 1.0) for r in parts)
    less = max(_one_sided(r, -1.0) for r in beyond)
    return Comparison(what, versus, more, less, least)


def _one_sided(removal: Removal, side: float) -> float:
    """Probability of the value if the truth were 0 or on the other side."""
    half = (1.0 if removal.p is None else removal.p) / 2.0
    return half if removal.value * side > 0 else 1.0 - half


def _unique(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))
