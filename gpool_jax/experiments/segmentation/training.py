"""Train DeepLab: a label for every pixel, the network whose position channels are attacked.

Section 5 of the paper: segmentation relies on channels that carry position.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax import models, ops
from gpool_jax.config import SegmentationConfig, SegmenterConfig, checks
from gpool_jax.data import resident
from gpool_jax.data.images import splits
from gpool_jax.data.pixels import load as segmentation
from gpool_jax.errors import InputError
from gpool_jax.experiments import training
from gpool_jax.experiments.training import Setup
from gpool_jax.train import loop, parallel, processes
from gpool_jax.train.optimizer import evaluated_variables, make_optimizer
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


class SegmentationSetup(Setup):
    """A `Setup` whose network is a segmenter."""

    def create_model(self, axis_name: str | None) -> models.Segmenter:
        """The network of the config, with or without a data axis."""
        return create_model(self.config.model, self.num_outputs, axis_name)


def prepare(
    config: SegmentationConfig,
    *,
    dataset: segmentation.PixelDataset | None = None,
    warn: Callable[[str], None] = print,
) -> SegmentationSetup:
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
    create_model(config.model, 2)
    if dataset is None:
        dataset = segmentation.load(config.data, seed=config.seed, warn=warn)
    weights = config.loss.class_weights
    if weights is not None and len(weights) != dataset.num_classes:
        raise InputError(
            f"`loss.class_weights` must be {dataset.num_classes} numbers, one per class; got "
            f"{len(weights)}."
        )
    training.check_training(config.train, len(dataset.train))
    height, width, channels = dataset.train.image_shape
    return SegmentationSetup(
        config=config,
        dataset=dataset,
        model=create_model(config.model, dataset.num_classes),
        optimizer=make_optimizer(config.train),
        input_shape=(1, *crop_size(config, (height, width)), channels),
        num_outputs=dataset.num_classes,
    )


def crop_size(config: SegmentationConfig, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of what is trained on."""
    return config.data.crop or size


def augment(
    key: jax.Array, batch: dict[str, jax.Array], setup: Setup
) -> tuple[jax.Array, jax.Array]:
    """Randomly scaled, cropped, mirrored and recoloured images, normalised, with their labels.

    Args:
      key: PRNG key, the same on every device.
      batch: `images` uint8 [B, H, W, 3], `labels` [B, H, W], `position` [B]. Those of
        a stream are scaled and cropped already.
      setup: of the run.

    Returns:
      float32 [B, h, w, 3] and labels [B, h, w].
    """
    config, dataset = setup.config.data, setup.dataset
    keys = jax.random.split(key, 3)
    position, labels = batch["position"], batch["labels"]
    images = batch["images"].astype(jnp.float32) / 255.0
    if not config.stream:
        images, labels = ops.random_scale_crop(
            keys[0],
            images,
            labels,
            position,
            size=crop_size(setup.config, (images.shape[1], images.shape[2])),
            min_scale=config.min_scale,
            max_scale=config.max_scale,
            fill=jnp.array(dataset.mean, jnp.float32),
            ignore=segmentation.IGNORE,
        )
    if config.jitter > 0:
        images = ops.colour_jitter(keys[1], images, position, strength=config.jitter)
    if config.flip:
        images = ops.random_flip(keys[2], images, position)
        labels = ops.random_flip(keys[2], labels[..., None], position)[..., 0]
    return ops.normalise(images, dataset.mean, dataset.std), labels


