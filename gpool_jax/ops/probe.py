"""Probes: how well can a simple model decode a label from pooled features?

Rows are (image, cell) pairs; folds are groups of *images*, so that no image is on both sides of
a split. For fold k the probe is fitted on all folds but k and k + 1, its regularisation is
picked on fold k + 1, and its accuracy is reported on fold k: nothing is chosen on the rows it is
measured on.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

KINDS = ("ridge", "logistic", "mlp")
# Penalties on standardised inputs, relative to the mean loss.
STRENGTHS = (1e-4, 1e-2, 1.0)

_LBFGS_STEPS = 40
_LINE_SEARCH_STEPS = 6
_MLP_HIDDEN = 64
_MLP_STEPS = 150


def sorted_latent(latent: jax.Array) -> jax.Array:
    """Sort each row of [N, C], ascending: the maximal invariant under channel permutation.

    Two latents have the same sorted form if and only if one is a permutation of the other, so it
    allows everything to be decoded that needs no channel order (a given probe gives a lower bound
    on that).

    >>> sorted_latent(jnp.array([[3.0, 1.0, 2.0]])).tolist()
    [[1.0, 2.0, 3.0]]
    """
    return jnp.sort(latent, axis=-1)


@functools.partial(jax.jit, static_argnames=("kind", "num_classes", "num_folds"))
def cross_validate(
    key: jax.Array,
    inputs: jax.Array,
    targets: jax.Array,
    fold: jax.Array,
    *,
    kind: str,
    num_classes: int,
    num_folds: int,
) -> tuple[jax.Array, jax.Array]:
    """Cross-validate a probe, every fold and penalty fitted side by side.

    Args:
      key: PRNG key for the MLP's initialisation.
      inputs: float [N, D].
      targets: int [N] in [0, num_classes).
      fold: int [N] in [0, num_folds): the same for all rows of an image.
      kind: "ridge" (closed form, one-hot targets), "logistic" (multinomial, L-BFGS) or "mlp"
        (one hidden layer of 64, Adam).
      num_classes: K.
      num_folds: F, at least 3.

    Returns:
      bool [N]: whether the probe that never saw the row's image predicts its label;
      float32 [F]: accuracy of each fold's probe on its picking fold, to choose between kinds
      without looking at what is reported.

    Raises:
      ValueError: for an unknown `kind` or fewer than 3 folds.

    References: Alain and Bengio, "Understanding intermediate layers using linear classifier
    probes", 2016; Stone, "Cross-validatory choice and assessment of statistical predictions",
    1974.
    """
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {KINDS}; got {kind!r}.")
    if num_folds < 3:
        raise ValueError(f"`num_folds` must be at least 3; got {num_folds}.")
    fit = {"ridge": _ridge, "logistic": _logistic, "mlp": _mlp}[kind]

    def one_fold(k: jax.Array) -> tuple[jax.Array, jax.Array]:
        picking = fold == (k + 1) % num_folds
        fitting = ((fold != k) & ~picking).astype(jnp.float32)
        x, _ = _standardise(inputs.astype(jnp.float32), fitting)

        def is_correct(strength: jax.Array) -> jax.Array:
            logits = fit(key, x, targets, fitting, strength, num_classes)
            return jnp.argmax(logits, axis=-1) == targets

        correct = jax.vmap(is_correct)(jnp.array(STRENGTHS, jnp.float32))
        scores = jnp.sum(correct * picking[None, :], axis=1) / jnp.sum(picking)
        return correct[jnp.argmax(scores)] & (fold == k), scores.max()

    correct, picked = jax.vmap(one_fold)(jnp.arange(num_folds))
    return jnp.any(correct, axis=0), picked


@functools.partial(jax.jit, static_argnames="num_folds")
def cross_validate_regression(
    inputs: jax.Array, targets: jax.Array, fold: jax.Array, *, num_folds: int
) -> jax.Array:
    """Held-out predictions of a ridge regression, its penalty picked as in `cross_validate`.

    Args:
      inputs: float [N, D].
      targets: float [N, T].
      fold: int [N] in [0, num_folds): the same for all rows of an image.
      num_folds: F, at least 3.

    Returns:
      float32 [N, T]: predictions of the regression that never saw the row's image.

    Raises:
      ValueError: for fewer than 3 folds.
    """
    if num_folds < 3:
        raise ValueError(f"`num_folds` must be at least 3; got {num_folds}.")
    targets = targets.astype(jnp.float32)

    def one_fold(k: jax.Array) -> jax.Array:
        picking = (fold == (k + 1) % num_folds).astype(jnp.float32)
        fitting = ((fold != k) & (picking == 0)).astype(jnp.float32)
        x, _ = _standardise(inputs.astype(jnp.float32), fitting)
        regress = jax.vmap(_least_squares, in_axes=(None, None, None, 0))
        predicted = regress(x, targets, fitting, jnp.array(STRENGTHS, jnp.float32))
        errors = ((predicted - targets[None]) ** 2).sum(axis=-1) * picking[None, :]
        return predicted[jnp.argmin(errors.sum(axis=1))] * (fold == k).astype(jnp.float32)[:, None]

    return jax.vmap(one_fold)(jnp.arange(num_folds)).sum(axis=0)


def _least_squares(
    x: jax.Array, targets: jax.Array, weight: jax.Array, strength: jax.Array
) -> jax.Array:
    """Predictions [N, T] of a ridge regression on standardised inputs, in closed form."""
    share = (weight / weight.sum())[:, None]
    offset = (targets * share).sum(axis=0, keepdims=True)
    gram = x.T @ (x * share) + strength * jnp.eye(x.shape[1])
    return x @ jnp.linalg.solve(gram, x.T @ ((targets - offset) * share)) + offset


def _standardise(x: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Scale columns to zero mean and unit variance over the weighted rows; also give the scale.

    The scale [1, D] is one over the standard deviation, 0 where a column is constant.
    """
    weight = (weight / weight.sum())[:, None]
    mean = (x * weight).sum(axis=0, keepdims=True)
    variance = ((x - mean) ** 2 * weight).sum(axis=0, keepdims=True)
    # A column that is constant up to rounding carries nothing.
    alive = variance > 1e-10 * (mean**2 + 1e-12)
    scale = jnp.where(alive, jax.lax.rsqrt(jnp.where(alive, variance, 1.0)), 0.0)
    return (x - mean) * scale, scale


