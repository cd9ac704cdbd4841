"""What segmentation loses with some channels: beyond random and matched ones, under both fills."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

from gpool_jax.report import Result
from gpool_jax.report.channel_result import Removal, select

RANKINGS = ("flip", "translation", "gate")
FILLS = ("zero", "mean")
_LINK = "[channels](docs/findings/channels.md)"


def verdict(results: Sequence[Result], ranking: str, **wanted: object) -> str:
    """What holds in every seed and under every fill: beyond random, and beyond matched channels.

    `wanted` are further fields of the `Removal`s.
    """
    if not _holds(results, ranking=ranking, versus="random", **wanted):
        return "no statement"
    matched = _select(results, ranking=ranking, versus=f"matched to {ranking}", **wanted)
    if _holds(results, ranking=ranking, versus=f"matched to {ranking}", **wanted):
        return "more than random and matched ones"
    if len(matched) < len(results) * len(FILLS):
        return "more than random ones; no matched control under both fills"
    return "more than random ones, not more than matched ones"


def removal(results: Sequence[Result]) -> str:
    """Say what the channels that rank first cost when they are removed."""
    words = [f"{name} {_cost(results, name)}" for name in RANKINGS]
    size, total = results[0].removals[0].num_images, results[0].maps["num_channels"]
    return (
        f"A small DeepLabv3 on CamVid, {len(results)} training seeds, {size} test frames: the "
        f"{_count(results)} of {total} channels that rank first, removed, cost beyond random ones, over "
        f"seeds and both fills (zero, mean), {'; '.join(words)}. A statement is made where every "
        "interval, of each seed under each fill, is above 0. Frames of a video are not independent, "
        "which these intervals do not know."
    )


def regions(results: Sequence[Result]) -> str:
    """Say whether an attack on one half of the image is selective."""
    return (
        f"Removing {_count(results)} channels ranked for one half of the image, more is lost there than "
        "elsewhere, beyond random channels, in every seed and under both fills: that "
        f"{_selective(results)}, of {len(RANKINGS)} rankings and two sides. Rankings of left and right "
        "by a signed difference are one list from both ends."
    )


def agreement(paths: Sequence[Path]) -> str:
    """Say how the paper's ranking agrees with the one that holds content fixed."""
    found = [
        each["correlation"]
        for path in paths
        for each in json.loads(path.read_text())["agreements"]
        if (each["region"], each["first"], each["second"]) == ("overall", "flip", "translation")
    ]
    numbers = " and ".join(f"{value:.2f}" for value in found)
    return (
        "The rank correlation of the paper's flip difference with the translation difference, which "
        f"moves one crop and so holds content fixed, is {numbers} ({len(found)} training seeds)."
    )


def rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """Lines of the README's table."""
    control = f"random and matched channels, two fills, {len(results)} seeds"
    return [
        (
            "Does segmentation rest on position channels?",
            "; ".join(f"{name} {_cost(results, name)}" for name in RANKINGS[:2]),
            f"{control}; by the loss's gradient (gate): {_cost(results, 'gate')}",
            _LINK,
        ),
        (
            "Is an attack on one half of the image selective?",
            _selective(results),
            f"random channels, two fills, {len(results)} seeds",
            _LINK,
        ),
    ]


def _count(results: Sequence[Result]) -> int:
    return int(results[0].maps["table_count"])


def _select(results: Sequence[Result], **wanted: object) -> list[Removal]:
    """One removal for each seed and fill, of those that were measured."""
    return [
        removal
        for result in results
        for removal in select(result.removals, quantity="miou", count=_count(results), **wanted)
        if removal.action in FILLS
    ]


def _holds(results: Sequence[Result], **wanted: object) -> bool:
    found = _select(results, **wanted)
    return len(found) == len(results) * len(FILLS) and all(each.low > 0 for each in found)


def _cost(results: Sequence[Result], ranking: str) -> str:
    """Range over seeds and fills of what removal costs beyond random channels, and the verdict."""
    wanted = {"region": "overall", "measured": "overall", "measure": "drop"}
    drops = _select(results, ranking=ranking, versus="random", **wanted)
    points = [100 * drop.value for drop in drops]
    return (
        f"{min(points):+.1f} to {max(points):+.1f} points ({verdict(results, ranking, **wanted)})"
    )


def _selective(results: Sequence[Result]) -> str:
    """Name the rankings and sides of which selectivity holds in all seeds under both fills."""
    holding = [
        f"{ranking} on the {region}"
        for ranking, region in itertools.product(RANKINGS, ("left", "right"))
        if _holds(
            results,
            ranking=ranking,
            region=region,
            measured=region,
            measure="selectivity",
            versus="random",
        )
    ]
    return (
        f"holds for {', '.join(holding)} alone" if holding else "holds for no ranking and no side"
    )
