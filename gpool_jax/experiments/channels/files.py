"""Rankings as files: ours, with everything needed to judge them, and the authors'."""

import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from gpool_jax import files
from gpool_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Ranking:
    """The channels of a feature, best first.

    Attributes:
      method: among `config.measurements.Method`, or the name of a file that does not tell.
      region: what the ranking is for.
      order: int [C], every channel once.
      scores: float [C], of channel 0, 1, ...; None where a file holds none.
      num_images: images ranked on; 0 if not known.
      splits: splits that they are from; empty if not known.
      feature: the map whose channels are ranked; None if not known.
    """

    method: str
    region: str
    order: np.ndarray
    scores: np.ndarray | None = None
    num_images: int = 0
    splits: tuple[str, ...] = ()
    feature: str | None = None


def to_files(rankings: list[Ranking], *, authors_format: bool = False) -> dict[str, str]:
    """Rankings as JSON files: ranking_METHOD_REGION.json to its content.

    It is in our format, or only the region and its channels as the authors publish theirs.
    """
    found = {}
    for ranking in rankings:
        content: dict[str, Any] = {ranking.region: ranking.order.tolist()}
        if not authors_format:
            if ranking.scores is not None:
                content["scores"] = [float(score) for score in ranking.scores]
            content |= {"method": ranking.method, "n": ranking.num_images}
            content |= {"split": list(ranking.splits), "feature": ranking.feature}
        # A region may hold what no file name takes.
        region = ranking.region.replace("/", "of").replace(",", "_")
        name = f"ranking_{ranking.method}_{region}.json"
        found[name] = files.to_json(content, indent=None)
    return found


def read_all(names: tuple[str, ...]) -> list[Ranking]:
    """Read rankings from files of either format, and from folders that `gpool rank` wrote.

    Raises:
      InputError: naming the file that is missing or no ranking.
    """
    rankings: dict[tuple[str, str], Ranking] = {}
    for path in map(Path, names):
        paths = sorted(path.glob("ranking_*.json")) if path.is_dir() else [path]
        if not paths:
            raise InputError(f"`ranking`: folder {path} holds no ranking_*.json.")
        for file in paths:
            ranking = read(file)
            key = ranking.method, ranking.region
            if key in rankings:
                raise InputError(
                    f"`ranking`: {file} is a second ranking {ranking.method} for {ranking.region}."
                )
            rankings[key] = ranking
    return list(rankings.values())


def read(path: Path) -> Ranking:
    """Read one ranking, ours or the authors'; see `read_all`."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"`ranking`: {path} cannot be read: {error}.") from None
    reserved = {"scores", "method", "n", "split", "feature"}
    lists = [key for key in content if key not in reserved] if isinstance(content, dict) else []
    if len(lists) != 1 or not isinstance(content[lists[0]], list):
        raise InputError(
            f'`ranking`: {path} must hold one list of channels, best first, as {{"overall": '
            f"[...]}}; it holds {', '.join(map(repr, lists)) or 'none'}."
        )
    region = lists[0]
    order = _check_order(path, content[region])
    if "method" not in content:
        # The authors' file for the right half says "left" inside: its name is right.
        named = re.match(r"(left|right|top|bottom|centre)_", path.name)
        return Ranking(method=path.stem, region=named[1] if named else region, order=order)
    splits = content.get("split") or []
    splits = [splits] if isinstance(splits, str) else splits
    named_splits = isinstance(splits, list) and all(isinstance(name, str) for name in splits)
    _require(named_splits, path, f"must name its splits; got {splits!r}")
    method = content["method"]
    _require(isinstance(method, str), path, f"must hold a name as method; got {method!r}")
    number = content.get("n", 0)
    _require(type(number) is int, path, f"must hold a whole number as n; got {number!r}")
    return Ranking(
        method=method,
        region=region,
        order=order,
        scores=_check_scores(path, content.get("scores"), len(order)),
        num_images=number,
        splits=tuple(splits),
        feature=content.get("feature"),
    )


def _require(condition: bool, path: Path, what: str) -> None:
    if not condition:
        raise InputError(f"`ranking`: {path} {what}.")


def _check_scores(path: Path, scores: Any, num_channels: int) -> np.ndarray | None:
    if scores is None:
        return None
    numbers = isinstance(scores, list) and all(type(score) in (int, float) for score in scores)
    finite = numbers and all(abs(score) <= sys.float_info.max for score in scores)
    _require(finite, path, "must hold a list of finite numbers as scores")
    number = len(scores)
    _require(number == num_channels, path, f"holds {number} scores of {num_channels} channels")
    return np.asarray(scores, np.float64)


def _check_order(path: Path, channels: list[Any]) -> np.ndarray:
    whole = bool(channels) and all(type(channel) is int for channel in channels)
    _require(whole, path, "must hold whole numbers, channel indices")
    last = len(channels) - 1
    stray = next((channel for channel in channels if not 0 <= channel <= last), None)
    _require(
        stray is None,
        path,
        f"names channel {stray} and ranks {last + 1} channels; each of 0 to {last} must be there "
        "once",
    )
    order = np.asarray(channels, np.int64)
    values, number = np.unique(order, return_counts=True)
    _require(number.max() == 1, path, f"names channel {values[number.argmax()]} twice")
    return order


def check_channels(ranking: Ranking, num_channels: int) -> None:
    """Raise unless a ranking is of so many channels."""
    if len(ranking.order) != num_channels:
        raise InputError(
            f"`ranking`: {ranking.method} for {ranking.region} ranks {len(ranking.order)} "
            f"channels; the network's feature has {num_channels}."
        )
