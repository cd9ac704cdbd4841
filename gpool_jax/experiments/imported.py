"""Measure a network whose weights come from PyTorch, without training it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from gpool_jax import config as configs
from gpool_jax import models
from gpool_jax.config import PositionConfig
from gpool_jax.data import sources
from gpool_jax.errors import InputError
from gpool_jax.experiments import measure, workdir
from gpool_jax.experiments.position import Setup
from gpool_jax.report import Result
from gpool_jax.train.optimizer import make_optimizer

_BASE_FEATURES = {"cifar": 16, "vgg5": 32}


def evaluate(
    config: PositionConfig, weights: Path, out: Path, warn: Callable[[str], None] = print
) -> Result:
    """Probe imported weights, and test their head if it answers the config's task.

    The head, the number of outputs, the stem and the width are read off the
    file; the network's name and its padding, which leave no trace in weights,
    come from the config.

    Args:
      config: data, task, canvas, network name and padding, probes.
      weights: .safetensors, or .pth with the `[torch]` extra.
      out: gets results.json and report.html.
      warn: receives one line about damaged cache files.

    Raises:
      InputError: if the weights do not fit, before anything is written.
    """
    configs.check(config)
    workdir.check_writable(out)
    state_dict = models.read_state_dict(weights)
    found = models.describe(state_dict)
    model_config = _fit_config(config, found)
    config = dataclasses.replace(config, model=model_config)
    model = models.create(
        model_config.name,
        num_outputs=found["num_outputs"],
        head=model_config.head,
        padding=model_config.padding,
        stem=model_config.stem,
        width=model_config.width,
        permute_at=model_config.permute_at,
        dtype=model_config.dtype,
    )
    # A side that any network takes: weights are checked before data is read.
    variables = models.from_torch(state_dict, model, (1, 64, 64, 3))
    dataset = sources.load(config.data, seed=config.seed, warn=warn)
    height, width, channels = dataset.train.images.shape[1:]
    models.check_input_side(model, config.n * min(height, width))
    if channels != 3:
        raise InputError(f"`data`: imported networks take 3 colour channels; got {channels}.")
    setup = Setup(
        config=config,
        dataset=dataset,
        model=model,
        optimizer=make_optimizer(config.train),
        input_shape=(1, config.n * height, config.n * width, channels),
    )
    has_head = found["num_outputs"] == setup.num_outputs
    notes = [
        f"Weights of {weights.name}: {found['head']} head with {found['num_outputs']} outputs, "
        f"width {model_config.width:g}, stem {model_config.stem or 'of the network'}; padding "
        f"{model_config.padding} as given (weights do not tell)."
    ]
    if not has_head:
        notes.append(
            f"The head has {found['num_outputs']} outputs and {config.task} needs "
            f"{setup.num_outputs}: only the read-outs are measured."
        )
    return measure.evaluate_weights(
        setup, variables, out, has_head=has_head, notes=notes, warn=warn
    )


def _fit_config(config: PositionConfig, found: dict) -> configs.ModelConfig:
    """The model section with what the file says."""
    model = config.model
    head = found["head"]
    # A linear head was trained through permutation or not: the file does not tell.
    if head == "linear" and model.head == "permutenet":
        head = "permutenet"
    changes = {"head": head}
    if "stem_features" in found:
        base = next(
            (b for prefix, b in _BASE_FEATURES.items() if model.name.startswith(prefix)), 64
        )
        changes["width"] = found["stem_features"] / base
        if model.name.startswith("resnet"):
            changes["stem"] = model.stem or found["stem"]
    return dataclasses.replace(model, **changes)
