"""Rankings as files: ours, with everything needed to judge them, and the authors'."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from gpool_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Ranking:
    """The channels of a feature, best first.

    Attributes:
      method: among `config.sections.Method`, or the name of a file that does not tell.
      region: what the ranking is for.
      order: int [C], every channel once.
      scores: float [C], of channel 0, 1, ...; None where a file holds none.
      num_images: ranked on; 0 if not known.
      splits: whose images; empty if not known.
      feature: whose channels; None if not known.
    """

    method: str
    region: str
    order: np.ndarray
    scores: np.ndarray | None = None
    num_images: int = 0
    splits: tuple[str, ...] = ()
    feature: str | None = None


def file_name(ranking: Ranking) -> str:
    """ranking_{method}_{region}.json, with what no file name takes written otherwise."""
    region = ranking.region.replace("/", "of").replace(",", "_")
    return f"ranking_{ranking.method}_{region}.json"


def write(ranking: Ranking, folder: Path, *, authors_format: bool = False) -> Path:
    """Write one ranking.

    Args:
      ranking: to write.
      folder: gets the file.
      authors_format: only the region and its channels, as the authors publish them.
    """
    content: dict[str, Any] = {ranking.region: ranking.order.tolist()}
    if not authors_format:
        if ranking.scores is not None:
            content["scores"] = [float(score) for score in ranking.scores]
        content |= {
            "method": ranking.method,
            "n": ranking.num_images,
            "split": list(ranking.splits),
            "feature": ranking.feature,
        }
    path = folder / file_name(ranking)
    path.write_text(json.dumps(content) + "\n")
    return path


def write_all(rankings: list[Ranking], folder: Path, *, authors_format: bool = False) -> None:
    """Write rankings, instead of those that an earlier run left in the folder."""
    for old in folder.glob("ranking_*.json"):
        old.unlink()
    for ranking in rankings:
        write(ranking, folder, authors_format=authors_format)


def read_all(names: tuple[str, ...]) -> list[Ranking]:
    """Read rankings from files and folders.

    Args:
      names: files of either format, or folders that `gpool rank` wrote.

    Raises:
      InputError: naming the file that is missing or no ranking.
    """
    paths: list[Path] = []
    for name in names:
        path = Path(name)
        found = sorted(path.glob("ranking_*.json")) if path.is_dir() else [path]
        if not found:
            raise InputError(f"`ranking`: folder {path} holds no ranking_*.json.")
        paths += found
    rankings = [read(path) for path in paths]
    seen: set[tuple[str, str]] = set()
    for path, ranking in zip(paths, rankings, strict=True):
        key = ranking.method, ranking.region
        if key in seen:
            raise InputError(
                f"`ranking`: {path} is a second ranking {ranking.method} for {ranking.region}."
            )
        seen.add(key)
    return rankings


def read(path: Path) -> Ranking:
    """Read one ranking, ours or the authors'; see `read_all`."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
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
        return Ranking(method=path.stem, region=_region_of_file(path, region), order=order)
    scores = content.get("scores")
    if scores is not None:
        numbers = isinstance(scores, list) and all(type(s) in (int, float) for s in scores)
        if not numbers or not np.isfinite(scores).all():
            raise InputError(f"`ranking`: {path} must hold a list of finite numbers as scores.")
        if len(scores) != len(order):
            raise InputError(
                f"`ranking`: {path} holds {len(scores)} scores of {len(order)} channels."
            )
    splits = content.get("split") or []
    splits = [splits] if isinstance(splits, str) else splits
    if not isinstance(splits, list) or not all(isinstance(name, str) for name in splits):
        raise InputError(f"`ranking`: {path} must name its splits; got {content['split']!r}.")
    number = content.get("n", 0)
    if type(number) is not int:
        raise InputError(f"`ranking`: {path} must hold a whole number as n; got {number!r}.")
    return Ranking(
        method=str(content["method"]),
        region=region,
        order=order,
        scores=None if scores is None else np.asarray(scores, np.float64),
        num_images=number,
        splits=tuple(splits),
        feature=content.get("feature"),
    )


def _region_of_file(path: Path, key: str) -> str:
    """The authors' file for the right half says "left" inside: its name is right."""
    named = re.match(r"(left|right|top|bottom|centre)_", path.name)
    return named[1] if named else key


def _check_order(path: Path, channels: list) -> np.ndarray:
    if not channels or not all(type(channel) is int for channel in channels):
        raise InputError(f"`ranking`: {path} must hold whole numbers, channel indices.")
    order = np.asarray(channels, np.int64)
    values, number = np.unique(order, return_counts=True)
    if number.max() > 1:
        raise InputError(f"`ranking`: {path} names channel {values[number > 1][0]} twice.")
    outside = order[(order < 0) | (order >= len(order))]
    if len(outside):
        raise InputError(
            f"`ranking`: {path} names channel {outside[0]} and ranks {len(order)} channels; each "
            f"of 0 to {len(order) - 1} must be there once."
        )
    return order


def check_channels(ranking: Ranking, num_channels: int) -> None:
    """Raise unless a ranking is of so many channels."""
    if len(ranking.order) != num_channels:
        raise InputError(
            f"`ranking`: {ranking.method} for {ranking.region} ranks {len(ranking.order)} "
            f"channels; the network's feature has {num_channels}."
        )
