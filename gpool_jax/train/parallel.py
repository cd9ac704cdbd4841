"""The mapping over devices: the only file that says `pmap` or `shard_map`.

Both mappings, `pmap` and `jit(shard_map(...))`, give the same results. Where several
processes train together, each holds the same state and data on its own devices, and its
own share of every batch. Only a mapped train step joins them; `map_batch`, and all that
is measured with it, stays within one process.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gpool_jax.errors import InputError
from gpool_jax.train import processes
from gpool_jax.train.compiler import Program, compiler_options

AXIS = "data"
MAPPINGS = ("pmap", "shard_map")

# What one device runs, a pure function of trees of arrays, `(variables, data, inputs) ->
# outputs`: `variables` (a network's, or a `TrainState`) and `data` are the same on every
# device, `inputs` are this device's share. `map_train_step` takes `(state, data, inputs) ->
# (state, metrics)`, with both outputs the same on every device, and `map_batch` takes programs
# whose outputs are, like the inputs, this device's share.
DeviceProgram = Callable[[Any, Any, Any], Any]

_mapping: contextvars.ContextVar[str] = contextvars.ContextVar("mapping", default="pmap")


@contextlib.contextmanager
def use(mapping: str) -> Iterator[None]:
    """Map programs by "pmap" or "shard_map" within this context; else an `InputError`."""
    if mapping not in MAPPINGS:
        raise InputError(f"`train.parallel` must be one of {', '.join(MAPPINGS)}; got {mapping!r}.")
    token = _mapping.set(mapping)
    try:
        yield
    finally:
        _mapping.reset(token)


def mapping() -> str:
    """Return the mapping in use: one of `MAPPINGS`."""
    return _mapping.get()


def check_batch(batch_size: int) -> None:
    """Raise unless all devices of all processes get equally many examples."""
    devices, local, count = jax.device_count(), jax.local_device_count(), jax.process_count()
    if devices != local * count:
        raise InputError(
            f"every process must have as many devices as the others: this one has {local}, and "
            f"the {count} together {devices}."
        )
    if batch_size % devices:
        below = batch_size // devices * devices
        nearest = f"{below} and {below + devices}" if below else str(devices)
        among = f" of {count} processes" if count > 1 else ""
        raise InputError(
            f"`train.batch_size` must be a multiple of the {devices} devices{among}; got "
            f"{batch_size} (the nearest are {nearest})."
        )


def _mesh(devices: list[jax.Device]) -> Mesh:
    # A process's devices are adjacent, as its examples are in a batch.
    ordered = sorted(devices, key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(ordered), (AXIS,))


def replicate(tree: Any) -> Any:
    """Put one copy on every device of this process, so that mapped functions copy nothing."""
    return jax.device_put(tree, NamedSharding(_mesh(jax.local_devices()), PartitionSpec()))


def local(tree: Any) -> Any:
    """View a mapped train step's state as arrays on this process's devices only, uncopied."""
    if all(leaf.is_fully_addressable for leaf in jax.tree.leaves(tree)):
        return tree
    return _replace_sharding(tree, _mesh(jax.local_devices()))


def _replace_sharding(tree: Any, mesh: Mesh) -> Any:
    """View replicated arrays as replicated over another mesh, uncopied."""
    sharding = NamedSharding(mesh, PartitionSpec())

    def replace(leaf: Any) -> jax.Array:
        copies = [shard.data for shard in leaf.addressable_shards]
        return jax.make_array_from_single_device_arrays(leaf.shape, sharding, copies)

    return jax.tree.map(replace, tree)


def shard(tree: Any, axis: int = 0) -> Any:
    """Cut `axis` of every leaf into [devices of this process, share]."""
    devices = jax.local_device_count()

    def cut(leaf: Any) -> Any:
        shape = leaf.shape
        return leaf.reshape(*shape[:axis], devices, shape[axis] // devices, *shape[axis + 1 :])

    return jax.tree.map(cut, tree)


def unshard(tree: Any) -> Any:
    """Invert `shard` at axis 0, into NumPy arrays on the host."""
    return jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[2:]), tree)


def gather(tree: Any) -> Any:
    """Concatenate all processes' shares of a batch, [B, ...] each, in order, on every host."""
    if jax.process_count() == 1:
        return tree
    processes.meet()
    return multihost_utils.process_allgather(tree, tiled=True)


def broadcast(tree: Any) -> Any:
    """Return process 0's arrays on every host; the others give arrays of the same shapes."""
    processes.meet()
    return multihost_utils.broadcast_one_to_all(tree)


