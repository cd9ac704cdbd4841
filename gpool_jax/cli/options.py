"""Words of a command line: what belongs to the command, and fields of a config."""

import argparse
import contextlib
import difflib
import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from gpool_jax.config import plain as configs
from gpool_jax.errors import InputError

COMMON_HELP = """\
every command:
  --workdir DIR              where results.json and report.html go
  --tensorboard              (train, invariance) write TensorBoard events too
  --dry-run                  (train, invariance) say what it costs, and do nothing
  --parallel shard_map       (train, invariance) map over devices with jit of
                             shard_map instead of pmap
  --distributed              (train, invariance) one of several processes that train
                             together; on TPU VMs and under Slurm they find each other,
                             else all three:
  --coordinator HOST:PORT    where process 0 is found
  --num-processes N          how many there are
  --process-id I             which one this is, from 0
  --weights FILE             (evaluate, rank, attack) a .safetensors or .pth
                             instead of a run
  --model NAME               (--weights) the network of the weights
  --ranking FILE ...         (attack) rankings made before, or by the paper's authors:
                             files, or folders of `gpool rank`
  --authors-format           (rank) write the rankings as the authors do
  --consistency              (evaluate) measure consistency under shift; its fields
                             are --consistency.*
  --help                     all options of the command, with their defaults
  --compilation-cache DIR    where compiled programs are kept (none: off)
"""


# Fields that people look for under a short name.
_SHORT_NAMES = {"--tensorboard": "--train.tensorboard", "--parallel": "--train.parallel"}


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all others here."""

    def error(self, message: str) -> NoReturn:
        """Hand the message to `main`."""
        raise InputError(message)


def split_options(
    command: str,
    arguments: list[str],
    defaults: dict[str, str | None],
    positional: str | None = None,
    switches: Sequence[str] = (),
) -> tuple[argparse.Namespace, list[str]]:
    """Take out what belongs to the command; the rest are fields of the config."""
    parser = _Parser(prog=f"gpool {command}", add_help=False, allow_abbrev=False)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--compilation-cache", default=None)
    for name, default in defaults.items():
        parser.add_argument(name, default=default)
    for name in switches:
        parser.add_argument(name, action="store_true")
    # The positional word comes first, so that it is never taken from a field's values.
    named = None
    if positional is not None and arguments and not arguments[0].startswith("-"):
        named, arguments = arguments[0], arguments[1:]
    options, rest = parser.parse_known_args(arguments)
    if positional is not None:
        setattr(options, positional, named)
    return options, rest


def long_names(arguments: list[str]) -> list[str]:
    """Options with the short names of fields written out."""
    words = []
    for word in arguments:
        name, equals, value = word.partition("=")
        words.append(_SHORT_NAMES.get(name, name) + equals + value)
    return words


def override(config: Any, arguments: list[str], usage: str, show_help: bool) -> Any:
    """Apply `--field.name value` overrides to a config, or show them all and leave."""
    import tyro

    if show_help:
        print(f"usage: {usage} [--FIELD VALUE ...]\n\n{COMMON_HELP}")
        tyro.cli(type(config), default=config, args=["--help"], prog="gpool")
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            new, unknown = tyro.cli(
                type(config), default=config, args=arguments, return_unknown_args=True
            )
    except SystemExit:
        raise InputError(one_line(captured.getvalue())) from None
    if unknown:
        name = next((word for word in unknown if word.startswith("-")), unknown[0])
        if not name.startswith("-"):
            raise InputError(f"`{name}` must come first, right after the command: {usage}.")
        known = [f"--{field}" for field in field_names(configs.to_dict(config))]
        known += ["--workdir", "--weights", "--model", "--compilation-cache", "--help"]
        known += ["--distributed", "--coordinator", "--num-processes", "--process-id"]
        known += ["--dry-run", *_SHORT_NAMES]
        if name in known:
            raise InputError(f"`{name}` does not belong to this command; see `gpool --help`.")
        raise InputError(f"unknown config field {name}.{nearest(name, known)}")
    return new


def field_names(values: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of a plain config's fields, as options spell them."""
    names = []
    for name, value in values.items():
        if isinstance(value, dict):
            names += field_names(value, f"{prefix}{name}.")
        elif name != "kind":
            names.append((prefix + name).replace("_", "-"))
    return names


def nearest(word: str, known: Any) -> str:
    """The hint what may have been meant, if something known is near; else nothing."""
    near = difflib.get_close_matches(word.split("=")[0].replace("_", "-"), list(known), n=1)
    return f" Did you mean {near[0]}?" if near else ""


def one_line(box: str) -> str:
    """The message inside the box that tyro prints."""
    lines = [line.strip(" \u2500\u2502\u256d\u256e\u2570\u256f-") for line in box.splitlines()]
    lines = [line for line in lines if line][1:]
    message = []
    for line in lines:
        if line.startswith(("Argument helptext", "For full helptext", "Perhaps you meant")):
            break
        message.append(line)
    return " ".join(message)


def load_config(name: str, kinds: tuple[type, ...]) -> Any:
    """The `config` of a Python file, of one of these kinds."""
    path = Path(name)
    if not path.is_file():
        raise InputError(f"`config`: there is no file {path}.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"`config`: {path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # it is the user's code: any kind
        raise InputError(f"`config`: {path} cannot be loaded: {error!r}.") from None
    config = getattr(module, "config", None)
    if type(config) not in kinds:
        raise InputError(
            f"`config`: {path} must define `config`, one of "
            f"{', '.join(kind.__name__ for kind in kinds)}; got {type(config).__name__}."
        )
    return config
