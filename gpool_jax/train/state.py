"""The state that training carries from step to step."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct


class Averaging(NamedTuple):
    """The optimiser's state, and moving averages of the variables over the steps, from zero."""

    optimizer: Any
    average: Any


class TrainState(struct.PyTreeNode):
    """Everything that a checkpoint holds.

    Attributes:
      step: int32 scalar, the steps done.
      key: the run's PRNG key data (uint32); never advanced, each step folds in `step`.
      opt_state: the optimiser's, within `Averaging` where the config asks for averages.
    """

    step: jax.Array
    key: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any

    @property
    def variables(self) -> dict[str, Any]:
        """Return the variables that `model.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


@functools.partial(jax.jit, static_argnums=0)
def _init(model: Any, key: jax.Array, x: jax.Array) -> Any:
    # Equal models share one program.
    return model.init(key, x)


def create_state(
    key: jax.Array,
    model: Any,
    optimizer: optax.GradientTransformation,
    input_shape: tuple,
    *,
    averages: bool = False,
) -> TrainState:
    """Initialise a Linen module, for input [B, H, W, C], its optimiser and, perhaps, averages.

    Initialisation and every step derive their PRNG keys from `key`.
    """
    init_key, run_key = jax.random.split(key)
    variables = _init(model, init_key, jnp.zeros(input_shape, jnp.float32))
    params = variables["params"]
    state = TrainState(
        step=jnp.int32(0),
        key=jax.random.key_data(run_key),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(params),
    )
    if not averages:
        return state
    average = jax.tree.map(jnp.zeros_like, state.variables)
    return state.replace(opt_state=Averaging(state.opt_state, average))
