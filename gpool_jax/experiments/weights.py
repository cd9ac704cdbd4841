"""Weights that come from PyTorch, read into the network that they belong to."""

import dataclasses
from pathlib import Path
from typing import Any

from gpool_jax import models
from gpool_jax.config import ModelConfig
from gpool_jax.data.images import load as sources
from gpool_jax.errors import InputError
from gpool_jax.experiments import classifier
from gpool_jax.experiments.experiment import Warn
from gpool_jax.experiments.saved import Snapshot, Snapshots
from gpool_jax.experiments.training import Setup

_BASE_FEATURES = {"cifar": 16, "vgg5": 32}


def load_classifier(
    config: Any,
    path: Path,
    warn: Warn,
    *,
    side_factor: int = 1,
    num_cells: int | None = None,
) -> tuple[Setup, Snapshots]:
    """Read weights into the classification network of a configuration.

    The head, the number of outputs, the stem and the width are read off the
    file; the network's name, its padding and its antialiasing, which leave no
    trace in weights, come from the configuration. A location task has `num_cells` outputs.

    Raises:
      InputError: if the weights do not fit.
    """
    state_dict = models.read_state_dict(path)
    detected = models.describe(state_dict)
    outputs = detected["num_outputs"]
    config = dataclasses.replace(config, model=_fit_model(config.model, detected))
    model = classifier.create(config.model, outputs)
    # A side that any network takes: weights are checked before data is read.
    variables = models.from_torch(state_dict, model, (1, 64, 64, 3))
    dataset = sources.load(config.data, seed=config.seed, warn=warn)
    channels = dataset.train.image_shape[-1]
    if channels != 3:
        raise InputError(f"`data`: imported networks take 3 colour channels; got {channels}.")
    setup = classifier.make_setup(config, dataset, num_outputs=outputs, side_factor=side_factor)
    notes = [
        f"Weights of {path.name}: {detected['head']} head with {outputs} outputs, "
        f"width {config.model.width:g}, stem {config.model.stem or 'of the network'}; padding "
        f"{config.model.padding} and antialias {config.model.antialias} as given (weights do not "
        "tell)."
    ]
    needed = num_cells or dataset.num_classes
    mismatch = ""
    if outputs != needed:
        task = "location" if num_cells else "recognition"
        mismatch = f"The head has {outputs} outputs and {task} needs {needed}"
    return setup, Snapshots([Snapshot("imported", 0, variables)], notes, mismatch=mismatch)


def _fit_model(model: ModelConfig, detected: dict[str, Any]) -> ModelConfig:
    """Fill the model section with what the file says."""
    head = detected["head"]
    # A linear head was trained through permutation or not: the file does not tell.
    if head == "linear" and model.head == "permutenet":
        head = "permutenet"
    changes = {"head": head}
    if "stem_features" in detected:
        base = next(
            (b for prefix, b in _BASE_FEATURES.items() if model.name.startswith(prefix)), 64
        )
        changes["width"] = detected["stem_features"] / base
        if model.name.startswith("resnet"):
            changes["stem"] = model.stem or detected["stem"]
    return dataclasses.replace(model, **changes)
