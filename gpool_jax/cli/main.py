"""`gpool`: parse, call one experiment, print, exit code."""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpool_jax import __version__
from gpool_jax.cli import train as cli_train
from gpool_jax.cli.options import COMMON_HELP, nearest, override, split_options
from gpool_jax.cli.session import show, start_jax, warn
from gpool_jax.config import (
    InvarianceConfig,
    PositionConfig,
    SegmentationConfig,
)
from gpool_jax.errors import InputError, RunError

_HELP = """\
usage: gpool COMMAND ...

How much position does a globally pooled vector carry, does the order of its
channels carry it, and how is it removed?

commands:
  demo                       the main question on small real data, in minutes
  train CONFIG.py            train and evaluate what a config file asks for
  invariance CONFIG.py       train shift augmentation, AugShift and BlurPool, and
                             compare how much the networks mind a shift
  evaluate RUN               measure a training run again, otherwise
  evaluate --weights FILE --model NAME
                             measure a network imported from PyTorch
  evaluate ... --consistency how consistent its answers are under shift
  rank RUN                   score every channel by how much position it carries
  attack RUN                 remove the first channels of each ranking, and measure
                             what is lost, and where

{common}
gpool --version prints the version.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
      argv: words after the program's name; the process's own if None.

    Returns:
      The exit code: 0; 2 for input that cannot be used or a run that had to
      stop, with one line on stderr; 128 + the signal for a run told to stop.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_HELP.format(common=COMMON_HELP), end="")
        return 0
    if arguments[0] == "--version":
        print(__version__)
        return 0
    commands = {
        "demo": cli_train.demo,
        "train": cli_train.train,
        "invariance": cli_train.invariance,
        "evaluate": _evaluate,
        "rank": _rank,
        "attack": _attack,
    }
    try:
        if arguments[0] not in commands:
            raise InputError(
                f"`command` must be one of {', '.join(commands)}; got {arguments[0]!r}."
                f"{nearest(arguments[0], commands)}"
            )
        return commands[arguments[0]](arguments[1:])
    except (InputError, RunError) as error:
        print(f"gpool: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever read the output has seen enough; nothing more can be said to them.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print("gpool: interrupted.", file=sys.stderr)
        return 130


def _evaluate(arguments: list[str]) -> int:
    # The bare word, or any of its fields, switches the measurement on.
    asked = any(a.startswith("--consistency") for a in arguments)
    arguments = [a for a in arguments if a != "--consistency"]
    if asked and "--consistency.no-enabled" not in arguments:
        arguments.append("--consistency.enabled")
    options, rest = split_options(
        "evaluate",
        arguments,
        {"--workdir": None, "--weights": None, "--model": None},
        positional="run",
    )
    usage = "gpool evaluate RUN | gpool evaluate --weights FILE --model NAME --workdir OUT"
    if options.weights is not None:
        return _evaluate_weights(options, rest, usage)
    if options.run is None:
        override(PositionConfig(), rest, usage, options.help)
        raise InputError("`run`: evaluate needs the folder of a run, or --weights FILE.")
    from gpool_jax.experiments import workdir

    run = Path(options.run)
    trained = workdir.read_config(run)
    config = override(trained, rest, usage, options.help)
    out = Path(options.workdir) if options.workdir else run / "evaluation"
    workdir.check_writable(out)
    start_jax(options)
    from gpool_jax.experiments import driver

    return show(driver.evaluate(trained, config, run, out, warn=warn), out)


def _evaluate_weights(options: argparse.Namespace, rest: list[str], usage: str) -> int:
    # Consistency is a question about whole images, the others about canvases.
    asked = any(word.startswith("--consistency") for word in rest)
    default: Any = InvarianceConfig() if asked else PositionConfig()
    if (options.model or "").startswith("deeplab"):
        default = SegmentationConfig()
    if asked and any(word.split("=")[0] == "--task" for word in rest):
        raise InputError(
            "`--task`: the consistency of an imported network is that of the classes it recognises "
            "in whole images; leave --task out."
        )
    config = _config_of_weights(default, options, rest, usage)
    start_jax(options)
    from gpool_jax.experiments import driver

    out, weights = Path(options.workdir), Path(options.weights)
    return show(driver.evaluate_weights(config, weights, out, warn=warn), out)


def _config_of_weights(
    default: Any, options: argparse.Namespace, rest: list[str], usage: str
) -> Any:
    """The config that a file of weights is measured with."""
    if options.model is not None:
        model = dataclasses.replace(default.model, name=options.model)
        default = dataclasses.replace(default, model=model)
    config = override(default, rest, usage, options.help)
    if options.run is not None:
        raise InputError(f"`run`: give a run or --weights, not both; got {options.run}.")
    if options.model is None:
        raise InputError("`--model` must name the network of the weights, e.g. resnet18; got none.")
    if options.workdir is None:
        raise InputError("`--workdir` must name the folder of the result; got none.")
    return config


def _rank(arguments: list[str]) -> int:
    authors_format = "--authors-format" in arguments
    arguments = [a for a in arguments if a != "--authors-format"]
    config, trained, options = _channel_options("rank", arguments)
    out = Path(options.workdir)
    opened = _open_channels(config, trained, options)
    from gpool_jax.experiments.channels import rank

    return show(rank.run(opened, out, authors_format=authors_format, warn=warn), out)


def _attack(arguments: list[str]) -> int:
    arguments, names = _take_ranking(arguments)
    config, trained, options = _channel_options("attack", arguments)
    out = Path(options.workdir)
    start_jax(options)
    from gpool_jax.experiments.channels import attack

    config, rankings = attack.with_rankings(config, names)
    opened = _open_channels(config, trained, options)
    return show(attack.run(opened, rankings, out, warn=warn), out)


def _take_ranking(arguments: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """Split off `--ranking FILE ...`."""
    # `--ranking=FILE` is the same in one word.
    arguments = [
        part
        for word in arguments
        for part in (word.split("=", 1) if word.startswith("--ranking=") else [word])
    ]
    if "--ranking" not in arguments:
        return arguments, ()
    if arguments.count("--ranking") > 1:
        raise InputError("`--ranking` stands twice; name all files after one.")
    start = arguments.index("--ranking")
    end = start + 1
    while end < len(arguments) and not arguments[end].startswith("--"):
        end += 1
    if end == start + 1:
        raise InputError("`--ranking` must name files or folders; got none.")
    return arguments[:start] + arguments[end:], tuple(arguments[start + 1 : end])


def _channel_options(command: str, arguments: list[str]) -> tuple[Any, Any, argparse.Namespace]:
    """Config of a channel command, that of its run (None for weights), and its options."""
    options, rest = split_options(
        command,
        arguments,
        {"--workdir": None, "--weights": None, "--model": None},
        positional="run",
    )
    usage = (
        f"gpool {command} RUN --workdir OUT | gpool {command} --weights FILE --model NAME "
        "--workdir OUT"
    )
    if options.weights is not None:
        segments = (options.model or "").startswith("deeplab")
        default: Any = SegmentationConfig() if segments else PositionConfig()
        return _config_of_weights(default, options, rest, usage), None, options
    if options.run is None:
        override(SegmentationConfig(), rest, usage, options.help)
        raise InputError(f"`run`: {command} needs the folder of a run, or --weights FILE.")
    from gpool_jax.experiments import workdir

    trained = workdir.read_config(Path(options.run))
    config = override(trained, rest, usage, options.help)
    options.workdir = options.workdir or str(Path(options.run) / command)
    workdir.check_writable(Path(options.workdir))
    return config, trained, options


def _open_channels(config: Any, trained: Any, options: argparse.Namespace) -> Any:
    start_jax(options)
    from gpool_jax.experiments.channels import subjects

    if trained is None:
        return subjects.open_weights(config, Path(options.weights), warn)
    return subjects.open_run(trained, config, Path(options.run), warn)
