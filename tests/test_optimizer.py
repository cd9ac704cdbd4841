"""Optimisers and schedules against their formulas."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gpool_jax.config import TrainConfig
from gpool_jax.train.optimizer import (
    evaluated_variables,
    make_optimizer,
    make_schedule,
    move_average,
)
from gpool_jax.train.state import Averaging, TrainState
from gpool_jax.train.step import make_train_step

PARAMS = {"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.array([3.0])}
GRADS = {"kernel": jnp.array([[0.5, 0.1]]), "bias": jnp.array([-0.2])}


def steps(config, count=3):
    optimizer = make_optimizer(config)
    params, state, path = PARAMS, optimizer.init(PARAMS), []
    for _ in range(count):
        updates, state = jax.jit(optimizer.update)(GRADS, state, params)
        params = optax.apply_updates(params, updates)
        path.append(params)
    return path, state


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam_is_the_references_with_decay_in_the_gradient(decay):
    config = TrainConfig(weight_decay=decay)
    path, _ = steps(config)
    for name, own in (("kernel", decay), ("bias", 0.0)):
        p, m, v = np.asarray(PARAMS[name], np.float64), 0.0, 0.0
        for t in range(1, 4):
            g = np.asarray(GRADS[name]) + own * p
            m, v = 0.5 * m + 0.5 * g, 0.999 * v + 0.001 * g**2
            p = p - 1e-3 * (m / (1 - 0.5**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        np.testing.assert_allclose(path[-1][name], p, rtol=1e-6)


def test_adamw_decays_kernels_apart_from_the_gradient():
    with_decay, _ = steps(TrainConfig(optimizer="adamw", weight_decay=0.1), 1)
    without, _ = steps(TrainConfig(optimizer="adamw"), 1)
    lost = np.asarray(without[0]["kernel"] - with_decay[0]["kernel"])
    np.testing.assert_allclose(lost, 1e-3 * 0.1 * np.asarray(PARAMS["kernel"]), atol=1e-7)
    np.testing.assert_array_equal(without[0]["bias"], with_decay[0]["bias"])


def test_sgd_has_momentum():
    path, _ = steps(TrainConfig(optimizer="sgd", learning_rate=0.1, momentum=0.5), 2)
    expected = np.asarray(PARAMS["bias"]) - 0.1 * -0.2 * (1 + 1.5)
    np.testing.assert_allclose(path[-1]["bias"], expected, rtol=1e-6)


def test_the_average_is_unbiased_and_of_the_batch_statistics_too():
    rng = np.random.default_rng(0)
    path = [
        {"params": rng.normal(3.0, 1.0, 4), "batch_stats": rng.normal(5.0, 1.0, 2)} for _ in "abc"
    ]
    state = TrainState(jnp.int32(0), None, **path[0], opt_state=None)
    average = jax.tree.map(jnp.zeros_like, path[0])
    for step, variables in enumerate(path, 1):
        average = move_average(average, variables, 0.8)
        state = state.replace(step=jnp.int32(step), opt_state=Averaging(None, average))
        # Weights 1, 0.8, 0.64, ... from the newest back, their sum 1.
        weights = 0.8 ** np.arange(step)[::-1]
        found = evaluated_variables(state, 0.8)
        for name in variables:
            expected = np.average([v[name] for v in path[:step]], axis=0, weights=weights)
            np.testing.assert_allclose(found[name], expected, rtol=1e-5)
    np.testing.assert_array_equal(evaluated_variables(state, None)["params"], path[0]["params"])


def test_a_step_moves_the_average_of_what_it_leaves():
    """The variables after the step, not before; the updates as without averages."""

    def loss_fn(params, batch_stats, batch, key):
        metrics = {"loss": (params["w"].sum(), 1.0)}
        return (params["w"] ** 2).sum(), {"batch_stats": {"m": batch["x"]}, "metrics": metrics}

    start = {"params": {"w": jnp.ones(2)}, "batch_stats": {"m": jnp.zeros(1)}}
    optimizer = make_optimizer(TrainConfig(optimizer="sgd", learning_rate=0.1))
    inner = optimizer.init(start["params"])
    key = jax.random.key_data(jax.random.key(0))
    moved = {}
    for decay in (None, 0.8):
        opt_state = (
            inner if decay is None else Averaging(inner, jax.tree.map(jnp.zeros_like, start))
        )
        state = TrainState(jnp.int32(0), key, **start, opt_state=opt_state)
        step = make_train_step(loss_fn, optimizer, lambda _, x: {"x": x}, "one", ema_decay=decay)
        step = jax.vmap(step, in_axes=(None, None, 0), out_axes=None, axis_name="one")
        moved[decay], _ = step(state, None, jnp.full((1, 1), 7.0))
    np.testing.assert_array_equal(moved[0.8].params["w"], moved[None].params["w"])
    average = moved[0.8].opt_state.average
    np.testing.assert_allclose(average["params"]["w"], 0.2 * moved[None].params["w"], rtol=1e-6)
    np.testing.assert_allclose(average["batch_stats"]["m"], 0.2 * 7.0, rtol=1e-6)


def test_schedules_rise_stay_and_fall():
    base = TrainConfig(steps=110, learning_rate=0.2, warmup_steps=10)
    constant = make_schedule(base)
    cosine = make_schedule(dataclasses.replace(base, schedule="cosine"))
    poly = make_schedule(dataclasses.replace(base, schedule="poly"))
    for schedule in (constant, cosine, poly):
        assert [float(schedule(s)) for s in (0, 5, 10)] == pytest.approx([0.0, 0.1, 0.2])
    assert float(constant(110)) == pytest.approx(0.2)
    assert float(cosine(60)) == pytest.approx(0.1)
    assert float(poly(60)) == pytest.approx(0.2 * 0.5**0.9)
    assert float(cosine(110)) == float(poly(110)) == pytest.approx(0.0, abs=1e-7)
    assert make_schedule(TrainConfig()) == 1e-3


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_the_encoder_moves_at_its_share_of_the_rate(optimizer):
    params = {"backbone": {"conv": PARAMS}, "head": {"conv": PARAMS}}
    config = TrainConfig(optimizer=optimizer, weight_decay=0.1, backbone_rate=0.1)

    def moved(config):
        chain = make_optimizer(config)
        grads = {name: {"conv": GRADS} for name in params}
        updates, _ = chain.update(grads, chain.init(params), params)
        return updates

    slow, even = moved(config), moved(dataclasses.replace(config, backbone_rate=1.0))
    for name in PARAMS:
        whole = np.asarray(even["backbone"]["conv"][name])
        np.testing.assert_allclose(slow["backbone"]["conv"][name], 0.1 * whole, rtol=1e-6)
        np.testing.assert_allclose(slow["head"]["conv"][name], even["head"]["conv"][name])
        assert np.abs(whole).min() > 0