def pixel_losses(setup: Setup, logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The config's loss of every pixel, and its weight; see `ops.pixel_cross_entropy`."""
    loss = setup.config.loss
    weights = None if loss.class_weights is None else jnp.array(loss.class_weights)
    return ops.pixel_cross_entropy(
        logits, labels, class_weights=weights, focal_gamma=loss.focal_gamma
    )


def make_loss_fn(setup: Setup, axis_name: str | None) -> Callable:
    """Mean loss over the labelled pixels of the whole batch.

    Args:
      setup: of the run.
      axis_name: mapped axis over which batch statistics and pixel counts are shared.
    """
    model = setup.create_model(axis_name)

    def loss_fn(params: Any, batch_stats: Any, batch: dict, key: jax.Array):
        augment_key, dropout_key = jax.random.split(key)
        images, labels = augment(augment_key, batch, setup)
        (logits, _), updates = model.apply(
            {"params": params, "batch_stats": batch_stats},
            images,
            train=True,
            dropout_keys=ops.example_keys(dropout_key, batch["position"]),
            mutable=["batch_stats"],
        )
        losses, weights = pixel_losses(setup, logits, labels)
        total = weights.sum()
        # Devices hold different numbers of labelled pixels: each counts by its pixels.
        mean_total = total if axis_name is None else jax.lax.pmean(total, axis_name)
        loss = (losses * weights).sum() / jnp.maximum(mean_total, 1e-6)
        labelled = labels < setup.num_outputs
        metrics = {
            "loss": ((losses * weights).sum(), total),
            "accuracy": ops.masked_sum(logits.argmax(-1) == labels, labelled),
        }
        return loss, {"batch_stats": updates["batch_stats"], "metrics": metrics}

    return loss_fn


def make_count_batch(setup: Setup) -> Callable[[Any, dict, dict], dict[str, jax.Array]]:
    """The device program: `(variables, _, {"images", "labels"}) -> confusion, loss, weight`."""
    dataset = setup.dataset

    def count_batch(variables: Any, _data: Any, inputs: dict) -> dict[str, jax.Array]:
        images = ops.normalise(inputs["images"], dataset.mean, dataset.std)
        logits, _ = setup.model.apply(variables, images)
        labels = inputs["labels"].astype(jnp.int32)
        losses, weights = pixel_losses(setup, logits, labels)
        everywhere = np.ones((1, *labels.shape[1:]), bool)
        confusion = ops.confusion_matrix(
            logits.argmax(-1), labels, everywhere, num_classes=setup.num_outputs
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
    """Confusion matrix int [N, K, K], loss and weight [N] of every image of a split.

    Args:
      setup: of the run.
      split: of its data.
      batch_size: images per device and pass, at most.
      together: each process counts its share of every batch, and all get all; else
        the process that asks counts everything.
    """
    devices = jax.device_count() if together else jax.local_device_count()
    per_device = min(batch_size, -(-len(split) // devices))
    batches = resident.padded_batches(len(split), devices * per_device)
    run = parallel.map_batch(make_count_batch(setup))

    def count(variables: Any) -> dict[str, np.ndarray]:
        variables, parts = parallel.replicate(variables), []
        for batch in batches:
            index = processes.own_share(batch["index"]) if together else batch["index"]
            inputs = parallel.shard(split.batch(index))
            outputs = parallel.unshard(run(variables, {}, inputs))
            outputs = parallel.gather(outputs) if together else outputs
            parts.append({k: v[batch["mask"]] for k, v in outputs.items()})
        return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}

    return count


def make_validate(setup: Setup) -> Callable[[TrainState], dict[str, float]]:
    """Validation of a state: mean IoU, pixel accuracy and loss of the validation images."""
    config, val = setup.config, setup.dataset.val
    if config.train.num_val is not None:
        val = val.take(splits.draw_rows(val, config.train.num_val, seed=config.seed))
    count = make_count(setup, val, config.eval.batch_size, together=True)

    def validate(state: TrainState) -> dict[str, float]:
        found = count(evaluated_variables(state))
        counts = np.asarray(ops.class_counts(found["confusion"])).sum(axis=0, dtype=np.int64)
        return {
            "loss": float(found["loss"].sum() / max(found["weight"].sum(), 1e-6)),
            "accuracy": float(ops.pixel_accuracy(counts)),
            SELECT_BY: float(ops.mean_iou(counts)),
        }

    return validate


def make_feed(setup: Setup) -> loop.Feed:
    """The training images, on the devices; or from disk, if the set is streamed."""
    config, split = setup.config, setup.dataset.train
    if isinstance(split, segmentation.PixelSplit):
        return resident.ResidentFeed(
            split,
            batch_size=config.train.batch_size,
            seed=config.seed,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
    return segmentation.make_feed(
        split,
        config.data,
        batch_size=config.train.batch_size,
        seed=config.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def make_recipe(setup: Setup) -> training.Recipe:
    """How a segmenter is trained."""
    return training.Recipe(
        loss_fn=make_loss_fn(setup, parallel.AXIS),
        make_feed=make_feed,
        make_validate=make_validate,
        select_by=SELECT_BY,
    )


def train(
    setup: Setup, folder: Path, *, title: str = "train", warn: Callable[[str], None] = print
) -> TrainState:
    """Train in a folder, or go on with what is in it; see `training.train`."""
    return training.train(setup, make_recipe(setup), folder, title=title, warn=warn)
