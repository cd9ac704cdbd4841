"""Device programs made once: runs that differ in their seed alone share what is compiled."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax

from gpool_jax.train import parallel

R = TypeVar("R")
# Programs kept of each kind: more than the arms of one comparison.
_KEPT = 16
_caches: list[Any] = []


def shared(make: Callable[..., R]) -> Callable[..., R]:
    """Make a mapped program once for equal arguments, which must be hashable.

    The decorated function maps a program over the devices (`parallel.map_batch`,
    `parallel.map_train_step`); the mapping and the devices count as arguments.
    """

    @functools.lru_cache(maxsize=_KEPT)
    def cached(_place: tuple, *args: Any) -> R:
        return make(*args)

    @functools.wraps(make)
    def call(*args: Any) -> R:
        return cached((parallel.mapping(), *jax.devices()), *args)

    _caches.append(cached)
    return call


def forget() -> None:
    """Let go of all programs and their memory."""
    for cache in _caches:
        cache.cache_clear()
