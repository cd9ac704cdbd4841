"""AugShift: train a network on shifted views, with a loss that brings their latents together.

The second part of the paper, whose code was never released: a shifting
augmentation, and a loss on the pooled latents of differently shifted copies of
an image. Measured afterwards: how consistent its predictions are under shift
(`consistency`), and how well position can still be read from its latent.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gpool_jax import models, ops
from gpool_jax.config import InvarianceConfig, ShiftConfig, checks
from gpool_jax.data import resident
from gpool_jax.data.images import load as sources
from gpool_jax.errors import InputError
from gpool_jax.experiments import classifier, training
from gpool_jax.experiments.experiment import Warn
from gpool_jax.experiments.measures import consistency, probing, views
from gpool_jax.experiments.training import Design, Recipe, Setup
from gpool_jax.train.state import TrainState


def network_name(config: InvarianceConfig) -> str:
    """The network's name in tables: what it was trained with."""
    shift = config.shift
    name = "baseline"
    if shift.augment:
        name = "AugShift" if shift.weight > 0 else "shift augmentation"
    elif shift.weight > 0:
        name = "invariance loss"
    model = config.model
    added = [f"BlurPool-{model.antialias}"] if model.antialias else []
    added += ["APS"] if model.subsampling == "aps" else []
    return " + ".join(added if added and name == "baseline" else [name, *added])


def prepare(
    config: InvarianceConfig, *, dataset: sources.Dataset | None = None, warn: Warn = print
) -> Setup:
    """Check everything that can be checked without training; see `experiment.Prepare`."""
    checks.check(config)
    # The network first: it costs nothing, and a typo should not wait for the data.
    classifier.create(config.model, 2)
    if config.model.head == "permutenet":
        raise InputError(
            "`model.head` must be linear or gapnet to train for invariance; got 'permutenet'."
        )
    if dataset is None:
        dataset = sources.load(config.data, seed=config.seed, warn=warn)
    training.check_training(config.train, len(dataset.train))
    training.check_counts(config, dataset, warn)
    setup = classifier.make_setup(config, dataset, num_outputs=dataset.num_classes)
    check(setup)
    return setup


def check(setup: Setup) -> None:
    """Raise for shifts, protocols or probes that the images or the network do not allow."""
    shift, (side, width) = setup.config.shift, setup.input_shape[1:3]
    if side != width:
        raise InputError(
            f"`data`: shifts need square images; got {side} by {width} (`data.side` resizes)."
        )
    if shift.max_shift >= side:
        raise InputError(
            f"`shift.max_shift` must be smaller than the image side {side}; got {shift.max_shift}."
        )
    if shift.mode == "crop":
        if 2 * shift.max_shift >= side:
            raise InputError(
                f"`shift.max_shift` must be less than half the image side {side} for crops; got "
                f"{shift.max_shift}."
            )
        models.check_input_side(
            setup.model, view_side(setup.design), "a crop (the image minus 2 `shift.max_shift`)"
        )
    consistency.check(setup, stimulus(setup))
    if setup.config.probe.enabled:
        n = setup.config.n
        models.check_input_side(setup.model, n * side, f"a canvas of `n` = {n} images a side")
    probing.check(setup)


def view_side(design: Design) -> int:
    """Side of what the network is trained on: the image, or a crop of it."""
    side, shift = min(design.input_shape[1:3]), design.config.shift
    return side - 2 * shift.max_shift if shift.mode == "crop" else side


def stimulus(setup: Setup) -> views.Stimulus:
    """Return the input whose shifts are compared: the image."""
    source = min(setup.dataset.test.image_shape[:2])
    return views.Stimulus(source_side=source, view_side=view_side(setup.design))


