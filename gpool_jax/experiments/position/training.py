"""GAPNet and PermuteNet: train a network to say where an image is, or what it is.

Section 3 of the paper: an image stands in one cell of an n x n canvas of zeros;
the network predicts the cell (location) or the image's class (recognition).
"""

from collections.abc import Callable
from typing import Any

import jax

from gpool_jax import ops
from gpool_jax.config import PositionConfig, checks
from gpool_jax.data import resident
from gpool_jax.data.images import load as sources
from gpool_jax.errors import InputError
from gpool_jax.experiments import classifier, training
from gpool_jax.experiments.experiment import Warn
from gpool_jax.experiments.measures.views import Stimulus
from gpool_jax.experiments.training import Design, Recipe, Setup
from gpool_jax.ops import Maps
from gpool_jax.train.state import TrainState

_NAMES = {"gapnet": "GAPNet", "permutenet": "PermuteNet", "linear": "linear head"}


def network_name(config: PositionConfig) -> str:
    """The network's name in tables."""
    name = _NAMES[config.model.head]
    return name if config.model.permute_at == "gap" else f"{name} @ {config.model.permute_at}"


def prepare(
    config: PositionConfig, *, dataset: sources.Dataset | None = None, warn: Warn = print
) -> Setup:
    """Check everything that can be checked without training; see `experiment.Prepare`."""
    checks.check(config)
    # The network first: it costs nothing, and a typo should not wait for the data.
    classifier.create(config.model, config.n**2)
    if dataset is None:
        dataset = sources.load(config.data, seed=config.seed, warn=warn)
    if config.data.stream and config.eval.num_images is None:
        raise InputError(
            "`eval.num_images` must be given with data.stream: the test images that are used are "
            f"held in memory (there are {len(dataset.test)}); got None."
        )
    num_outputs = config.n**2 if config.task == "location" else dataset.num_classes
    training.check_training(config.train, len(dataset.train))
    training.check_counts(config, dataset, warn)
    return classifier.make_setup(config, dataset, num_outputs=num_outputs, side_factor=config.n)


def stimulus(setup: Setup) -> Stimulus:
    """Return the input whose shifts are compared: a canvas, the image in its middle cell."""
    side, n = min(setup.input_shape[1:3]), setup.config.n
    middle = n // 2 * n + n // 2
    label = middle if setup.config.task == "location" else None
    return Stimulus(source_side=side, view_side=side, canvas=n, label=label)


def draw_permutation(
    key: jax.Array,
    config: PositionConfig,
    index: jax.Array,
    num_channels: int,
    *,
    seed: jax.Array | int,
    per: str,
) -> jax.Array:
    """Permutation of a pass, int32 [C] or [B, C]: redrawn or fixed, per "batch" or "example".

    `index` int [B] are the examples' numbers; a fixed permutation is drawn from the run's seed.
    """
    if config.model.permutation == "fixed":
        return ops.draw_permutation(jax.random.key(seed), num_channels)
    if per == "batch":
        return ops.draw_permutation(key, num_channels)
    return ops.draw_permutations(key, index, num_channels)


def place(design: Design, images: jax.Array, cell: jax.Array) -> Maps:
    """Put each image in its cell of a canvas.

    Returns canvases [B, n*H, n*W, C], or what stands for them where that is faster.
    """
    n = design.config.n
    shared = design.model().shares_background and ops.sharing_pays(
        n, images.shape[1], jax.default_backend()
    )
    return (ops.place_shared if shared else ops.place)(images, cell, n)


def _choose_cells(
    design: Design, labels: jax.Array, choose: Callable[[int], jax.Array]
) -> jax.Array:
    """Cells [B] among all or, if they are bound, among those of each label's class.

    `choose` gives int [B] below a count.
    """
    n = design.config.n
    if design.config.cells == "all":
        return choose(n * n)
    own = ops.bound_cells(design.num_outputs, n)
    return own[labels, choose(own.shape[1])]


def is_permuted(config: PositionConfig) -> bool:
    """Tell whether the network is trained and tested through a permutation.

    A linear head never is: it is the control. A GAPNet has no pooled vector to
    permute, but may be permuted before a stage.
    """
    head, point = config.model.head, config.model.permute_at
    return head == "permutenet" or (head == "gapnet" and point != "gap")


def make_loss_fn(design: Design, axis_name: str | None) -> Callable:
    """Cross-entropy of the task on randomly placed, randomly mirrored images."""
    config, model = design.config, design.model(axis_name)

    def loss_fn(params: Any, batch_stats: Any, batch: dict, key: jax.Array):
        flip_key, cell_key, permutation_key = jax.random.split(key, 3)
        position = batch["position"]
        images = ops.normalise(batch["images"], batch["mean"], batch["std"])
        if config.data.flip:
            images = ops.random_flip(flip_key, images, position)
        cell = _choose_cells(
            design, batch["labels"], lambda count: ops.draw_cells(cell_key, position, count)
        )
        permutation = None
        if is_permuted(config):
            seed, per = batch["seed"], config.model.permute_per
            permutation = draw_permutation(
                permutation_key, config, position, model.num_permutable, seed=seed, per=per
            )
        (logits, _), updates = model.apply(
            {"params": params, "batch_stats": batch_stats},
            place(design, images, cell),
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


def make_validate_batch(design: Design) -> Callable[[Any, dict, dict], dict[str, jax.Array]]:
    """The device program: `(variables, data, inputs) -> loss and accuracy` of each image."""
    config, model = design.config, design.model()

    def validate_batch(variables: Any, data: dict, inputs: dict) -> dict[str, jax.Array]:
        batch = resident.fetch(data["resident"], inputs)
        index = batch["index"]
        images = ops.normalise(batch["images"], data["mean"], data["std"])
        # Neighbouring rows share a class in some sources: spread cells by a prime.
        cell = _choose_cells(design, batch["labels"], lambda count: index * 7919 % count)
        permutation = None
        if is_permuted(config):
            key, seed = jax.random.key(data["seed"]), data["seed"]
            permutation = draw_permutation(
                key, config, index, model.num_permutable, seed=seed, per="example"
            )
        logits, _ = model.apply(variables, place(design, images, cell), permutation=permutation)
        labels = cell if config.task == "location" else batch["labels"]
        return {"loss": ops.cross_entropy(logits, labels), "accuracy": logits.argmax(-1) == labels}

    return validate_batch


def make_validate(setup: Setup) -> Callable[[TrainState], dict[str, float]]:
    """Validation of a state: every validation image in one cell."""
    return training.make_validate(setup, make_validate_batch, setup.config.eval.batch_size)


def recipe(setup: Setup) -> Recipe:
    """Return how a classifier of canvases is trained."""
    config = setup.config
    return Recipe(make_loss_fn, make_validate, title=f"{config.model.head} {config.task}")
