"""The optimiser a config asks for: an optax chain, perhaps with averaged parameters."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gpool_jax.config import TrainConfig
from gpool_jax.train.state import TrainState


class AverageState(NamedTuple):
    """Exponential moving average of the parameters, kept with the optimiser's state."""

    average: Any


def make_schedule(config: TrainConfig) -> float | optax.Schedule:
    """Return the learning rate: a number, or a function of the step.

    "cosine" and "poly" (power 0.9) fall to 0 at the last step; before any of them the
    rate rises linearly for `warmup_steps`.
    """
    after = max(1, config.steps - config.warmup_steps)
    if config.schedule == "cosine":
        schedule = optax.cosine_decay_schedule(config.learning_rate, after)
    elif config.schedule == "poly":
        schedule = optax.polynomial_schedule(config.learning_rate, 0.0, 0.9, after)
    elif config.warmup_steps == 0:
        return config.learning_rate
    else:
        schedule = optax.constant_schedule(config.learning_rate)
    warmup = optax.linear_schedule(0.0, config.learning_rate, config.warmup_steps)
    return optax.join_schedules([warmup, schedule], [config.warmup_steps])


def make_optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """Build Adam (as in the reference code), AdamW or SGD with momentum.

    Weight decay acts on kernels only; it is added to the gradient under "adam" and
    "sgd" (as in PyTorch) and decoupled from it under "adamw" (Loshchilov and Hutter, 2019).
    """
    rate = make_schedule(config)
    if config.optimizer == "adamw":
        optimizer = optax.adamw(
            rate, b1=config.b1, b2=config.b2, weight_decay=config.weight_decay, mask=_kernels
        )
    elif config.optimizer == "sgd":
        optimizer = optax.sgd(rate, momentum=config.momentum)
    else:
        optimizer = optax.adam(rate, b1=config.b1, b2=config.b2)
    if config.weight_decay > 0 and config.optimizer != "adamw":
        decay = optax.add_decayed_weights(config.weight_decay, mask=_kernels)
        optimizer = optax.chain(decay, optimizer)
    if config.backbone_rate != 1.0:
        # Scales the update, not the gradient: Adam would divide a factor out again.
        share = optax.masked(optax.scale(config.backbone_rate), _backbone)
        optimizer = optax.chain(optimizer, share)
    if config.ema_decay is not None:
        optimizer = optax.chain(optimizer, track_average(config.ema_decay))
    return optimizer


def _kernels(params: Any) -> Any:
    return jax.tree.map(lambda p: p.ndim > 1, params)


def _backbone(params: Any) -> Any:
    """Mark the encoder's parameters, which are under `backbone`."""
    return {
        name: jax.tree.map(lambda _, inside=name == "backbone": inside, part)
        for name, part in params.items()
    }


def track_average(decay: float) -> optax.GradientTransformation:
    """Average the parameters over steps, leaving the updates alone; the last of a chain.

    average = decay * average + (1 - decay) * parameters, starting from the initial
    parameters (Polyak and Juditsky, 1992).
    """

    def init(params: Any) -> AverageState:
        # Copies, since the step donates its state and a buffer cannot be donated twice.
        return AverageState(jax.tree.map(jnp.copy, params))

    def update(updates: Any, state: AverageState, params: Any = None):
        moved = optax.apply_updates(params, updates)
        average = optax.incremental_update(moved, state.average, 1.0 - decay)
        return updates, AverageState(average)

    return optax.GradientTransformation(init, update)


def evaluated_variables(state: TrainState) -> dict[str, Any]:
    """Return the variables to evaluate: with averaged parameters if the state has them."""
    average = optax.tree.get(state.opt_state, "average", None)
    if average is None:
        return state.variables
    return state.variables | {"params": average}
