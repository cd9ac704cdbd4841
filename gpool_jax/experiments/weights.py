"""Measure a network whose weights come from PyTorch, without training it."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpool_jax import models
from gpool_jax.config import (
    InvarianceConfig,
    ModelConfig,
    PositionConfig,
    SegmentationConfig,
    checks,
)
from gpool_jax.data.images import load as sources
from gpool_jax.errors import InputError
from gpool_jax.experiments import training, workdir
from gpool_jax.experiments.invariance import measure as invariance_measure
from gpool_jax.experiments.position import measure
from gpool_jax.experiments.segmentation import measure as segmentation_measure
from gpool_jax.experiments.segmentation import training as segmentation
from gpool_jax.experiments.training import Setup
from gpool_jax.report import Result
from gpool_jax.train.optimizer import make_optimizer

_BASE_FEATURES = {"cifar": 16, "vgg5": 32}


def evaluate(
    config: PositionConfig | InvarianceConfig | SegmentationConfig,
    weights: Path,
    out: Path,
    warn: Callable[[str], None] = print,
) -> Result:
    """Probe imported weights, and test their head if it answers the config's task.

    Args:
      config: data, task, network name and padding, what is measured: a
        `PositionConfig` for images on canvases, an `InvarianceConfig` for how
        much the network minds where whole images are, a `SegmentationConfig` for
        labels of pixels.
      weights: .safetensors, or .pth with the `[torch]` extra.
      out: gets results.json and report.html.
      warn: receives one line about damaged cache files.

    Raises:
      InputError: if the weights do not fit, before anything is written.
    """
    checks.check(config)
    workdir.check_writable(out)
    if isinstance(config, SegmentationConfig):
        started = time.perf_counter()
        setup, variables, notes = load_segmenter(config, weights, warn)
        return segmentation_measure.measure_variables(
            setup, variables, out, {}, notes, started, warn
        )
    setup, variables, has_head, notes = load(config, weights, warn)
    measure_weights: Callable = measure.evaluate_weights
    if isinstance(config, InvarianceConfig):
        measure_weights = invariance_measure.evaluate_weights
    return measure_weights(setup, variables, out, has_head=has_head, notes=notes, warn=warn)


def load(
    config: PositionConfig | InvarianceConfig, weights: Path, warn: Callable[[str], None]
) -> tuple[Setup, Any, bool, list[str]]:
    """Read weights into the network of a config.

    The head, the number of outputs, the stem and the width are read off the
    file; the network's name, its padding and its antialiasing, which leave no
    trace in weights, come from the config.

    Returns:
      The setup, the variables, whether the head answers the config's task, and
      what was detected, in words.
    """
    state_dict = models.read_state_dict(weights)
    found = models.describe(state_dict)
    config = dataclasses.replace(config, model=_fit_model(config.model, found))
    model = training.create_model(config.model, found["num_outputs"])
    # A side that any network takes: weights are checked before data is read.
    variables = models.from_torch(state_dict, model, (1, 64, 64, 3))
    dataset = sources.load(config.data, seed=config.seed, warn=warn)
    height, width, channels = dataset.train.image_shape
    factor = config.n if isinstance(config, PositionConfig) else 1
    what = "the image" if factor == 1 else f"a canvas of `n` = {factor} images a side"
    models.check_input_side(model, factor * min(height, width), what)
    if channels != 3:
        raise InputError(f"`data`: imported networks take 3 colour channels; got {channels}.")
    located = isinstance(config, PositionConfig) and config.task == "location"
    num_outputs = config.n**2 if located else dataset.num_classes
    setup = Setup(
        config=config,
        dataset=dataset,
        model=model,
        optimizer=make_optimizer(config.train),
        input_shape=(1, factor * height, factor * width, channels),
        num_outputs=num_outputs,
    )
    has_head = found["num_outputs"] == num_outputs
    notes = [
        f"Weights of {weights.name}: {found['head']} head with {found['num_outputs']} outputs, "
        f"width {config.model.width:g}, stem {config.model.stem or 'of the network'}; padding "
        f"{config.model.padding} and antialias {config.model.antialias} as given (weights do not "
        "tell)."
    ]
    if not has_head:
        task = "location" if located else "recognition"
        notes.append(
            f"The head has {found['num_outputs']} outputs and {task} needs {num_outputs}: only the "
            "read-outs are measured."
        )
    return setup, variables, has_head, notes


def load_segmenter(
    config: SegmentationConfig, weights: Path, warn: Callable[[str], None]
) -> tuple[Setup, Any, list[str]]:
    """Read weights into the segmentation network that they are of.

    The architecture, the depth of its encoder, the width and the number of
    classes are read off the file; output stride and rates, which leave no trace in
    weights, are the config's or else what the file's layout is used with.

    Returns:
      The setup, the variables, and what was detected, in words.

    Raises:
      InputError: if the weights do not fit, or answer other classes than the data's.
    """
    state_dict = models.read_state_dict(weights)
    found = models.describe_segmenter(state_dict)
    if config.model.name != found["name"]:
        raise InputError(
            f"`--model`: {weights.name} holds the weights of {found['name']}; got "
            f"{config.model.name}."
        )
    stride = config.model.output_stride or found["output_stride"]
    # The layout's rates are for the layout's stride.
    usual = found["rates"] if stride == found["output_stride"] else None
    model_config = dataclasses.replace(
        config.model,
        width=found["width"],
        output_stride=stride,
        rates=config.model.rates or usual,
        stem=config.model.stem or found["stem"],
    )
    config = dataclasses.replace(config, model=model_config)
    model = segmentation.create_model(config.model, found["num_outputs"])
    variables = models.from_torch(state_dict, model, (1, 64, 64, 3))
    setup = segmentation.prepare(config, warn=warn)
    if setup.num_outputs != found["num_outputs"]:
        raise InputError(
            f"`--weights`: {weights.name} answers {found['num_outputs']} classes; the data have "
            f"{setup.num_outputs}."
        )
    notes = [
        found["summary"],
        f"Used here: output stride {stride}, rates {' '.join(map(str, model.head.rates))}, padding "
        f"{model_config.padding} (weights do not tell).",
    ]
    return setup, variables, notes


def _fit_model(model: ModelConfig, found: dict[str, Any]) -> ModelConfig:
    """The model section with what the file says."""
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