def _ridge(key, x, targets, weight, strength, num_classes: int) -> jax.Array:
    """Least squares to one-hot targets."""
    del key
    return _least_squares(x, jax.nn.one_hot(targets, num_classes), weight, strength)


def _penalised(
    predict: Callable, x: jax.Array, targets: jax.Array, weight: jax.Array, strength: jax.Array
) -> Callable:
    """Mean cross-entropy over the weighted rows, plus the L2 penalty on the matrices."""

    def objective(params: dict[str, jax.Array]) -> jax.Array:
        losses = optax.softmax_cross_entropy_with_integer_labels(predict(params, x), targets)
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
    ones = jnp.ones(len(inputs))
    x, scale = _standardise(inputs, ones)
    params = _fit_logistic(x, targets, ones, strength, num_classes)
    # Undo the standardisation: the kernel takes on the scale of the inputs.
    kernel = params["kernel"] * scale.T
    return kernel, (params["bias"] - inputs.mean(axis=0, keepdims=True) @ kernel)[0]


def _predict_linear(params: dict[str, jax.Array], rows: jax.Array) -> jax.Array:
    return rows @ params["kernel"] + params["bias"]


def _logistic(key, x, targets, weight, strength, num_classes: int) -> jax.Array:
    del key
    return _predict_linear(_fit_logistic(x, targets, weight, strength, num_classes), x)


def _fit_logistic(x, targets, weight, strength, num_classes: int) -> dict[str, jax.Array]:
    params = {"kernel": jnp.zeros((x.shape[1], num_classes)), "bias": jnp.zeros((1, num_classes))}
    objective = _penalised(_predict_linear, x, targets, weight, strength)
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


def _mlp(key, x, targets, weight, strength, num_classes: int) -> jax.Array:
    def predict(params, rows):
        hidden = jax.nn.relu(rows @ params["kernel1"] + params["bias1"])
        return hidden @ params["kernel2"] + params["bias2"]

    keys = jax.random.split(key)
    scale = jnp.sqrt(2.0 / x.shape[1])
    params = {
        "kernel1": scale * jax.random.normal(keys[0], (x.shape[1], _MLP_HIDDEN)),
        "bias1": jnp.zeros((1, _MLP_HIDDEN)),
        "kernel2": jnp.sqrt(1.0 / _MLP_HIDDEN)
        * jax.random.normal(keys[1], (_MLP_HIDDEN, num_classes)),
        "bias2": jnp.zeros((1, num_classes)),
    }
    # The penalty counts every matrix entry; the hidden layer has so many that the same strengths
    # would silence it.
    gradient = jax.grad(_penalised(predict, x, targets, weight, 0.01 * strength))
    solver = optax.adam(optax.cosine_decay_schedule(1e-2, _MLP_STEPS))

    def step(carry, _):
        params, state = carry
        updates, state = solver.update(gradient(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    # Optax's Adam mixes floats with integer arrays, which strict promotion forbids.
    with jax.numpy_dtype_promotion("standard"):
        (params, _), _ = jax.lax.scan(step, (params, solver.init(params)), length=_MLP_STEPS)
    return predict(params, x)
