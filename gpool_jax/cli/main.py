"""`gpool`: find the command, run it, turn what goes wrong into one line and an exit code."""

import importlib
import sys
from collections.abc import Sequence

from gpool_jax import __version__
from gpool_jax.cli.options import COMMANDS
from gpool_jax.cli.streams import complain, discard, say
from gpool_jax.errors import InputError, nearest

_HELP = """\
usage: gpool COMMAND ...

How much position does a globally pooled vector carry, does the order of its
channels carry it, and how is it removed?

commands:
{commands}
  configs            List the configs that come with the package.
  help COMMAND       Print all options of a command, with their defaults.

options:
  -h, --help         Print this.
  -V, --version      Print the version.
  --list-models      List the networks that --model.name and --model take.
  --tyro-print-completion SHELL
                     Print the completion script of bash, zsh or fish."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code; `argv` None: the process's own words.

    The code is 0; 2 for input that cannot be used or a run that had to stop, and 1 for a fault
    of the program, with one line on stderr; 128 + the signal for a run told to stop.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(words)
    except BrokenPipeError:
        # Whoever read the output has seen enough; nothing more can be said to them.
        discard(sys.stdout)
        return 141
    except KeyboardInterrupt:
        complain("interrupted.")
        return 130
    except Exception as error:
        from gpool_jax.cli import failures, parse  # needed here alone, and not cheap

        code, line = failures.explain(error, parse.value_of(words, "--workdir"))
        complain(line)
        return code


def _dispatch(words: list[str]) -> int:
    for word in words:
        if not word.isascii() and any("\ud800" <= letter <= "\udfff" for letter in word):
            raise InputError(f"{word!a} is not UTF-8; rename what it names.")
    match words:
        case []:
            print(_help(), file=sys.stderr)
            return 2
        case ["-h" | "--help" | "help"] | ["configs" | "help", "-h" | "--help"]:
            say(_help())
        case ["-V" | "--version"]:
            say(__version__)
        case ["--list-models"]:
            from gpool_jax.models import MODELS
            from gpool_jax.models.segmenter import SEGMENTERS

            say("\n".join((*MODELS, *SEGMENTERS)))
        case ["configs"]:
            from gpool_jax.config import files

            catalog = files.catalog()
            width = max(map(len, catalog))
            say("\n".join(f"{name:{width}}  {what}" for name, (what, _) in catalog.items()))
        case ["--tyro-print-completion", "bash" | "zsh" | "fish"]:
            from gpool_jax.cli.parse import print_completion

            print_completion(words)
        case ["--tyro-print-completion", *rest]:
            shell = rest[0] if rest else "none"
            raise InputError(f"`--tyro-print-completion` must be bash, zsh or fish; got {shell}.")
        case ["help", command]:
            return _dispatch([command, "--help"])
        case [command, *rest] if command in COMMANDS:
            # Imported only now, so that `gpool --help` answers at once.
            module = importlib.import_module(f"gpool_jax.cli.{COMMANDS[command].module}")
            return getattr(module, command)(rest)
        case ["configs" | "help" | "-h" | "--help" | "-V" | "--version" | "--list-models", *rest]:
            raise InputError(f"unexpected word {rest[-1]!r} after gpool {words[0]}.")
        case [command, *_]:
            known = (*COMMANDS, "configs", "help")
            raise InputError(
                f"`command` must be one of {', '.join(known)}; got {command!r}."
                f"{nearest(command, known)}"
            )
    return 0


def _help() -> str:
    commands = [f"  {f'{name} {kind.takes}':17}  {kind.__doc__}" for name, kind in COMMANDS.items()]
    return _HELP.format(commands="\n".join(commands))
