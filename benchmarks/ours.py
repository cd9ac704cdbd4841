"""Our side: the package's own programs, called as its commands call them."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from gpool_jax.experiments import registry, training
from gpool_jax.models import Segmenter
from gpool_jax.models.cost import count_flops, count_forward_flops
from gpool_jax.train import parallel


def training_step(config: Any, dataset: Any, steps: int) -> Callable[[], float]:
    """One call: the next steps of training, from drawing their rows to the updated state.

    Returns:
      The call; it returns the last loss.
    """
    experiment = registry.experiment(config)
    setup = experiment.prepare(config, dataset=dataset)
    feed: Any = training.make_feed(setup)
    with parallel.use(config.train.parallel):
        run = training.make_step(setup, experiment.recipe(setup), feed)
    data = parallel.replicate(feed.data)
    held = {"state": parallel.replicate(jax.tree.map(np.array, setup.init_state())), "step": 0}

    def call() -> float:
        inputs = parallel.shard(feed.inputs_at(held["step"], steps), axis=1)
        held["state"], metrics = run(held["state"], data, inputs)
        held["step"] += steps
        jax.block_until_ready(held["state"])
        total, number = jax.device_get(metrics["loss"])
        return float(total[-1] / number[-1])

    return call


def training_flops(setup: training.Setup, batch_size: int) -> float:
    """Operations of one training step of the plain network: forward and backward."""
    model = setup.model
    x = jax.ShapeDtypeStruct((batch_size, *setup.input_shape[1:]), np.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    segments = isinstance(model, Segmenter)

    def loss(params: Any, batch_stats: Any, x: Any) -> Any:
        options: dict[str, Any] = {"train": True, "mutable": ["batch_stats"]}
        if segments:
            options["dropout_keys"] = jax.random.split(jax.random.key(0), batch_size)
        (logits, _), _ = model.apply({"params": params, "batch_stats": batch_stats}, x, **options)
        return logits.sum()

    gradient = jax.grad(loss)
    return count_flops(gradient, variables["params"], variables["batch_stats"], x)


def forward_flops(setup: training.Setup, batch_size: int) -> float:
    """Operations of one evaluation of the plain network."""
    return count_forward_flops(setup.model, (batch_size, *setup.input_shape[1:]))


def encoder_flops(setup: training.Setup, batch_size: int) -> float:
    """Operations of one evaluation of the encoder alone."""
    x = jax.ShapeDtypeStruct((batch_size, *setup.input_shape[1:]), np.float32)
    variables = jax.eval_shape(setup.model.init, jax.random.key(0), x)
    return count_flops(lambda v, x: setup.model.apply(v, x)[1]["pre_gap"], variables, x)
