"""The options of every command, and how a command line is read into them.

A command's options are one frozen dataclass; its docstring and those of its fields are the
help. The fields of the config that the command works on are options as well.
"""

import contextlib
import dataclasses
import difflib
import io
import itertools
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, NoReturn, Union

from gpool_jax.config import KINDS, PositionConfig, plain
from gpool_jax.errors import InputError

# Other names for fields that people look for.
_SHORT_NAMES = {"train.tensorboard": "--tensorboard", "train.parallel": "--parallel"}
# Where a machine keeps the data of a run.
_LOCATION = ("data.dir", "data.path", "data.cache_dir", "data.workers")
# What a file of weights does not say.
_UNTOLD = ("task", "n", "seed", "data", "model")


@dataclasses.dataclass(frozen=True)
class Options:
    """What every command takes."""

    # The word right after the command, and what the help says of it.
    takes: ClassVar[str] = ""
    about: ClassVar[str] = ""
    # Sections of the config that the command takes; None: all of it.
    sections: ClassVar[tuple[str, ...] | None] = None

    target: str | None = None
    """The word right after the command."""
    workdir: str | None = None
    """Folder that results.json, report.html and all else are written to."""
    quiet: bool = False
    """Print errors and the paths of results only."""
    json: bool = False
    """Print the content of results.json, and nothing else, on stdout."""
    compilation_cache: str | None = None
    """Folder for compiled programs, or none to keep none; by default $JAX_COMPILATION_CACHE_DIR or ~/.cache/gpool_jax/xla."""
    config: Any = None
    """The config, with what was given."""


@dataclasses.dataclass(frozen=True)
class Demo(Options):
    """Answer the main question on handwritten digits, in minutes."""

    workdir: str | None = "runs/demo"
    """Folder that results.json, report.html and all else are written to."""


@dataclasses.dataclass(frozen=True)
class Train(Options):
    """Train and evaluate what a config asks for."""

    takes = "CONFIG"
    about = """\
  CONFIG is a Python file that defines `config`, or a name of `gpool configs`.
  With a CONFIG, the defaults below are its values."""

    dry_run: bool = False
    """Print what the training would cost (size, memory, time), and train nothing."""
    distributed: bool = False
    """Train together with other processes. On TPU VMs and under Slurm they find each other; elsewhere, the next three options say where they are."""
    coordinator: str | None = None
    """Address of process 0, as HOST:PORT."""
    num_processes: int | None = None
    """Number of processes."""
    process_id: int | None = None
    """Number of this process, from 0."""


@dataclasses.dataclass(frozen=True)
class Invariance(Train):
    """Train AugShift and rivals, and compare them under shift."""


@dataclasses.dataclass(frozen=True)
class Measuring(Options):
    """What the commands take that measure a run, or a file of weights."""

    takes = "RUN"
    about = """\
  RUN is the folder of a training run. Instead of it: --weights FILE --model NAME
  --workdir DIR, and then --task, --n, --seed, --data.* and --model.* as well.
  With a RUN, the defaults below are its values."""

    weights: str | None = None
    """File of weights (.safetensors, or .pth with PyTorch) to measure instead of a run."""
    model: str | None = None
    """Network that the weights are of, such as resnet18; `gpool --list-models` lists them."""


@dataclasses.dataclass(frozen=True)
class Evaluate(Measuring):
    """Evaluate a run again, or a network from a file of weights."""

    sections = ("eval", "probe", "consistency", "train.parallel")

    consistency: bool = False
    """Measure consistency under shift as well; any --consistency.* does so too."""


@dataclasses.dataclass(frozen=True)
class Rank(Measuring):
    """Rank channels by how much position each carries."""

    sections = ("rank",)

    authors_format: bool = False
    """Write the rankings in the format of the paper's authors."""


@dataclasses.dataclass(frozen=True)
class Attack(Measuring):
    """Remove the channels ranked first, and measure what is lost."""

    sections = ("rank", "attack")

    ranking: tuple[str, ...] = ()
    """Rankings to use instead of computing them: files, or folders of `gpool rank`."""


COMMANDS: dict[str, type[Options]] = {
    "demo": Demo,
    "train": Train,
    "invariance": Invariance,
    "evaluate": Evaluate,
    "rank": Rank,
    "attack": Attack,
}


_TRAINING = {name for name, kind in COMMANDS.items() if kind.sections is None}


