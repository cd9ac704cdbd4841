"""Several processes that train together: who writes, what all must agree on.

Only process 0 writes, prints and measures; the others find each other through it.
With one process, all of this does nothing.
"""

import errno
import ipaddress
import itertools
import json
import socket
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from gpool_jax.errors import InputError, listed
from gpool_jax.train import watchdog
from gpool_jax.train.watchdog import Watchdog

# Long enough for machines that do not start at the same moment.
JOIN_SECONDS = 45
_turns = itertools.count()
# The service wants an end for every wait. A process that died ends it sooner.
_A_MONTH = 30 * 24 * 3600 * 1000


def join(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> Watchdog:
    """Find the other processes, before JAX looks at its devices; `close` the result at the end.

    Without arguments, JAX finds them itself (TPU VMs, Slurm, MPI, Kubernetes). With them,
    process 0 of [0, num_processes) is found at the coordinator, "HOST:PORT". If HOST is an
    IP address of its machine, it listens there alone, otherwise on every network.

    Raises:
      InputError: if there is no cluster to be found, or the port is taken. If the others
        do not come within `JOIN_SECONDS`, JAX aborts, and the watchdog says why; so does
        the watchdog where the processes count themselves differently.
    """
    # Its handler of SIGTERM would replace ours.
    if hasattr(jax.config, "jax_enable_preemption_service"):
        jax.config.update("jax_enable_preemption_service", False)
    bind = _bind_address(coordinator) if coordinator is not None and process_id == 0 else None
    where = f" at {coordinator}" if coordinator else ""
    who = "process 0" if process_id else "the other processes"
    watch = Watchdog(
        f"`--distributed`: {who} could not be met{where} within {JOIN_SECONDS} s; is every "
        "process started, with the same --coordinator and --num-processes?"
    )
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            initialization_timeout=JOIN_SECONDS,
            heartbeat_timeout_seconds=watchdog.PATIENCE,
            coordinator_bind_address=bind,
        )
    except Exception as error:  # JAX and its service raise many kinds
        watch.close()
        reason = " ".join(str(error).split())
        if "should be defined" in reason or "must be defined" in reason:
            raise InputError(
                "`--distributed`: no cluster was found (TPU VM, Slurm, MPI, Kubernetes); give "
                "--coordinator HOST:PORT, --num-processes N and --process-id I."
            ) from None
        reason = reason[:200] or type(error).__name__
        raise InputError(f"`--distributed`: the processes cannot meet: {reason}") from None
    # Not from `jax.process_count`, which waits for as many processes as this one expects.
    index, count = _state().process_id, _state().num_processes
    watch.start(_client(), index, count)
    if index == 0:
        _client().key_value_set("gpool/count", str(count))
    first = int(_client().blocking_key_value_get("gpool/count", JOIN_SECONDS * 1000))
    if count != first:
        watch.leave(
            2,
            f"`--num-processes` must be the same in all processes; got {count} in process "
            f"{index} and {first} in process 0.",
        )
    return watch


def _bind_address(coordinator: str) -> str | None:
    """Where process 0 listens, as HOST:PORT; None: on every network of its machine."""
    name, _, port = coordinator.rpartition(":")
    host = name.strip("[]")
    try:
        family = (socket.AF_INET, socket.AF_INET6)[ipaddress.ip_address(host).version == 6]
    except ValueError:  # a name, which may mean another address here than elsewhere
        host, family = "", socket.AF_INET
    try:  # JAX would die of a taken port without a word
        socket.create_server((host, int(port)), family=family).close()
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            return None  # one that is translated on the way here
        raise InputError(
            f"`--coordinator`: port {port} of this machine cannot be used: {error.strerror}."
        ) from None
    return coordinator if host else None


def part() -> None:
    """Leave the others once all have come here; process 0 may have measured for hours."""
    from_first(lambda: None)
    jax.distributed.shutdown()


def _state() -> Any:
    # Public JAX only has collectives of arrays, which hang when a process is missing.
    from jax._src import distributed

    return distributed.global_state


def _client() -> Any:
    return _state().client


def is_first() -> bool:
    """Tell whether this process writes and prints; true if it is the only one."""
    return jax.process_index() == 0


def own_share(rows: np.ndarray) -> np.ndarray:
    """This process's share of a global batch [B, ...]; B must be a multiple of the processes."""
    share = len(rows) // jax.process_count()
    return rows[jax.process_index() * share :][:share]


def from_first(fn: Callable[..., Any], *args: Any) -> Any:
    """Return in every process what `fn(*args)` returns in process 0: plain JSON.

    The others wait for it, however long it takes. All processes must make these
    calls in the same order.
    """
    if jax.process_count() == 1:
        return fn(*args)
    folder = f"gpool/turn/{next(_turns)}/"
    if is_first():
        value = fn(*args)
        _client().key_value_set(f"{folder}value", json.dumps(value))
        return value
    # Polled, since a blocking call could not be interrupted.
    while not (found := _client().key_value_dir_get(folder)):
        time.sleep(0.1)
    return json.loads(found[0][1])


def meet() -> None:
    """Wait until all processes have come here, however long it takes.

    A collective of arrays gives up after 30 seconds: processes meet before it where one may
    have had more to do, such as a compilation that the others read from their caches.
    """
    if jax.process_count() > 1:
        _client().wait_at_barrier(f"gpool/meeting/{next(_turns)}", _A_MONTH)


def on_first_process(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call `fn` in process 0 while the others wait; they return None."""
    found = []
    from_first(lambda: found.append(fn(*args, **kwargs)))
    return found[0] if found else None


def check_same(what: str, value: Any, differences: Callable[[Any, Any], list[str]]) -> None:
    """Raise an `InputError` in a process whose value, plain JSON, differs from that of process 0.

    `differences` puts them in words, from `(first's value, own value)`. Returns once all
    processes have found their values the same.
    """
    # Through JSON on every process: tuples come back as lists.
    found = differences(from_first(lambda: value), json.loads(json.dumps(value)))
    if found:
        raise InputError(
            f"`{what}`: process {jax.process_index()} has another than process 0 "
            f"({listed(found)}); all must be started alike."
        )
    meet()
