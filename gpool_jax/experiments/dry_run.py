"""Estimate a run's cost: count sizes, time a few steps and measurements, predict the rest."""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from gpool_jax.errors import RunError
from gpool_jax.experiments import driver, measure_cost, programs, registry, training
from gpool_jax.experiments.experiment import Warn
from gpool_jax.experiments.training import Design, Recipe, Setup
from gpool_jax.models import cost
from gpool_jax.report.estimate import Estimate
from gpool_jax.train import loop, parallel, processes

# Fewest and most timed dispatches; more are timed while they are quick.
_FEWEST, _MOST, _SECONDS = 5, 50, 5.0
# Images of a timed validation, at most.
_VALIDATION = 256


def run(
    config: Any, *, report: Callable[[Estimate], None] = lambda _: None, warn: Warn = print
) -> list[Estimate]:
    """Prepare every run of a configuration as for training, and time a part of each kind.

    A few steps and measurements on a few images are timed. Writes nothing. The data are loaded,
    so that mistakes in them or in the configuration are found. `report` receives each estimate
    as soon as it is made.

    Returns:
      One estimate per group of runs that differ in their seed only.

    Raises:
      InputError: as training would.
      RunError: if a step does not fit in the memory of the device.
    """
    alike: dict[Design, list[tuple[str, Setup]]] = {}
    for name, setup in driver.prepare_all(config, warn=warn).items():
        training.check_alike(setup)
        alike.setdefault(setup.design, []).append((name, setup))
    # A program that is there already would not tell how long compiling takes.
    programs.forget()
    cached = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    estimates: list[Estimate] = []
    measured: dict[Any, float] = {}
    try:
        with parallel.use(config.train.parallel):
            for (name, setup), *others in alike.values():
                kind = name.rpartition("-seed")[0] or name
                recipe = registry.experiment(setup.config).recipe(setup)
                estimates.append(_estimate(kind, setup, recipe, 1 + len(others), measured))
                report(estimates[-1])
    finally:
        jax.config.update("jax_enable_compilation_cache", cached)
    return estimates


def _estimate(
    name: str, setup: Setup, recipe: Recipe, num_runs: int, measured: dict[Any, float]
) -> Estimate:
    """Estimate one kind of run; `measured` keeps what measuring takes, whatever the head."""
    train, feed = setup.config.train, training.make_feed(setup)
    try:
        state = setup.init_state()
        step = training.make_step(setup, recipe, feed)
        count = min(loop.steps_of_dispatch(train, feed), train.steps)
        validation_seconds = _time_validation(setup, recipe, state)
        timed = _time_steps(step, feed, state, count)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise RunError(
            f"a step of {train.batch_size} images does not fit in the memory of the device; "
            "give a smaller `train.batch_size`, or more devices."
        ) from None
    finally:
        feed.close()
    encoder = getattr(setup.model, "backbone", setup.model), setup.input_shape
    if encoder not in measured:
        measured[encoder] = processes.from_first(lambda: measure_cost.predict_seconds(setup, state))
    return Estimate(
        name=name,
        num_runs=num_runs,
        num_images=len(setup.dataset.train),
        image_shape=tuple(setup.dataset.train.image_shape),
        input_shape=setup.input_shape[1:],
        parameters={k: cost.count_parameters(v) for k, v in state.params.items()},
        forward_flops=cost.count_forward_flops(setup.model, setup.input_shape),
        state_bytes=_num_bytes(state),
        data_bytes=_num_bytes(feed.data["resident"]),
        device_kind=jax.devices()[0].device_kind,
        devices=jax.device_count(),
        num_processes=jax.process_count(),
        batch_size=train.batch_size,
        steps=train.steps,
        num_validations=len(loop.stops(train)),
        validation_seconds=validation_seconds,
        measuring_seconds=measured[encoder],
        **timed,
    )


def _time_validation(setup: Setup, recipe: Recipe, state: Any) -> float:
    """Seconds of one validation, from a part of its images."""
    train, num_images = setup.config.train, len(setup.dataset.val)
    wanted = min(train.num_val or num_images, num_images)
    part = min(wanted, _VALIDATION)
    smaller = dataclasses.replace(train, num_val=part)
    config = dataclasses.replace(setup.config, train=smaller)
    validate = recipe.make_validate(dataclasses.replace(setup, config=config))
    state = parallel.replicate(state)
    validate(state)
    started = time.perf_counter()
    validate(state)
    return (time.perf_counter() - started) * wanted / part


def _time_steps(step: parallel.Program, feed: loop.Feed, state: Any, count: int) -> dict[str, Any]:
    """Compile and run dispatches of `count` steps; what `Estimate` says of them."""

    def inputs_at(first: int, number: int) -> Any:
        return parallel.shard(feed.inputs_at(first, number), axis=1)

    data = parallel.replicate(feed.data)
    # A copy: a step donates its state.
    state = parallel.replicate(jax.tree.map(np.array, state))
    first = inputs_at(0, count)
    single = jax.tree.map(lambda x: x[:1], first)
    started = time.perf_counter()
    compiled = step.compile(state, data, first)
    compile_seconds = time.perf_counter() - started
    state, _ = jax.block_until_ready(step(state, data, first))
    started = time.perf_counter()
    state, _ = jax.block_until_ready(step(state, data, inputs_at(count, count)))
    quick = int(_SECONDS / (time.perf_counter() - started))
    # All processes take as many; none waits for another within what is timed.
    number = processes.from_first(lambda: min(max(_FEWEST, quick), _MOST))
    seconds = []
    for dispatch in range(2, 3 + number):
        started = time.perf_counter()
        inputs = inputs_at(dispatch * count, count)
        state, _ = jax.block_until_ready(step(state, data, inputs))
        seconds.append(time.perf_counter() - started)
    # The first follows a pause.
    per_step = [taken / count for taken in seconds[1:]]
    return {
        "step_flops": step.lower(state, data, single).cost_analysis()["flops"] * jax.device_count(),
        "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
        "compile_seconds": compile_seconds,
        "step_seconds": (statistics.median(per_step), min(per_step), max(per_step)),
    }


def _num_bytes(tree: Any) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
