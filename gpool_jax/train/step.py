"""One optimiser step as a pure function of one device's share of the batch."""

from collections.abc import Callable
from typing import Any

import jax
import optax
from jax import lax

from gpool_jax.train.optimizer import move_average
from gpool_jax.train.parallel import DeviceProgram
from gpool_jax.train.state import Averaging, TrainState

LossFn = Callable[[Any, Any, Any, jax.Array], tuple[jax.Array, dict[str, Any]]]


def make_train_step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    fetch: Callable[[Any, Any], Any],
    axis_name: str,
    *,
    ema_decay: float | None = None,
) -> DeviceProgram:
    """Build the step that runs, unchanged, under any mapping with a named axis.

    Args:
      loss_fn: `(params, batch_stats, batch, key) -> (loss, aux)`; `loss` is the mean over
        the device's examples; `aux` holds `batch_stats` and `metrics`, a dict of
        name to (sum, count); `batch` is what `fetch` returns, and `step`; `key` is the
        same on every device.
      optimizer: an optax transformation.
      fetch: `(data, inputs) -> batch`: gets the device's examples.
      axis_name: name of the mapped axis; every device holds equally many examples.
      ema_decay: decay of the averages in the state; None: it has none.

    Returns:
      `(state, data, inputs) -> (state, metrics)`; the metrics are (sum, count) pairs,
      summed over devices, and the norms of gradient, parameters and update.
    """

    def step(state: TrainState, data: Any, inputs: Any) -> tuple[TrainState, dict[str, Any]]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        batch = fetch(data, inputs) | {"step": state.step}
        # The gradient of the *local* loss, averaged afterwards: a mean over
        # devices inside the loss would be differentiated wrongly.
        local, aux = jax.grad(loss_fn, has_aux=True)(state.params, state.batch_stats, batch, key)
        grads = lax.pmean(local, axis_name)
        before = state.opt_state if ema_decay is None else state.opt_state.optimizer
        updates, opt_state = optimizer.update(grads, before, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = lax.psum(aux["metrics"], axis_name) | {
            "gradient_norm": optax.tree.norm(grads),
            "parameter_norm": optax.tree.norm(params),
            "update_norm": optax.tree.norm(updates),
        }
        batch_stats = lax.pmean(aux["batch_stats"], axis_name)
        if ema_decay is not None:
            variables = {"params": params, "batch_stats": batch_stats}
            average = move_average(state.opt_state.average, variables, ema_decay)
            opt_state = Averaging(opt_state, average)
        state = state.replace(
            step=state.step + 1, params=params, batch_stats=batch_stats, opt_state=opt_state
        )
        return state, metrics

    return step
