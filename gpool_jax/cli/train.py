"""`gpool demo`, `train` and `invariance`: from a config to a run; here, or in several processes."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpool_jax.cli import distributed
from gpool_jax.cli.options import Demo, Reporting, Train
from gpool_jax.cli.parse import read, split_target
from gpool_jax.cli.session import show, start, warner
from gpool_jax.cli.streams import complain, say
from gpool_jax.config import (
    DEMO,
    KINDS,
    InvarianceComparisonConfig,
    InvarianceConfig,
    PositionConfig,
    files,
)
from gpool_jax.errors import InputError


def demo(words: list[str]) -> int:
    """Answer the main question on small real data."""
    options: Demo = read("demo", words, DEMO)
    config = _without_late_milestones(options.config, DEMO, warner(options))
    start(options)
    return _run(config, options, warner(options))


def train(words: list[str]) -> int:
    """Train and evaluate what a config asks for."""
    return _train_config("train", words, PositionConfig(), tuple(KINDS.values()))


def invariance(words: list[str]) -> int:
    """Do the same for configs of the invariance question."""
    kinds = (InvarianceComparisonConfig, InvarianceConfig)
    return _train_config("invariance", words, InvarianceComparisonConfig(), kinds)


def _train_config(command: str, words: list[str], example: Any, kinds: tuple[type, ...]) -> int:
    """Run a config of one of these kinds; without one, `--help` shows the example."""
    target, rest = split_target(words)
    default = example if target is None else files.load(target, kinds)
    options: Train = read(command, rest, default, target=target)
    if target is None:
        raise InputError(
            f"`config`: {command} needs a config file, or a name that `gpool configs` lists."
        )
    distributed.check(options)
    if options.dry_run and options.json:
        raise InputError("`--json` prints results, and --dry-run has none; give one of them.")
    if not options.dry_run and options.workdir is None:
        raise InputError("`--workdir` must name the folder of the run; got none.")

    def work(warn: Callable[[str], None]) -> int:
        config = _without_late_milestones(options.config, default, warn)
        return _dry_run(config, warn) if options.dry_run else _run(config, options, warn)

    start(options)
    return distributed.run(options, work) if options.distributed else work(warner(options))


def _without_late_milestones(config: Any, default: Any, warn: Callable[[str], None]) -> Any:
    """The config without milestones of the default that a shorter training never reaches."""
    training = config.train
    late = [step for step in training.milestones if step > training.steps]
    if not late or training.milestones != default.train.milestones:
        return config
    warn(
        f"train.milestones {', '.join(map(str, late))} dropped: the training ends after "
        f"{training.steps} steps."
    )
    kept = tuple(step for step in training.milestones if step <= training.steps)
    return dataclasses.replace(config, train=dataclasses.replace(training, milestones=kept))


def _run(config: Any, options: Reporting, warn: Callable[[str], None]) -> int:
    from gpool_jax.experiments import run
    from gpool_jax.train.loop import Stopped
    from gpool_jax.train.processes import is_first

    try:
        result = run(config, Path(options.workdir or ""), warn=warn)
    except Stopped as stopped:
        if is_first():
            complain(str(stopped))
        return 128 + stopped.signal
    return 0 if result is None else show(result, options)


def _dry_run(config: Any, warn: Callable[[str], None]) -> int:
    from gpool_jax.experiments import dry_run
    from gpool_jax.report import estimate
    from gpool_jax.train.processes import is_first

    tell: Callable[[str], None] = say if is_first() else lambda _text: None
    found = dry_run.run(config, report=lambda e: tell(f"{estimate.describe(e)}\n"), warn=warn)
    tell(estimate.describe_total(found))
    return 0
