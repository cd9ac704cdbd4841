"""Train DeepLab, which predicts a class for every pixel.

Section 5 of the paper: segmentation relies on channels that carry position.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax import models, ops
from gpool_jax.config import PixelLossConfig, SegmentationConfig, SegmenterConfig, checks
from gpool_jax.data.pixels.files import IGNORE
from gpool_jax.data.pixels.load import PixelDataset, load
from gpool_jax.errors import InputError
from gpool_jax.experiments import training
from gpool_jax.experiments.experiment import Warn
from gpool_jax.experiments.programs import shared
from gpool_jax.experiments.training import Design, Recipe, Setup
from gpool_jax.train import parallel
from gpool_jax.train.optimizer import evaluated_variables
from gpool_jax.train.state import TrainState

# What picks the best checkpoint.
SELECT_BY = "miou"


def create_model(
    config: SegmenterConfig, num_outputs: int, axis_name: str | None = None
) -> models.Segmenter:
    """The network of a config; see `models.create_segmenter`."""
    return models.create_segmenter(
        config.name,
        num_outputs=num_outputs,
        padding=config.padding,
        stem=config.stem,
        width=config.width,
        antialias=config.antialias,
        output_stride=config.output_stride or 16,
        rates=config.rates,
        dropout=config.dropout,
        dtype=config.dtype,
        axis_name=axis_name,
    )


def prepare(
    config: SegmentationConfig, *, dataset: PixelDataset | None = None, warn: Warn = print
) -> Setup:
    """Check everything that can be checked without training; see `experiment.Prepare`."""
    checks.check(config)
    # The network first: it costs nothing, and a typo should not wait for the data.
    create_model(config.model, 2)
    if dataset is None:
        dataset = load(config.data, seed=config.seed, warn=warn)
    weights = config.loss.class_weights
    if weights is not None and len(weights) != dataset.num_classes:
        raise InputError(
            f"`loss.class_weights` must be {dataset.num_classes} numbers, one per class; got "
            f"{len(weights)}."
        )
    training.check_training(config.train, len(dataset.train))
    training.check_counts(config, dataset, warn)
    height, width, channels = dataset.train.image_shape
    shape = (1, *(config.data.crop or (height, width)), channels)
    return Setup(config, dataset, create_model, dataset.num_classes, shape)


def augment(
    key: jax.Array, batch: dict[str, jax.Array], full_config: SegmentationConfig
) -> tuple[jax.Array, jax.Array]:
    """Randomly scaled, cropped, mirrored and recoloured images, normalised, with their labels.

    Args:
      key: PRNG key, the same on every device.
      batch: `images` uint8 [B, H, W, 3], `labels` [B, H, W], `position` [B], `mean` and
        `std` [3]. Images of a stream are scaled and cropped already.
      full_config: the run's configuration.

    Returns:
      float32 [B, h, w, 3] and labels [B, h, w].
    """
    config = full_config.data
    keys = jax.random.split(key, 3)
    position, labels = batch["position"], batch["labels"]
    images = batch["images"].astype(jnp.float32) / 255.0
    if not config.stream:
        images, labels = ops.random_scale_crop(
            keys[0],
            images,
            labels,
            position,
            size=config.crop or (images.shape[1], images.shape[2]),
            min_scale=config.min_scale,
            max_scale=config.max_scale,
            fill=batch["mean"],
            ignore=IGNORE,
        )
    if config.jitter > 0:
        images = ops.colour_jitter(keys[1], images, position, strength=config.jitter)
    if config.flip:
        images = ops.random_flip(keys[2], images, position)
        labels = ops.random_flip(keys[2], labels[..., None], position)[..., 0]
    return ops.normalise(images, batch["mean"], batch["std"]), labels


def pixel_losses(
    loss: PixelLossConfig, logits: jax.Array, labels: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Loss and weight of every pixel; see `ops.pixel_cross_entropy`."""
    weights = None if loss.class_weights is None else jnp.array(loss.class_weights)
    return ops.pixel_cross_entropy(
        logits, labels, class_weights=weights, focal_gamma=loss.focal_gamma
    )


