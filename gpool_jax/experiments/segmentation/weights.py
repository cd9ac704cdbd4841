"""Weights of a DeepLab that come from PyTorch, read into the network that they belong to."""

import dataclasses
from pathlib import Path

from gpool_jax import models
from gpool_jax.config import SegmentationConfig
from gpool_jax.errors import InputError
from gpool_jax.experiments.experiment import Warn
from gpool_jax.experiments.saved import Snapshot, Snapshots
from gpool_jax.experiments.segmentation import training
from gpool_jax.experiments.training import Setup
from gpool_jax.experiments.weights import as_usual, say_normalisation


def load_weights(config: SegmentationConfig, path: Path, warn: Warn) -> tuple[Setup, Snapshots]:
    """Read weights into the segmentation network that they belong to.

    The architecture, the depth of its encoder, the width and the number of
    classes are read off the file; output stride and rates, which leave no trace in
    weights, are the configuration's or else those usual for the file's layout.

    Raises:
      InputError: if the weights do not fit, or predict other classes than the data's.
    """
    weights = models.read_weights(path)
    for note in weights.notes:
        warn(note)
    detected = models.describe_segmenter(weights.arrays)
    if config.model.name != detected["name"]:
        raise InputError(
            f"`--model`: {weights.file} holds weights of {detected['name']}; got "
            f"{config.model.name}."
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
    model = training.create_model(config.model, detected["num_outputs"])
    variables = models.from_torch(weights.arrays, model, (1, 64, 64, 3))
    setup = training.prepare(config, warn=warn)
    dataset = as_usual(config.data, setup.dataset, "ImageNet")
    setup = dataclasses.replace(setup, dataset=dataset)
    if setup.num_outputs != detected["num_outputs"]:
        raise InputError(
            f"`--weights`: {weights.file} predicts {detected['num_outputs']} classes; the data "
            f"have {setup.num_outputs}."
        )
    notes = [
        *weights.notes,
        detected["summary"],
        f"Used here: output stride {stride}, rates {' '.join(map(str, model.head.rates))}, padding "
        f"{model_config.padding}, stem {model_config.stem}, antialias {model_config.antialias} "
        f"(weights do not tell); {say_normalisation(config.data, dataset, 'ImageNet')}.",
    ]
    return setup, Snapshots([Snapshot("imported", 0, variables)], notes)
