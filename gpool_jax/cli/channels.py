"""`gpool rank` and `gpool attack`: the channels of one network, ranked and removed."""

from pathlib import Path
from typing import Any

from gpool_jax.cli.options import Attack, Rank
from gpool_jax.cli.parse import read_measuring, value_of
from gpool_jax.cli.session import show, start, warner
from gpool_jax.config import PositionConfig, SegmentationConfig
from gpool_jax.errors import InputError


def rank(words: list[str]) -> int:
    """Score every channel by how much position it carries."""
    options: Rank
    options, trained = _read("rank", words)
    start(options)
    from gpool_jax.experiments.channels import rank as ranking

    opened = _open(options.config, trained, options)
    out = Path(options.workdir or "")
    authors_format, say = options.authors_format, warner(options)
    return show(ranking.run(opened, out, authors_format=authors_format, warn=say), options)


def attack(words: list[str]) -> int:
    """Remove the first channels of each ranking."""
    options: Attack
    options, trained = _read("attack", words)
    times = sum(word.partition("=")[0] == "--ranking" for word in words)
    if times > 1:
        raise InputError("`--ranking` stands twice; name all files after one.")
    if times and not options.ranking:
        raise InputError("`--ranking` must name files or folders; got none.")
    start(options)
    from gpool_jax.experiments.channels import attack as attacking

    config, rankings = attacking.with_rankings(options.config, options.ranking)
    opened = _open(config, trained, options)
    out = Path(options.workdir or "")
    return show(attacking.run(opened, rankings, out, warn=warner(options)), options)


def _read(command: str, words: list[str]) -> tuple[Any, Any]:
    segments = value_of(words, "--model").startswith("deeplab")
    imported = SegmentationConfig() if segments else PositionConfig()
    return read_measuring(command, words, imported, folder=command)


def _open(config: Any, trained: Any, options: Rank | Attack) -> Any:
    from gpool_jax.experiments.channels import subjects

    if trained is None:
        return subjects.open_weights(config, Path(options.weights or ""), warner(options))
    return subjects.open_run(trained, config, Path(options.target or ""), warner(options))
