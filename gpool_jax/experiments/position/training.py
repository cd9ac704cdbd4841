"""GAPNet and PermuteNet: train a network to say where an image is, or what it is.

Section 3 of the paper: an image stands in one cell of an n x n canvas of zeros;
the network answers with the cell (location) or the image's class (recognition).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from gpool_jax import ops
from gpool_jax.config import PositionConfig, checks
from gpool_jax.data.images import load as sources
from gpool_jax.errors import InputError
from gpool_jax.experiments import training
from gpool_jax.experiments.training import Setup
from gpool_jax.models import Classifier
from gpool_jax.ops.placed import Map
from gpool_jax.train import parallel
from gpool_jax.train.state import TrainState


def prepare(
    config: PositionConfig,
    *,
    dataset: sources.Dataset | None = None,
    warn: Callable[[str], None] = print,
) -> Setup:
    """Check a config as far as it can be checked without training.

    Args:
      config: of the run.
      dataset: already loaded, to share one between runs.
      warn: receives one line about a damaged cache.

    Raises:
      InputError: naming the field, the bad value and what is allowed.
    """
    checks.check(config)
    # The network first: it costs nothing, and a typo should not wait for the data.
    training.create_model(config.model, config.n**2)
    if dataset is None:
        dataset = sources.load(config.data, seed=config.seed, warn=warn)
    if config.data.stream and config.eval.num_images is None:
        raise InputError(
            "`eval.num_images` must be given with data.stream: the test images that are used are "
            f"held in memory (there are {len(dataset.test)}); got None."
        )
    cells = config.n * config.n
    num_outputs = cells if config.task == "location" else dataset.num_classes
    return training.make_setup(config, dataset, num_outputs=num_outputs, side_factor=config.n)


def draw_permutation(
    key: jax.Array, config: PositionConfig, index: jax.Array, num_channels: int, *, per: str
) -> jax.Array:
    """The permutation of a pass: redrawn or fixed, for the batch or per example.

    Returns:
      int32 [C] or [B, C].
    """
    if config.model.permutation == "fixed":
        return ops.draw_permutation(jax.random.key(config.seed), num_channels)
    if per == "batch":
        return ops.draw_permutation(key, num_channels)
    return ops.draw_permutations(key, index, num_channels)


def place(setup: Setup, images: jax.Array, cell: jax.Array) -> Map:
    """Each image in its cell of a canvas.

    Returns:
      What the network takes: canvases [B, n*H, n*W, C], or what stands for them
      where the network computes faster with that.
    """
    n = setup.config.n
    shared = setup.model.shares_background and ops.sharing_pays(
        n, images.shape[1], jax.default_backend()
    )
    return (ops.place_shared if shared else ops.place)(images, cell, n)


def is_permuted(config: PositionConfig) -> bool:
    """Whether the network is trained and tested through a permutation.

    A linear head never is: it is the control. A GAPNet has no pooled vector to
    permute, but may be permuted before a stage.
    """
    head, point = config.model.head, config.model.permute_at
    return head == "permutenet" or (head == "gapnet" and point != "gap")


def make_loss_fn(setup: Setup, model: Classifier) -> Callable:
    """Cross-entropy of the task on randomly placed, randomly mirrored images."""
    config, dataset = setup.config, setup.dataset

    def loss_fn(params: Any, batch_stats: Any, batch: dict, key: jax.Array):
        flip_key, cell_key, permutation_key = jax.random.split(key, 3)
        position = batch["position"]
        images = ops.normalise(batch["images"], dataset.mean, dataset.std)
        if config.data.flip:
            images = ops.random_flip(flip_key, images, position)
        cell = ops.draw_cells(cell_key, position, config.n)
        permutation = None
        if is_permuted(config):
            permutation = draw_permutation(
                permutation_key,
                config,
                position,
                model.num_permutable,
                per=config.model.permute_per,
            )
        (logits, _), updates = model.apply(
            {"params": params, "batch_stats": batch_stats},
            place(setup, images, cell),
            train=True,
            permutation=permutation,
            mutable=["batch_stats"],
        )
        labels = cell if config.task == "location" else batch["labels"]
        losses = ops.cross_entropy(logits, labels, label_smoothing=config.train.label_smoothing)
        metrics = {
            "loss": ops.masked_sum(losses),
            "accuracy": ops.masked_sum(logits.argmax(-1) == labels),
        }
        return losses.mean(), {"batch_stats": updates["batch_stats"], "metrics": metrics}

    return loss_fn


def make_validate_batch(setup: Setup) -> Callable[[Any, dict, dict], dict[str, jax.Array]]:
    """The device program: `(variables, data, inputs) -> loss and accuracy` of each image."""
    config, dataset, model = setup.config, setup.dataset, setup.model

    def validate_batch(variables: Any, data: dict, inputs: dict) -> dict[str, jax.Array]:
        index = inputs["index"]
        example = inputs.get("example", index)
        images = ops.normalise(data["images"][index], dataset.mean, dataset.std)
        # Neighbouring rows share a class in some sources: spread cells by a prime.
        cell = example * 7919 % (config.n * config.n)
        permutation = None
        if is_permuted(config):
            key = jax.random.key(config.seed)
            count = model.num_permutable
            permutation = draw_permutation(key, config, example, count, per="example")
        logits, _ = model.apply(variables, place(setup, images, cell), permutation=permutation)
        labels = cell if config.task == "location" else data["labels"][index]
        return {
            "loss": ops.cross_entropy(logits, labels),
            "accuracy": logits.argmax(-1) == labels,
        }

    return validate_batch


def make_validate(setup: Setup) -> Callable[[TrainState], dict[str, float]]:
    """Validation of a state: every validation image in one cell."""
    return training.make_validate(setup, make_validate_batch(setup), setup.config.eval.batch_size)


def make_recipe(setup: Setup) -> training.Recipe:
    """How a classifier of canvases is trained."""
    return training.Recipe(
        loss_fn=make_loss_fn(setup, setup.create_model(parallel.AXIS)),
        make_feed=training.make_feed,
        make_validate=make_validate,
    )


def train(
    setup: Setup, folder: Path, *, title: str = "train", warn: Callable[[str], None] = print
) -> TrainState:
    """Train in a folder, or go on with what is in it; see `training.train`."""
    return training.train(setup, make_recipe(setup), folder, title=title, warn=warn)
