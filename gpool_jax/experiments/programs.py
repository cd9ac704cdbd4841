"""Device programs made once: runs that differ in their seed alone share what is compiled."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from gpool_jax.train import parallel


def shared(map_program: Callable, make: Callable, *args: Any) -> parallel.Program:
    """Return `map_program(make(*args))`, made once for equal arguments, which must be hashable.

    The mapping (`parallel.map_batch`, `parallel.map_train_step`) and the devices count as
    arguments.
    """
    return _make((parallel.mapping(), *jax.devices()), map_program, make, *args)


# More programs than all arms of one comparison need.
@functools.lru_cache(maxsize=64)
def _make(_place: tuple, map_program: Callable, make: Callable, *args: Any) -> parallel.Program:
    return map_program(make(*args))


def forget() -> None:
    """Let go of all programs and their memory."""
    _make.cache_clear()
