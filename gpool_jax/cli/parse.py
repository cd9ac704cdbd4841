"""From the words of a command line to the options of a command."""

import contextlib
import dataclasses
import io
import itertools
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn, Union

from gpool_jax import config as configs
from gpool_jax.cli.options import COMMANDS, Measuring, Options
from gpool_jax.cli.streams import writing
from gpool_jax.config import KINDS, PositionConfig, SegmentationConfig, checks, paths, plain
from gpool_jax.config.sections import is_segmenter
from gpool_jax.errors import InputError, nearest

# Other names for fields that people look for.
_SHORT_NAMES = {
    "train.tensorboard": "--tensorboard",
    "train.wandb": "--wandb",
    "train.mlflow": "--mlflow",
    "train.parallel": "--parallel",
}
# Beside its sections, a command that measures takes of a run where its data lie,
_LOCATION = ("data.dir", "data.path", "data.cluster", "data.cache_dir", "data.workers")
# and of a file of weights what that does not say.
_UNTOLD = ("task", "n", "seed", "data", "model")
# Options of a command that name files or folders.
_PATHS = ("workdir", "weights", "ranking", "checkpoint", "export_eraser", "export_latents")


def split_target(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The word right after the command, if it is no option, and the other words."""
    if words and not words[0].startswith("-"):
        paths.check("CONFIG or RUN", words[0])
        return words[0], list(words[1:])
    return None, list(words)


def value_of(words: Sequence[str], name: str) -> str:
    """The value of an option before the words are read; empty if it is not given."""
    for word, following in itertools.zip_longest(words, words[1:], fillvalue=""):
        if word.partition("=")[0] == name:
            return word.partition("=")[2] or following
    return ""


def read(command: str, words: Sequence[str], config: Any, *, target: str | None = None) -> Any:
    """Read the words after a command (and its target) into its options.

    With --help among them, print all options and leave. The config gives the fields that may
    be set, and their defaults.

    Raises:
      InputError: naming the word that cannot be used, and the nearest that can.
    """
    import tyro

    checks.check_types(config)
    kind = COMMANDS[command]
    visible = _visible_fields(kind, config, target)
    shown = _for_tyro(kind(target=target, config=config), visible)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed), writing():
            options, unknown = tyro.cli(
                type(shown),
                default=shown,
                args=words,
                prog=f"gpool {command} {kind.takes}".strip(),
                description=f"{kind.__doc__}\n{kind.about}",
                return_unknown_args=True,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise InputError(_one_line(printed.getvalue())) from None
    if unknown:
        _refuse(command, unknown, config, visible, target)
    values = plain.to_dict(options.config)
    del values["kind"]
    named = {name: _expand(name, getattr(options, name, None)) for name in _PATHS}
    named = {name: value for name, value in named.items() if value is not None}
    return dataclasses.replace(options, config=plain.build(type(config), values), **named)


def _expand(name: str, value: Any) -> Any:
    """The value of an option, or of each of its items, with the home folder for ~."""
    if isinstance(value, tuple):
        return tuple(_expand(name, item) for item in value)
    if value is None:
        return None
    paths.check(f"--{name}", value)
    # Shells do so for a word that begins with it, not for --workdir=~/x.
    return str(paths.expand(value)) if value.startswith("~") else value


def read_measuring(
    command: str,
    words: Sequence[str],
    *,
    folder: str,
    imported: type = PositionConfig,
    adjust: Callable[[Any], Any] = lambda config: config,
) -> tuple[Any, Any]:
    """Read the options of a command that measures a run or a file of weights.

    Args:
      command: one of `COMMANDS`.
      words: all words after the command.
      folder: where in the folder of a run its results go, if nothing else is said.
      imported: kind of config that the weights of a classifier are measured with.
      adjust: changes the config of a run or a file of weights.

    Returns:
      The options, their `workdir` set, and the config of the run (None: of weights).

    Raises:
      InputError: if the words, the run or the folder cannot be used.
    """
    target, rest = split_target(words)
    if target is None or value_of(rest, "--weights"):
        segments = is_segmenter(value_of(rest, "--model"))
        options = read(command, rest, SegmentationConfig() if segments else imported())
        if options.weights is None:
            raise InputError(f"`run`: {command} needs the folder of a run, or --weights FILE.")
        if target is not None:
            raise InputError(f"`run`: give a run or --weights, not both; got {target}.")
        if options.model is None:
            raise InputError(
                "`--model` must name the network of the weights, e.g. resnet18; got none."
            )
        if options.workdir is None:
            raise InputError("`--workdir` must name the folder of the result; got none.")
        model = dataclasses.replace(options.config.model, name=options.model)
        config = adjust(dataclasses.replace(options.config, model=model))
        return dataclasses.replace(options, config=config), None
    from gpool_jax.experiments import workdir

    trained = workdir.read_config(Path(target))
    options = read(command, rest, adjust(trained), target=target)
    if options.model is not None:
        raise InputError("`--model` names the network of --weights; a run knows its own.")
    workdir.check_trusted(trained, Path(target), trust_code=options.trust_code)
    out = options.workdir or str(Path(target) / folder)
    workdir.check_writable(Path(out))
    return dataclasses.replace(options, workdir=out), trained


def print_completion(words: Sequence[str]) -> None:
    """Print what makes a shell complete commands and options, and leave."""
    import tyro

    kinds = []
    for command, kind in COMMANDS.items():
        config = getattr(configs, kind.example)()
        shown = _for_tyro(kind(config=config), _visible_fields(kind, config, None))
        kinds.append(Annotated[type(shown), tyro.conf.subcommand(command, default=shown)])
    with writing():
        tyro.cli(Union[tuple(kinds)], args=words, prog="gpool")  # type: ignore[call-overload]  # noqa: UP007


def _visible_fields(kind: type[Options], config: Any, target: str | None) -> list[str]:
    untold = target is None and issubclass(kind, Measuring)
    more = _UNTOLD if untold else _LOCATION
    return [name for name, _ in plain.leaves(config) if _takes(kind, name, more)]


def _takes(kind: type[Options], name: str, more: Iterable[str] = ()) -> bool:
    if kind.sections is None and kind.example == "PositionConfig":
        return True
    if kind.sections is None:
        return name in dict(plain.leaves(getattr(configs, kind.example)()))
    return any(f"{name}.".startswith(f"{section}.") for section in (*kind.sections, *more))


def _for_tyro(value: Any, visible: Collection[str], prefix: str | None = None) -> Any:
    """Options, a config in them or a section of it, of a class that tells tyro what to show.

    The prefix is that of dotted names of a config's fields; None: these are the options.
    """
    from tyro.conf import DisallowNone, Fixed, FlagCreatePairsOff, Suppress, arg

    hints: dict[str, Any] = {}
    values = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    for field in dataclasses.fields(value):
        name = f"{prefix or ''}{field.name}"
        if dataclasses.is_dataclass(values[field.name]):
            inside = "" if prefix is None else f"{name}."
            part = values[field.name] = _for_tyro(values[field.name], visible, inside)
            hints[field.name] = type(part)
            if prefix is None:
                hints[field.name] = Annotated[type(part), arg(name="")]
        elif name == "target" if prefix is None else name not in visible:
            hints[field.name] = Annotated[field.type, Suppress, Fixed]
        elif prefix is None:
            hints[field.name] = Annotated[field.type, DisallowNone, FlagCreatePairsOff]
        elif name in _SHORT_NAMES:
            hints[field.name] = Annotated[field.type, arg(aliases=[_SHORT_NAMES[name]])]
    kind = type(value)
    shown = dataclasses.make_dataclass(
        kind.__name__,
        [(name, hint, dataclasses.field(default=values[name])) for name, hint in hints.items()],
        bases=(kind,),
        namespace={"__doc__": kind.__doc__},
        frozen=True,
    )
    return shown(**values)


def _refuse(
    command: str, unknown: list[str], config: Any, visible: list[str], target: str | None
) -> NoReturn:
    """Say why the first option or word that is left over cannot be used."""
    kind = COMMANDS[command]
    name = next((word for word in unknown if word.startswith("-")), unknown[0]).partition("=")[0]
    if not name.startswith("-"):
        if kind.takes and target is None:
            usage = f"gpool {command} {kind.takes}"
            raise InputError(f"`{name}` must come first, right after the command: {usage} ...")
        raise InputError(f"unexpected word {name!r}; see `gpool {command} --help`.")
    field = re.sub(r"(^|\.)no_", r"\1", name.removeprefix("--").replace("-", "_"))
    is_of_configs = any(field == leaf for k in KINDS.values() for leaf, _ in plain.leaves(k()))
    takers = [
        other
        for other, options in COMMANDS.items()
        if field in _own_fields(options) or (is_of_configs and _takes(options, field))
    ]
    if command in takers and is_of_configs:
        raise InputError(f"`{name}` is no field of a {type(config).__name__}.")
    if is_of_configs and target and not any(COMMANDS[taker].sections for taker in takers):
        raise checks.overrides_error(name)
    if takers and command not in takers:
        raise InputError(
            f"`{name}` does not belong to this command, but to {', '.join(takers)}; "
            f"see `gpool {command} --help`."
        )
    known = [f"--{name}".replace("_", "-") for name in (*visible, *_own_fields(kind), "help")]
    hint = nearest(name.replace("_", "-"), known)
    raise InputError(f"unknown config field {name}.{hint}")


def _own_fields(kind: type[Options]) -> list[str]:
    return [f.name for f in dataclasses.fields(kind) if f.name not in ("target", "config")]


def _one_line(box: str) -> str:
    """The message inside the box that tyro prints."""
    lines = [line.strip(" \u2500\u2502\u256d\u256e\u2570\u256f-") for line in box.splitlines()]
    ends = ("Argument helptext", "For full helptext", "Perhaps you meant")
    message = [line for line in lines if line][1:]
    return " ".join(itertools.takewhile(lambda line: not line.startswith(ends), message))
