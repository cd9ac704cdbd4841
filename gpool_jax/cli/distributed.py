"""`--distributed`: several processes run one command together."""

import argparse
import sys
import traceback
from collections.abc import Callable

from gpool_jax.errors import InputError, RunError

# Options of the command line, with their defaults, as `split_options` takes them.
OPTIONS: dict[str, str | None] = {
    "--coordinator": None,
    "--num-processes": None,
    "--process-id": None,
}


def check(options: argparse.Namespace) -> tuple[str | None, int | None, int | None]:
    """Who the processes are: coordinator, their number, which this is; all None: to be found.

    Raises:
      InputError: naming the option, the bad value and what is allowed.
    """
    given = {name: getattr(options, name[2:].replace("-", "_")) for name in OPTIONS}
    named = [name for name, value in given.items() if value is not None]
    if named and not options.distributed:
        raise InputError(f"`{named[0]}` goes with --distributed; give it too, or leave it out.")
    if not named:
        return None, None, None
    missing = [name for name in OPTIONS if given[name] is None]
    if missing:
        raise InputError(
            f"`{missing[0]}` is missing: give {', '.join(OPTIONS)}, or none of them where JAX "
            "finds the processes by itself (TPU VMs, Slurm)."
        )
    count = _whole(given, "--num-processes", 1, None)
    index = _whole(given, "--process-id", 0, count - 1)
    host, _, port = options.coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise InputError(f"`--coordinator` must be HOST:PORT; got {options.coordinator}.")
    return options.coordinator, count, index


def _whole(given: dict[str, str | None], name: str, least: int, most: int | None) -> int:
    text = given[name] or ""
    allowed = f"at least {least}" if most is None else f"in [{least}, {most}]"
    if not text.isdigit() or int(text) < least or (most is not None and int(text) > most):
        raise InputError(f"`{name}` must be a whole number {allowed}; got {text}.")
    return int(text)


def run(options: argparse.Namespace, command: Callable[[Callable[[str], None]], int]) -> int:
    """Run a command in this process, one of several; none outlives another's failure.

    Args:
      options: checked.
      command: given what receives warnings, returns the exit code.

    Returns:
      The exit code.

    Raises:
      InputError: if the other processes cannot be found.
    """
    from gpool_jax.train import processes

    watchdog = processes.join(*check(options))
    try:
        code = command(_warn if processes.is_first() else _silent)
        processes.part()
        watchdog.close()
        return code
    except (InputError, RunError) as error:
        watchdog.leave(2, str(error))
    except KeyboardInterrupt:
        watchdog.leave(130, "interrupted.")
    except Exception as error:
        if type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError"):
            # Most likely of a process that was waited for in vain.
            watchdog.wait_for_verdict()
        traceback.print_exc()
        watchdog.leave(1, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")


def _warn(message: str) -> None:
    print(f"gpool: {message}", file=sys.stderr)


def _silent(_message: str) -> None:
    """Process 0 says it."""