def make_loss_fn(design: Design, axis_name: str | None) -> Callable:
    """Mean loss over the labelled pixels of the whole batch, on all devices of `axis_name`."""
    config, model = design.config, design.model(axis_name)

    def loss_fn(params: Any, batch_stats: Any, batch: dict, key: jax.Array):
        augment_key, dropout_key = jax.random.split(key)
        images, labels = augment(augment_key, batch, config)
        (logits, _), updates = model.apply(
            {"params": params, "batch_stats": batch_stats},
            images,
            train=True,
            dropout_keys=ops.example_keys(dropout_key, batch["position"]),
            mutable=["batch_stats"],
        )
        losses, weights = pixel_losses(config.loss, logits, labels)
        total = weights.sum()
        # Devices hold different numbers of labelled pixels: each counts by its pixels.
        mean_total = total if axis_name is None else jax.lax.pmean(total, axis_name)
        loss = (losses * weights).sum() / jnp.maximum(mean_total, 1e-6)
        labelled = labels < design.num_outputs
        metrics = {
            "loss": ((losses * weights).sum(), total),
            "accuracy": ops.masked_sum(logits.argmax(-1) == labels, mask=labelled),
        }
        return loss, {"batch_stats": updates["batch_stats"], "metrics": metrics}

    return loss_fn


def make_count_batch(design: Design) -> Callable[[Any, dict, dict], dict[str, jax.Array]]:
    """The device program: `(variables, constants, inputs) -> confusion, loss, weight`."""
    model = design.model()

    def count_batch(variables: Any, data: dict, inputs: dict) -> dict[str, jax.Array]:
        images = ops.normalise(inputs["images"], data["mean"], data["std"])
        logits, _ = model.apply(variables, images)
        labels = inputs["labels"].astype(jnp.int32)
        losses, weights = pixel_losses(design.config.loss, logits, labels)
        everywhere = np.ones((1, *labels.shape[1:]), bool)
        confusion = ops.confusion_matrix(
            logits.argmax(-1), labels, everywhere, num_classes=design.num_outputs
        )
        return {
            "confusion": confusion[:, 0],
            "loss": (losses * weights).sum(axis=(1, 2)),
            "weight": weights.sum(axis=(1, 2)),
        }

    return count_batch


def make_count(
    setup: Setup, split: Any, batch_size: int, *, together: bool = False
) -> Callable[[Any], dict[str, np.ndarray]]:
    """Return a function that counts confusion [N, K, K], loss and weight [N] of a split's images.

    `batch_size` and `together` are those of `training.run_batches`.
    """
    run = shared(parallel.map_batch, make_count_batch, setup.design)
    constants = parallel.replicate(setup.constants)

    def count(variables: Any) -> dict[str, np.ndarray]:
        variables = parallel.replicate(variables)

        def count_rows(rows: np.ndarray) -> dict[str, np.ndarray]:
            inputs = parallel.shard(split.batch(rows))
            return parallel.unshard(run(variables, constants, inputs))

        return training.run_batches(count_rows, len(split), batch_size, together=together)

    return count


def make_validate(setup: Setup) -> Callable[[TrainState], dict[str, float]]:
    """Validation of a state: mean IoU, pixel accuracy and loss of the validation images."""
    config = setup.config
    val = setup.dataset.val.draw(config.train.num_val, seed=config.seed)
    count = make_count(setup, val, config.eval.batch_size, together=True)

    def validate(state: TrainState) -> dict[str, float]:
        counted = count(evaluated_variables(state, setup.config.train.ema_decay))
        counts = np.asarray(ops.class_counts(counted["confusion"])).sum(axis=0, dtype=np.int64)
        if not counts[1].any():
            return {}  # no pixel has a label
        return {
            "loss": float(counted["loss"].sum() / max(counted["weight"].sum(), 1e-6)),
            "accuracy": float(ops.pixel_accuracy(counts)),
            SELECT_BY: float(ops.mean_iou(counts)),
        }

    return validate


def recipe(setup: Setup) -> Recipe:
    """Return how a segmenter is trained."""
    return Recipe(make_loss_fn, make_validate, title=setup.config.model.name, select_by=SELECT_BY)
