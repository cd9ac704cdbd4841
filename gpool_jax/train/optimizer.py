"""The optimiser a config asks for, and the moving average of what it moves."""

from typing import Any

import jax
import optax

from gpool_jax.config import TrainConfig
from gpool_jax.train.state import TrainState


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
    return optimizer


def _kernels(params: Any) -> Any:
    return jax.tree.map(lambda p: p.ndim > 1, params)


def _backbone(params: Any) -> Any:
    """Mark the encoder's parameters, which are under `backbone`."""
    return {
        name: jax.tree.map(lambda _, inside=name == "backbone": inside, part)
        for name, part in params.items()
    }


def move_average(average: Any, variables: Any, decay: float) -> Any:
    """Move the averages of the variables on by a step.

    average = decay * average + (1 - decay) * variables, starting from zero (Polyak and Juditsky,
    1992); `evaluated_variables` corrects for the start, as Adam does. Batch statistics are
    averaged too: those of the last steps are not of the averaged parameters.
    """
    return optax.incremental_update(variables, average, 1.0 - decay)


def evaluated_variables(state: TrainState, decay: float | None) -> dict[str, Any]:
    """Return the variables to evaluate: averages of this decay, if the state has them."""
    if decay is None or int(state.step) == 0:
        return state.variables
    return jax.tree.map(lambda a: a / (1.0 - decay ** int(state.step)), state.opt_state.average)
