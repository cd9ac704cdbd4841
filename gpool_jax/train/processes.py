"""Several processes that train together: who writes, what all must agree on.

Process 0 alone writes, prints and measures; it is also the one that the others
find each other through. All of it does nothing where there is one process.
"""

import itertools
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from gpool_jax.errors import InputError
from gpool_jax.train.watchdog import Watchdog

# Long enough for machines that do not start at the same moment.
JOIN_SECONDS = 45
_turns = itertools.count()


def join(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> Watchdog:
    """Find the other processes, before JAX looks at its devices.

    Args:
      coordinator: "HOST:PORT" on which process 0 is found.
      num_processes: of them all.
      process_id: of this one, in [0, num_processes).
        All None: as JAX finds them (TPU VMs, Slurm, MPI, Kubernetes).

    Returns:
      What watches over the others; `close` it at the end.

    Raises:
      InputError: if they cannot be found in `JOIN_SECONDS`.
    """
    # Its notice of SIGTERM would take the place of ours.
    if hasattr(jax.config, "jax_enable_preemption_service"):
        jax.config.update("jax_enable_preemption_service", False)
    if coordinator is not None and process_id == 0:
        _check_port(coordinator)
    # JAX ends a process that waited in vain with twenty lines and an abort: be before it.
    late = threading.Timer(JOIN_SECONDS, _give_up, [coordinator, process_id])
    late.daemon = True
    late.start()
    try:
        jax.distributed.initialize(
            coordinator, num_processes, process_id, initialization_timeout=2 * JOIN_SECONDS
        )
    except Exception as error:  # JAX and its service raise many kinds
        raise InputError(_why(error)) from None
    finally:
        late.cancel()
    watchdog = Watchdog(_client(), jax.process_index(), jax.process_count(), _coordinator())
    watchdog.start()
    return watchdog


def part() -> None:
    """Leave the others, once all have come here: process 0 may have measured for hours."""
    from_first(lambda: None)
    jax.distributed.shutdown()


def _check_port(coordinator: str) -> None:
    """Raise if the port is taken: JAX would die of it without a word."""
    port = int(coordinator.rpartition(":")[2])
    try:
        socket.create_server(("", port)).close()
    except OSError as error:
        raise InputError(
            f"`--coordinator`: port {port} of this machine cannot be used: {error.strerror}."
        ) from None


def _give_up(coordinator: str | None, process_id: int | None) -> None:
    where = f" at {coordinator}" if coordinator else ""
    who = "process 0" if process_id else "the other processes"
    line = (
        f"gpool: `--distributed`: {who} could not be met{where} within {JOIN_SECONDS} s; is every "
        "process started, with the same --coordinator and --num-processes?"
    )
    print(line, file=sys.stderr, flush=True)
    os._exit(2)


def _why(error: Exception) -> str:
    if "should be defined" in str(error) or "must be defined" in str(error):
        return (
            "`--distributed`: no cluster was found (TPU VM, Slurm, MPI, Kubernetes); give "
            "--coordinator HOST:PORT, --num-processes N and --process-id I."
        )
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return f"`--distributed`: the processes cannot meet: {reason}"


def _client() -> Any:
    # Public JAX has collectives of arrays, which hang with the process that they miss.
    from jax._src import distributed

    return distributed.global_state.client


def _coordinator() -> str:
    from jax._src import distributed

    return distributed.global_state.coordinator_address or ""


def is_first() -> bool:
    """Whether this process writes and prints; the only one always does."""
    return jax.process_index() == 0


def own_share(rows: np.ndarray) -> np.ndarray:
    """This process's part of a global batch [B, ...]; B is a multiple of the processes."""
    share = len(rows) // jax.process_count()
    return rows[jax.process_index() * share :][:share]


def from_first(fn: Callable[..., Any], *args: Any) -> Any:
    """What `fn(*args)` returns in process 0, in every process.

    The others wait for it, however long it takes. All processes must come here
    in the same order.

    Args:
      fn: called in process 0 only; returns plain JSON.
      *args: of `fn`.
    """
    if jax.process_count() == 1:
        return fn(*args)
    folder = f"gpool/turn/{next(_turns)}/"
    if is_first():
        value = fn(*args)
        _client().key_value_set(f"{folder}value", json.dumps(value))
        return value
    pause = 0.05
    # Asked again and again: a waiting call would end in an error after some minutes.
    while not (found := _client().key_value_dir_get(folder)):
        time.sleep(pause)
        pause = min(1.5 * pause, 1.0)
    return json.loads(found[0][1])


def alone(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call `fn` in process 0, while the others wait; they return None."""
    found = []

    def call() -> None:
        found.append(fn(*args, **kwargs))

    from_first(call)
    return found[0] if found else None


def check_same(what: str, value: Any, differences: Callable[[Any, Any], list[str]]) -> None:
    """Raise unless every process has the value of process 0.

    Args:
      what: name of the value, for the message.
      value: plain JSON.
      differences: `(first's, own) -> what differs`.

    Raises:
      InputError: in the process whose value differs.
    """
    # Through JSON on every process: tuples come back as lists.
    found = differences(from_first(lambda: value), json.loads(json.dumps(value)))
    if found:
        raise InputError(
            f"`{what}`: process {jax.process_index()} has another than process 0 "
            f"({'; '.join(found)}); all must be started alike."
        )