def largest(number: int) -> Any:
    """Return the largest of all processes' numbers, as a scalar that is not waited for."""
    if jax.process_count() == 1:
        return number
    sharding = NamedSharding(_mesh(jax.devices()), PartitionSpec(AXIS))
    own = np.full(jax.local_device_count(), number, np.int32)
    numbers = jax.make_array_from_process_local_data(sharding, own)
    return _largest(NamedSharding(sharding.mesh, PartitionSpec()))(numbers)


@functools.cache
def _largest(sharding: NamedSharding) -> Callable:
    return jax.jit(jax.numpy.max, out_shardings=sharding)


def map_train_step(step: DeviceProgram) -> Program:
    """Map a step of `make_train_step` over the devices of all processes, many per dispatch.

    Returns:
      `(state, data, inputs) -> (state, metrics)`: `state` is donated, `inputs` are this
      process's, [K, devices, share, ...], and every metric has a leading K. K = 1 makes
      no loop: XLA's CPU convolutions are tens of times slower inside one.
    """

    def steps(state: Any, data: Any, inputs: Any) -> Any:
        if jax.tree.leaves(inputs)[0].shape[0] == 1:
            state, metrics = step(state, data, jax.tree.map(lambda x: x[0], inputs))
            return state, jax.tree.map(lambda x: x[None], metrics)
        return lax.scan(lambda carry, x: step(carry, data, x), state, inputs)

    if _mapping.get() == "shard_map":
        return _shard_mapped(steps, jax.devices(), input_axis=1)
    return _pmapped(steps, in_axes=(None, None, 1), out_axes=(None, None), donate_argnums=0)


def map_batch(fn: DeviceProgram) -> Program:
    """Map a program over this process's devices; inputs, outputs: [devices, share, ...]."""
    devices = jax.local_devices()
    if _mapping.get() == "shard_map":
        return _shard_mapped(fn, devices, input_axis=0)
    # In one of several processes, the default is the devices of all of them.
    among = devices if jax.process_count() > 1 else None
    return _pmapped(fn, in_axes=(None, None, 0), devices=among)


def _pmapped(fn: DeviceProgram, **options: Any) -> Program:
    # `pmap` takes no compiler options, so we compile its programs; not in one of several
    # processes, where `pmap` itself must join what each of them has.
    mapped = jax.pmap(fn, axis_name=AXIS, **options)
    if jax.process_count() == 1:
        return Program(mapped, compiler_options())
    return Program(mapped, {}, compiled=None if "devices" in options else processes.meet)


def _shard_mapped(fn: DeviceProgram, devices: list[jax.Device], input_axis: int) -> Program:
    """Map a device program by `jit(shard_map(...))`.

    `input_axis` is the inputs' axis of devices. 0: outputs have one, too; 1: a train step,
    whose outputs are replicated and whose state is donated.
    """
    mesh, is_step = _mesh(devices), input_axis == 1
    cut = PartitionSpec(*[None] * input_axis, AXIS)
    sharding = NamedSharding(mesh, cut)

    def on_device(variables: Any, data: Any, inputs: Any) -> Any:
        # Without the device axis, as under `pmap`.
        inputs = jax.tree.map(lambda x: x.squeeze(input_axis), inputs)
        outputs = fn(variables, data, inputs)
        return outputs if is_step else jax.tree.map(lambda x: x[None], outputs)

    def place(variables: Any, data: Any, inputs: Any) -> tuple[Any, Any, Any]:
        """Turn the arguments into arrays over the mesh; those already there are not copied."""
        if not mesh.is_multi_process:
            return variables, data, jax.device_put(inputs, sharding)
        put = functools.partial(jax.make_array_from_process_local_data, sharding)
        return _span(variables, mesh), _span(data, mesh), jax.tree.map(put, inputs)

    mapped = jax.shard_map(
        on_device,
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec(), cut),
        out_specs=PartitionSpec() if is_step else cut,
        # Its check would multiply gradients by the number of devices.
        check_vma=False,
    )
    donated, options = (0,) if is_step else (), compiler_options() or None
    program = jax.jit(mapped, donate_argnums=donated, compiler_options=options)
    return Program(program, {}, place, processes.meet if mesh.is_multi_process else None)


def _span(tree: Any, mesh: Mesh) -> Any:
    if any(leaf.is_fully_addressable for leaf in jax.tree.leaves(tree)):
        return _replace_sharding(tree, mesh)
    return tree
