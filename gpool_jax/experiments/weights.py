"""Weights that come from PyTorch, read into the network that they belong to."""

import dataclasses
from pathlib import Path
from typing import Any

from gpool_jax import models
from gpool_jax.config import ModelConfig, SegmentationConfig
from gpool_jax.data.images import load as sources
from gpool_jax.errors import InputError
from gpool_jax.experiments import classifier
from gpool_jax.experiments.experiment import Warn
from gpool_jax.experiments.saved import Snapshot, Snapshots
from gpool_jax.experiments.segmentation import training as segmentation
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
    if outputs != needed:
        task = "location" if num_cells else "recognition"
        notes.append(
            f"The head has {outputs} outputs and {task} needs {needed}: only the "
            "probes are measured."
        )
    imported = [Snapshot("imported", 0, variables)]
    return setup, Snapshots(imported, notes, fits_task=outputs == needed)


def load_segmenter(config: SegmentationConfig, path: Path, warn: Warn) -> tuple[Setup, Snapshots]:
    """Read weights into the segmentation network that they belong to.

    The architecture, the depth of its encoder, the width and the number of
    classes are read off the file; output stride and rates, which leave no trace in
    weights, are the configuration's or else those usual for the file's layout.

    Raises:
      InputError: if the weights do not fit, or answer other classes than the data's.
    """
    state_dict = models.read_state_dict(path)
    detected = models.describe_segmenter(state_dict)
    if config.model.name != detected["name"]:
        raise InputError(
            f"`--model`: {path.name} holds weights of {detected['name']}; got {config.model.name}."
        )
    stride = config.model.output_stride or detected["output_stride"]
    # The layout's rates are for the layout's stride.
    usual = detected["rates"] if stride == detected["output_stride"] else None
    model_config = dataclasses.replace(
        config.model,
        width=detected["width"],
        output_stride=stride,
        rates=config.model.rates or usual,
        stem=config.model.stem or detected["stem"],
    )
    config = dataclasses.replace(config, model=model_config)
    model = segmentation.create_model(config.model, detected["num_outputs"])
    variables = models.from_torch(state_dict, model, (1, 64, 64, 3))
    setup = segmentation.prepare(config, warn=warn)
    if setup.num_outputs != detected["num_outputs"]:
        raise InputError(
            f"`--weights`: {path.name} predicts {detected['num_outputs']} classes; the data have "
            f"{setup.num_outputs}."
        )
    notes = [
        detected["summary"],
        f"Used here: output stride {stride}, rates {' '.join(map(str, model.head.rates))}, padding "
        f"{model_config.padding} (weights do not tell).",
    ]
    return setup, Snapshots([Snapshot("imported", 0, variables)], notes)


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
