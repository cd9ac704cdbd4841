"""Classification networks: made from a configuration, and checked with their data."""

from typing import Any

from gpool_jax import models
from gpool_jax.config import ModelConfig
from gpool_jax.data.images.load import Dataset
from gpool_jax.experiments.training import Setup
from gpool_jax.models import Classifier
from gpool_jax.models.own import OwnEncoder, check_input


def create(config: ModelConfig, num_outputs: int, axis_name: str | None = None) -> Classifier:
    """The network of a configuration; see `models.create`."""
    return models.create(
        config.name,
        num_outputs=num_outputs,
        head=config.head,
        padding=config.padding,
        stem=config.stem,
        width=config.width,
        antialias=config.antialias,
        antialias_layout=config.antialias_layout,
        subsampling=config.subsampling,
        permute_at=config.permute_at,
        dtype=config.dtype,
        axis_name=axis_name,
    )


def make_setup(config: Any, dataset: Dataset, *, num_outputs: int, side_factor: int = 1) -> Setup:
    """Put a checked configuration and its data together.

    The network's input has `side_factor` sides of an image.

    Raises:
      InputError: if the image or the canvas is too small for the network.
    """
    height, width, channels = dataset.train.image_shape
    what = "the image" if side_factor == 1 else f"a canvas of `n` = {side_factor} images a side"
    model = create(config.model, num_outputs)
    for side in (height, width):
        models.check_input_side(model, side_factor * side, what)
    shape = (1, side_factor * height, side_factor * width, channels)
    if isinstance(model.backbone, OwnEncoder):
        check_input(model.backbone, shape)
    return Setup(config, dataset, create, num_outputs, shape)
