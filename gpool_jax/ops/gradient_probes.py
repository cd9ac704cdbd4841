"""Probes that are fitted by gradients: multinomial logistic regression and a small MLP."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from gpool_jax.ops.scaling import channel_scale

_LBFGS_STEPS = 40
_LINE_SEARCH_STEPS = 6
_MLP_HIDDEN = 64
_MLP_STEPS = 150


class Rows(NamedTuple):
    """Rows (x - mean) * scale that need not be written out.

    Probes of several folds standardise the same inputs by statistics of their own, and none of
    them keeps a copy.

    Attributes:
      x: [N, D], near zero on average: means are taken off after the product.
      mean: [D].
      scale: [D].
    """

    x: jax.Array
    mean: jax.Array
    scale: jax.Array

    def written_out(self) -> jax.Array:
        """The rows themselves, [N, D]."""
        return (self.x - self.mean[None]) * self.scale[None]

    def times(self, kernel: jax.Array) -> jax.Array:
        """Multiply the rows by a kernel [D, K]: [N, K]."""
        scaled = self.scale[:, None] * kernel
        return self.x @ scaled - (self.mean @ scaled)[None]


def _penalised(
    predict: Callable, rows: Rows, targets: jax.Array, weight: jax.Array, strength: jax.Array
) -> Callable:
    """Mean cross-entropy over the weighted rows, plus the L2 penalty on the matrices."""

    def objective(params: dict[str, jax.Array]) -> jax.Array:
        losses = optax.softmax_cross_entropy_with_integer_labels(predict(params, rows), targets)
        penalty = sum((p**2).sum() for p in params.values() if p.shape[0] > 1)
        return (losses * weight).sum() / weight.sum() + 0.5 * strength * penalty

    return objective


def fit_logistic(
    inputs: jax.Array, targets: jax.Array, *, num_classes: int, strength: float = 1e-2
) -> tuple[jax.Array, jax.Array]:
    """Fit a multinomial logistic regression to all rows: kernel float32 [C, K] and bias [K].

    They are for the inputs as they are; `strength` penalises the weights of standardised inputs,
    relative to the mean loss. `inputs` are [N, C], `targets` int [N] in [0, K).
    """
    inputs = inputs.astype(jnp.float32)
    mean, scale = channel_scale(inputs)
    rows = Rows(inputs - mean[None], jnp.zeros_like(mean), scale)
    params = _fit_logistic(rows, targets, jnp.ones(len(inputs)), strength, num_classes)
    # Undo the standardisation: the kernel takes on the scale of the inputs.
    kernel = params["kernel"] * scale[:, None]
    return kernel, params["bias"][0] - mean @ kernel


def _predict_linear(params: dict[str, jax.Array], rows: Rows) -> jax.Array:
    return rows.times(params["kernel"]) + params["bias"]


def logistic(key, rows: Rows, targets, weight, strength, num_classes: int) -> jax.Array:
    """Logits [N, K] of a multinomial logistic regression fitted on the weighted rows."""
    del key
    return _predict_linear(_fit_logistic(rows, targets, weight, strength, num_classes), rows)


def _fit_logistic(rows: Rows, targets, weight, strength, num_classes: int) -> dict[str, jax.Array]:
    shape = len(rows.scale), num_classes
    params = {"kernel": jnp.zeros(shape), "bias": jnp.zeros((1, num_classes))}
    objective = _penalised(_predict_linear, rows, targets, weight, strength)
    search = optax.scale_by_zoom_linesearch(max_linesearch_steps=_LINE_SEARCH_STEPS)
    solver = optax.lbfgs(linesearch=search)
    value_and_grad = optax.value_and_grad_from_state(objective)

    def step(carry, _):
        params, state = carry
        value, grad = value_and_grad(params, state=state)
        known = {"value": value, "grad": grad, "value_fn": objective}
        updates, state = solver.update(grad, state, params, **known)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (params, solver.init(params)), length=_LBFGS_STEPS)
    return params


def mlp(key, rows: Rows, targets, weight, strength, num_classes: int) -> jax.Array:
    """Logits [N, K] of a network with one hidden layer fitted on the weighted rows."""

    def predict(params: dict[str, jax.Array], rows: Rows) -> jax.Array:
        hidden = jax.nn.relu(rows.times(params["kernel1"]) + params["bias1"])
        return hidden @ params["kernel2"] + params["bias2"]

    keys = jax.random.split(key)
    channels = len(rows.scale)
    scale = jnp.sqrt(2.0 / channels)
    params = {
        "kernel1": scale * jax.random.normal(keys[0], (channels, _MLP_HIDDEN)),
        "bias1": jnp.zeros((1, _MLP_HIDDEN)),
        "kernel2": jnp.sqrt(1.0 / _MLP_HIDDEN)
        * jax.random.normal(keys[1], (_MLP_HIDDEN, num_classes)),
        "bias2": jnp.zeros((1, num_classes)),
    }
    # The penalty counts every matrix entry; the hidden layer has so many that the same strengths
    # would silence it.
    gradient = jax.grad(_penalised(predict, rows, targets, weight, 0.01 * strength))
    solver = optax.adam(optax.cosine_decay_schedule(1e-2, _MLP_STEPS))

    def step(carry, _):
        params, state = carry
        updates, state = solver.update(gradient(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    # Optax's Adam mixes floats with integer arrays, which strict promotion forbids.
    with jax.numpy_dtype_promotion("standard"):
        (params, _), _ = jax.lax.scan(step, (params, solver.init(params)), length=_MLP_STEPS)
    return predict(params, rows)
