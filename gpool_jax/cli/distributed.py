"""`--distributed`: several processes run one command together."""

from collections.abc import Callable

from gpool_jax.cli import failures
from gpool_jax.cli.options import Train
from gpool_jax.cli.session import find_devices, warner
from gpool_jax.errors import InputError


def check(options: Train) -> None:
    """Check how the processes find each other, or raise an `InputError`."""
    coordinator, count, index = options.coordinator, options.num_processes, options.process_id
    where = {"--coordinator": coordinator, "--num-processes": count, "--process-id": index}
    given = [name for name, value in where.items() if value is not None]
    if given and not options.distributed:
        raise InputError(f"`{given[0]}` goes with --distributed; give it too, or leave it out.")
    if not given:
        return
    if coordinator is None or count is None or index is None:
        missing = next(name for name in where if name not in given)
        raise InputError(
            f"`{missing}` is missing: give {', '.join(where)}, or none of them where JAX "
            "finds the processes by itself (TPU VMs, Slurm)."
        )
    if count < 1:
        raise InputError(f"`--num-processes` must be a whole number at least 1; got {count}.")
    if not 0 <= index < count:
        allowed = f"[0, {count - 1}]"
        raise InputError(f"`--process-id` must be a whole number in {allowed}; got {index}.")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not port.isascii() or not 0 < int(port) < 2**16:
        raise InputError(f"`--coordinator` must be HOST:PORT; got {coordinator}.")


def run(options: Train, command: Callable[[Callable[[str], None]], int]) -> int:
    """Run a command in this process, one of several; none outlives another's failure.

    The command is given a function that receives warnings, and returns the exit code. An
    `InputError` is raised if the other processes cannot be found.
    """
    from gpool_jax.train import processes, signals

    watchdog = processes.join(options.coordinator, options.num_processes, options.process_id)
    signals.obey(watchdog.leave)
    try:
        find_devices()
        code = command(warner(options, speaks=processes.is_first()))
        processes.part()
        watchdog.close()
        return code
    except Exception as error:
        if type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError"):
            # Most likely of a process that was waited for in vain.
            watchdog.wait_for_verdict()
        # Processes may share the folder.
        name = f"traceback_{options.process_id or 0}.txt"
        watchdog.leave(*failures.explain(error, options.workdir or "", name))
