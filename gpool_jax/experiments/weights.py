"""Weights that come from PyTorch, read into the network that they belong to."""

import dataclasses
from pathlib import Path
from typing import Any

from gpool_jax import models
from gpool_jax.config import ModelConfig
from gpool_jax.data.images import load as sources
from gpool_jax.data.statistics import CIFAR_STATISTICS, IMAGENET_STATISTICS
from gpool_jax.errors import InputError
from gpool_jax.experiments import classifier
from gpool_jax.experiments.experiment import Warn
from gpool_jax.experiments.saved import Snapshot, Snapshots
from gpool_jax.experiments.training import Setup


def load_classifier(
    config: Any,
    path: Path,
    warn: Warn,
    *,
    side_factor: int = 1,
    num_cells: int | None = None,
) -> tuple[Setup, Snapshots]:
    """Read weights into the classification network of a configuration.

    The head, the number of outputs, the width and, if they are not given, the stem and the
    filters of BlurPool are read off the file; the network's name, its padding and what else
    leaves no trace in weights come from the configuration. A location task has `num_cells`
    outputs.

    Raises:
      InputError: if the weights do not fit.
    """
    weights = models.read_weights(path)
    for note in weights.notes:
        warn(note)
    detected = models.describe(weights.arrays)
    outputs = detected["num_outputs"]
    given = config.model
    config = dataclasses.replace(config, model=_fit_model(given, detected))
    model = classifier.create(config.model, outputs)
    # A side that any network takes: weights are checked before data is read.
    variables = models.from_torch(weights.arrays, model, (1, 64, 64, 3))
    dataset = sources.load(config.data, seed=config.seed, warn=warn)
    channels = dataset.train.image_shape[-1]
    if channels != 3:
        raise InputError(f"`data`: imported networks take 3 colour channels; got {channels}.")
    dataset = as_usual(config.data, dataset, detected["statistics"])
    setup = classifier.make_setup(config, dataset, num_outputs=outputs, side_factor=side_factor)
    normalised = say_normalisation(config.data, dataset, detected["statistics"])
    notes = [
        *weights.notes,
        f"Weights of {weights.file}: {detected['head']} head with {outputs} outputs, width "
        f"{config.model.width:g}, stem {config.model.stem or 'of the network'}, "
        f"{_name_blur(config.model)}; {normalised}.",
        _say_assumed(given, config.model, told="antialias" in detected),
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
    told = models.fit(model.name, detected, stem=model.stem, antialias=model.antialias)
    return dataclasses.replace(model, head=head, **told)


_STATISTICS = {"CIFAR": CIFAR_STATISTICS, "ImageNet": IMAGENET_STATISTICS}


def as_usual(config: Any, dataset: Any, statistics: str) -> Any:
    """The data, normalised as usual for a network that does not tell how it was trained.

    Args:
      config: the data section, whose `mean` and `std` go first.
      dataset: the `data.split.Splits`.
      statistics: "CIFAR" or "ImageNet".
    """
    mean, std = _STATISTICS[statistics]
    return dataclasses.replace(
        dataset,
        mean=mean if config.mean is None else dataset.mean,
        std=std if config.std is None else dataset.std,
    )


def say_normalisation(config: Any, dataset: Any, statistics: str) -> str:
    """The constants that images are normalised with, and whose they are, in words."""
    means, stds = (" ".join(f"{v:.4g}" for v in values) for values in (dataset.mean, dataset.std))
    given = config.mean is not None and config.std is not None
    whose = "as given" if given else f"{statistics}'s, usual for them; --data.mean, --data.std"
    return f"images are normalised with mean {means} and standard deviation {stds} ({whose})"


def _name_blur(model: ModelConfig) -> str:
    if not model.antialias:
        return "no BlurPool"
    return f"BlurPool of {model.antialias} taps ({model.antialias_layout})"


def _say_assumed(given: ModelConfig, used: ModelConfig, *, told: bool) -> str:
    """What the same weights may belong to as well, and how to say so.

    `told` says whether filters in the weights tell which BlurPool is used.
    """
    parts = [f"padding {used.padding}"]
    if used.stem and not given.stem:
        pools = used.stem.endswith("_pool")
        other = used.stem.removesuffix("_pool") if pools else f"{used.stem}_pool"
        parts.append(
            f"{'a' if pools else 'no'} max-pool after the first convolution (otherwise "
            f"--model.stem {other})"
        )
    if not told:
        published = ""
        is_timm = used.antialias > 0 and used.antialias_layout == "timm"
        if used.name.startswith("resnet") and not is_timm:
            published = " (timm's resnetblur: --model.antialias 3 --model.antialias-layout timm)"
        parts.append(_name_blur(used) + published)
    return f"Assumed, as weights do not tell: {'; '.join(parts)}."