def split_target(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The word right after the command, if it is no option, and the other words."""
    if words and not words[0].startswith("-"):
        return words[0], list(words[1:])
    return None, list(words)


def value_of(words: Sequence[str], name: str) -> str | None:
    """The value of an option, before the words are read; None if it is not given."""
    for word, following in itertools.zip_longest(words, words[1:], fillvalue=""):
        if word.partition("=")[0] == name:
            return word.partition("=")[2] or following
    return None


def read(command: str, words: Sequence[str], config: Any, *, target: str | None = None) -> Any:
    """Read the words after a command (and its target) into its options.

    Args:
      command: one of `COMMANDS`.
      words: options and their values; with --help among them, print all options and leave.
      config: gives the fields that may be set, and their defaults.
      target: from `split_target`.

    Raises:
      InputError: naming the word that cannot be used, and the nearest that can.
    """
    kind = COMMANDS[command]
    visible = _visible_fields(kind, config, target)
    shown: Any = _for_tyro(kind(target=target, config=config), visible)
    import tyro

    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
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
    return dataclasses.replace(options, config=plain.from_dict(values))


def read_measuring(
    command: str,
    words: Sequence[str],
    imported: Any,
    *,
    folder: str,
    adjust: Callable[[Any], Any] = lambda config: config,
) -> tuple[Any, Any]:
    """Read the options of a command that measures a run or a file of weights.

    Args:
      command: one of `COMMANDS`.
      words: all words after the command.
      imported: config that a file of weights is measured with, but for what is given.
      folder: where in the folder of a run its results go, if nothing else is said.
      adjust: changes the config of a run before it becomes the default.

    Returns:
      The options, their `workdir` set, and the config of the run (None: of weights).

    Raises:
      InputError: if the words, the run or the folder cannot be used.
    """
    target, rest = split_target(words)
    if value_of(rest, "--weights") is not None or target is None:
        options = read(command, rest, imported)
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
        config = dataclasses.replace(options.config, model=model)
        return dataclasses.replace(options, config=config), None
    from gpool_jax.experiments import workdir

    trained = workdir.read_config(Path(target))
    options = read(command, rest, adjust(trained), target=target)
    out = options.workdir or str(Path(target) / folder)
    workdir.check_writable(Path(out))
    return dataclasses.replace(options, workdir=out), trained


def print_completion(words: Sequence[str]) -> NoReturn:
    """Print what makes a shell complete commands and options, and leave."""
    import tyro

    examples = {name: kind(config=PositionConfig()) for name, kind in COMMANDS.items()}
    shown = {
        name: _for_tyro(options, _visible_fields(type(options), options.config, None))
        for name, options in examples.items()
    }
    kinds = [
        Annotated[type(options), tyro.conf.subcommand(name, default=options)]
        for name, options in shown.items()
    ]
    tyro.cli(Union[tuple(kinds)], args=words, prog="gpool")  # type: ignore[call-overload]  # noqa: UP007
    raise SystemExit(0)


def _visible_fields(kind: type[Options], config: Any, target: str | None) -> list[str]:
    """Dotted names of the config's fields that a command takes."""
    names = [name for name, _ in plain.leaves(config)]
    if kind.sections is None:
        return names
    more = _UNTOLD if target is None else _LOCATION
    return [name for name in names if _is_within(name, (*kind.sections, *more))]


def _is_within(name: str, sections: Iterable[str]) -> bool:
    return any(name == section or name.startswith(f"{section}.") for section in sections)


def _for_tyro(options: Options, visible: Collection[str]) -> Options:
    """The same options, of a class that tells tyro what to show, and how."""
    from tyro.conf import DisallowNone, Fixed, FlagCreatePairsOff, Suppress, arg

    config = _hide(options.config, visible, "")
    types: dict[str, Any] = {
        field.name: Annotated[field.type, DisallowNone, FlagCreatePairsOff]
        for field in dataclasses.fields(options)
    }
    types["target"] = Annotated[str | None, Suppress, Fixed]
    types["config"] = Annotated[type(config), arg(name="")]
    return _with_types(options, types, {"config": config})


def _hide(config: Any, visible: Collection[str], prefix: str) -> Any:
    """The same config, of a class whose other fields tyro does not show."""
    from tyro.conf import Fixed, Suppress, arg

    types: dict[str, Any] = {}
    values = {}
    for field in dataclasses.fields(config):
        name, value = prefix + field.name, getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            values[field.name] = _hide(value, visible, f"{name}.")
            types[field.name] = type(values[field.name])
        elif name not in visible:
            types[field.name] = Annotated[field.type, Suppress, Fixed]
        elif name in _SHORT_NAMES:
            types[field.name] = Annotated[field.type, arg(aliases=[_SHORT_NAMES[name]])]
    return _with_types(config, types, values)


def _with_types(value: Any, types: dict[str, Any], changes: dict[str, Any]) -> Any:
    """A dataclass with other types for some fields: of a subclass, which keeps the help."""
    kind = type(value)
    values = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)} | changes
    typed = dataclasses.make_dataclass(
        kind.__name__,
        [(name, hint, dataclasses.field(default=values[name])) for name, hint in types.items()],
        bases=(kind,),
        namespace={"__doc__": kind.__doc__},
        frozen=True,
    )
    return typed(**values)


def _refuse(
    command: str, unknown: list[str], config: Any, visible: list[str], target: str | None
) -> NoReturn:
    """Say why the first word that is left over cannot be used."""
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
        if field in _own_fields(options)
        or (is_of_configs and (options.sections is None or _is_within(field, options.sections)))
    ]
    if is_of_configs and kind.sections and target and set(takers) <= _TRAINING:
        raise InputError(
            "a finished run can be measured with other eval.*, probe.*, consistency.*, rank.*, "
            f"attack.* and data.dir or data.path only; got {name}."
        )
    if is_of_configs and command in takers:
        raise InputError(f"`{name}` is no field of a {type(config).__name__}.")
    if takers and command not in takers:
        raise InputError(
            f"`{name}` does not belong to this command, but to {', '.join(takers)}; "
            f"see `gpool {command} --help`."
        )
    known = [f"--{name}".replace("_", "-") for name in (*visible, *_own_fields(kind), "help")]
    raise InputError(f"unknown config field {name}.{nearest(name, known)}")


def _own_fields(kind: type[Options]) -> list[str]:
    return [f.name for f in dataclasses.fields(kind) if f.name not in ("target", "config")]


def nearest(word: str, known: Collection[str]) -> str:
    """A "did you mean" hint, or an empty string."""
    near = difflib.get_close_matches(word.replace("_", "-"), known, n=1)
    return f" Did you mean {near[0]}?" if near else ""


def _one_line(box: str) -> str:
    """The message inside the box that tyro prints."""
    lines = [line.strip(" \u2500\u2502\u256d\u256e\u2570\u256f-") for line in box.splitlines()]
    message = []
    for line in [line for line in lines if line][1:]:
        if line.startswith(("Argument helptext", "For full helptext", "Perhaps you meant")):
            break
        message.append(line)
    return " ".join(message)
