"""The mapping over devices: the only file that says `pmap`."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gpool_jax.errors import InputError

AXIS = "data"


def check_batch(batch_size: int) -> None:
    """Raise unless every device gets as many examples."""
    devices = jax.local_device_count()
    if batch_size % devices:
        below = batch_size // devices * devices
        nearest = f"{below} and {below + devices}" if below else str(devices)
        raise InputError(
            f"`train.batch_size` must be a multiple of the {devices} devices; got {batch_size} "
            f"(the nearest are {nearest})."
        )


def replicate(tree: Any) -> Any:
    """Put one copy on every device, as the mapped functions expect it: no copy per call."""
    mesh = Mesh(np.array(jax.local_devices()), (AXIS,))
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def shard(tree: Any, axis: int = 0) -> Any:
    """Cut `axis` of every leaf into [devices, share]."""
    devices = jax.local_device_count()

    def cut(leaf: Any) -> Any:
        shape = leaf.shape
        return leaf.reshape(*shape[:axis], devices, shape[axis] // devices, *shape[axis + 1 :])

    return jax.tree.map(cut, tree)


def unshard(tree: Any) -> Any:
    """The inverse of `shard` at axis 0, as NumPy arrays on the host."""
    return jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[2:]), tree)


def map_train_step(step: Callable) -> Callable:
    """Map a train step over devices, as many steps per dispatch as the inputs hold.

    Args:
      step: from `make_train_step`, with axis name `AXIS`.

    Returns:
      `(state, data, inputs) -> (state, metrics)`: `state` replicated and donated,
      `data` replicated and kept, `inputs` [K, devices, share, ...]; every metric
      comes back with a leading K. K = 1 makes no loop: XLA's CPU convolutions
      are about ten times slower inside one.
    """

    def steps(state: Any, data: Any, inputs: Any) -> Any:
        if jax.tree.leaves(inputs)[0].shape[0] == 1:
            state, metrics = step(state, data, jax.tree.map(lambda x: x[0], inputs))
            return state, jax.tree.map(lambda x: x[None], metrics)
        return lax.scan(lambda carry, x: step(carry, data, x), state, inputs)

    return jax.pmap(
        steps, axis_name=AXIS, in_axes=(None, None, 1), out_axes=(None, None), donate_argnums=0
    )


def map_batch(fn: Callable) -> Callable:
    """Map `(variables, data, inputs) -> outputs` over devices.

    `variables` and `data` are replicated, `inputs` and `outputs` are
    [devices, share, ...].
    """
    return jax.pmap(fn, axis_name=AXIS, in_axes=(None, None, 0))