def make_views(
    key: jax.Array, images: jax.Array, position: jax.Array, config: ShiftConfig, *, flip: bool
) -> jax.Array:
    """Differently shifted views [V, B, h, w, C] of images [B, H, W, C]; crops are smaller.

    Images are normalised: zeros that enter are the mean colour. Where views are shifted, all
    views of an image share one mirroring, so that they differ by the shift alone; where they
    are not, each view is mirrored by itself, or they would be copies. `position` int [B] is
    each example's place in the global batch.
    """
    flip_key, shift_key = jax.random.split(key)
    room = 2 * config.max_shift if config.mode == "crop" else 0
    side = images.shape[1] - room

    def view(number: int) -> jax.Array:
        seen = images
        if flip:
            own = flip_key if config.augment else jax.random.fold_in(flip_key, number)
            seen = ops.random_flip(own, seen, position)
        if not config.augment:
            return views.central(seen, side)
        own = jax.random.fold_in(shift_key, number)
        offset = ops.draw_shifts(own, position, config.max_shift)
        if config.mode == "crop":
            # The corner moves against the content.
            corner = config.max_shift - offset
            return ops.crop(seen, corner, side)
        return ops.shift(seen, offset, mode=config.mode)

    return jnp.stack([view(number) for number in range(config.views)])


def make_loss_fn(design: Design, axis_name: str | None) -> Callable:
    """Cross-entropy of the views, and the invariance loss between their latents."""
    config, model = design.config, design.model(axis_name)
    shift: ShiftConfig = config.shift

    def loss_fn(params: Any, batch_stats: Any, batch: dict, key: jax.Array):
        images = ops.normalise(batch["images"], batch["mean"], batch["std"])
        seen = make_views(key, images, batch["position"], shift, flip=config.data.flip)
        (logits, features), updates = model.apply(
            {"params": params, "batch_stats": batch_stats},
            # One pass: the views share their batch statistics.
            seen.reshape(-1, *seen.shape[2:]),
            train=True,
            mutable=["batch_stats"],
        )
        classified = shift.views if shift.classify == "all" else 1
        logits = logits[: classified * len(images)]
        labels = jnp.tile(batch["labels"], classified)
        losses = ops.cross_entropy(logits, labels, label_smoothing=config.train.label_smoothing)
        metrics = {
            "cross_entropy": ops.masked_sum(losses),
            "accuracy": ops.masked_sum(logits.argmax(-1) == labels),
        }
        loss = losses.mean()
        if shift.views > 1:
            latent = features["gap"].reshape(shift.views, len(images), -1)
            apart = ops.invariance_loss(
                latent,
                norm=shift.norm,
                normalise=shift.normalise,
                stop_gradient=shift.stop_gradient,
                axis_name=axis_name,
            )
            metrics["invariance"] = ops.masked_sum(apart)
            loss = loss + weight_at(batch["step"], shift) * apart.mean()
        metrics["loss"] = ops.masked_sum(jnp.full(len(images), loss))
        return loss, {"batch_stats": updates["batch_stats"], "metrics": metrics}

    return loss_fn


def weight_at(step: jax.Array, config: ShiftConfig) -> jax.Array:
    """Weight of the invariance loss at a step (counted from 0), warm-up included."""
    share = (step + 1) / max(1, config.warmup_steps)
    return config.weight * jnp.minimum(1.0, share.astype(jnp.float32))


def make_validate_batch(design: Design) -> Callable[[Any, dict, dict], dict[str, jax.Array]]:
    """The device program: `(variables, data, inputs) -> loss and accuracy` of each image."""
    model, side = design.model(), view_side(design)

    def validate_batch(variables: Any, data: dict, inputs: dict) -> dict[str, jax.Array]:
        batch = resident.fetch(data["resident"], inputs)
        images = ops.normalise(batch["images"], data["mean"], data["std"])
        logits, _ = model.apply(variables, views.central(images, side))
        labels = batch["labels"]
        return {"loss": ops.cross_entropy(logits, labels), "accuracy": logits.argmax(-1) == labels}

    return validate_batch


def make_validate(setup: Setup) -> Callable[[TrainState], dict[str, float]]:
    """Validation on whole images."""
    batch_size = setup.config.consistency.batch_size
    return training.make_validate(setup, make_validate_batch, batch_size)


def recipe(setup: Setup) -> Recipe:
    """Return how a classifier of shifted views is trained."""
    return Recipe(make_loss_fn, make_validate, title=network_name(setup.config))
