"""`gpool rank` and `gpool attack`: the channels of one network, ranked and removed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpool_jax.cli.options import Attack, Measuring, Rank
from gpool_jax.cli.parse import read_measuring
from gpool_jax.cli.session import show, start, warner
from gpool_jax.config import checks
from gpool_jax.config.plain import leaves
from gpool_jax.errors import InputError


def rank(words: list[str]) -> int:
    """Score every channel by how much position it carries."""
    options: Rank
    options, trained = read_measuring("rank", words, folder="rank")
    start(options)
    from gpool_jax.experiments.channels import rank as ranking

    def work(target: Any) -> Any:
        return ranking.measure(target, authors_format=options.authors_format)

    return _measure(options, trained, options.config, work)


def attack(words: list[str]) -> int:
    """Remove the first channels of each ranking."""
    options: Attack
    options, trained = read_measuring("attack", words, folder="attack")
    times = sum(word.partition("=")[0] == "--ranking" for word in words)
    if times > 1:
        raise InputError("`--ranking` stands twice; name all files after one.")
    if times and not options.ranking:
        raise InputError("`--ranking` must name files or folders; got none.")
    start(options)
    from gpool_jax.experiments.channels import attack as attacking

    config, rankings = attacking.with_rankings(options.config, options.ranking)
    return _measure(options, trained, config, lambda target: attacking.measure(target, rankings))


def _measure(options: Measuring, trained: Any, config: Any, measure: Callable[[Any], Any]) -> int:
    from gpool_jax.experiments import driver, targets, workdir

    say, run, weights = warner(options), Path(options.target or ""), Path(options.weights or "")
    command = type(options).__name__.lower()
    if trained is None:
        owner = workdir.own_weights(weights, config.model.name, command)
    else:
        owner = workdir.own(run, command)
    checks.check(config)
    _say_what_is_unused(config, trained or type(config)(), say)

    def work() -> Any:
        if trained is None:
            return measure(targets.open_weights(config, weights, say))
        return measure(targets.open_run(trained, config, run, say))

    output = driver.Output(Path(options.workdir or ""), owner, say)
    return show(driver.measure(config, output, work, further="ranking_*.json"), options)


def _say_what_is_unused(config: Any, default: Any, say: Callable[[str], None]) -> None:
    given, unasked = dict(leaves(config)), dict(leaves(default))
    if "n" in given and given.get("rank.grid") != unasked.get("rank.grid"):
        # A network that was trained on canvases is asked on its own.
        grid = given["rank.grid"]
        say(f"`rank.grid` {grid} is not used: the network has its own `n` = {given['n']}.")
