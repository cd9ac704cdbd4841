"""`gpool demo`, `train` and `invariance`: from a config to a run; here, or in several processes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpool_jax.cli import distributed as cli_distributed
from gpool_jax.cli.options import load_config, long_names, override, split_options
from gpool_jax.cli.session import show, start_jax, warn
from gpool_jax.config import (
    DEMO,
    KINDS,
    InvarianceComparisonConfig,
    InvarianceConfig,
    PositionConfig,
)
from gpool_jax.errors import InputError


def demo(arguments: list[str]) -> int:
    """The main question on small real data."""
    options, rest = split_options("demo", arguments, {"--workdir": "runs/demo"})
    config = override(DEMO, rest, "gpool demo [--workdir runs/demo]", options.help)
    start_jax(options)
    return _run(config, Path(options.workdir), warn)


def train(arguments: list[str]) -> int:
    """Train and evaluate what a config file asks for."""
    return _train_config("train", arguments, PositionConfig(), tuple(KINDS.values()))


def invariance(arguments: list[str]) -> int:
    """The same for configs of the invariance question."""
    kinds = (InvarianceComparisonConfig, InvarianceConfig)
    return _train_config("invariance", arguments, InvarianceComparisonConfig(), kinds)


def _train_config(command: str, arguments: list[str], example: Any, kinds: tuple[type, ...]) -> int:
    """Run a config file of one of these kinds; without a file, `--help` shows the example."""
    options, rest = split_options(
        command,
        long_names(arguments),
        {"--workdir": None, **cli_distributed.OPTIONS},
        positional="config",
        switches=("--distributed", "--dry-run"),
    )
    usage = f"gpool {command} CONFIG.py --workdir RUN"
    default = example if options.config is None else load_config(options.config, kinds)
    config = override(default, rest, usage, options.help)
    if options.config is None:
        raise InputError(f"`config`: {command} needs a config file; there are some in configs/.")
    cli_distributed.check(options)
    work: Callable[[Callable[[str], None]], int]
    if options.dry_run:

        def work(say: Callable[[str], None]) -> int:
            return _dry_run(config, say)

    else:
        if options.workdir is None:
            raise InputError("`--workdir` must name the folder of the run; got none.")

        def work(say: Callable[[str], None]) -> int:
            return _run(config, Path(options.workdir), say)

    start_jax(options)
    return cli_distributed.run(options, work) if options.distributed else work(warn)


def _run(config: Any, folder: Path, say: Callable[[str], None]) -> int:
    from gpool_jax.experiments import run
    from gpool_jax.train.loop import Stopped
    from gpool_jax.train.processes import is_first

    try:
        result = run(config, folder, warn=say)
    except Stopped as stopped:
        if is_first():
            warn(str(stopped))
        return 128 + stopped.signal
    return 0 if result is None else show(result, folder)


def _dry_run(config: Any, say: Callable[[str], None]) -> int:
    from gpool_jax.experiments import dry_run
    from gpool_jax.report import estimate
    from gpool_jax.train.processes import is_first

    def found(kind: estimate.Estimate) -> None:
        if is_first():
            print(estimate.describe(kind), end="\n\n")

    estimates = dry_run.run(config, report=found, warn=say)
    if is_first():
        print(estimate.describe_total(estimates))
    return 0
