"""GAPNet and PermuteNet: train a network to say where an image is, or what it is.

Section 3 of the paper: an image stands in one cell of an n x n canvas of zeros;
the network answers with the cell (location) or the image's class (recognition).
"""

import dataclasses
import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from gpool_jax import config as configs
from gpool_jax import models, ops
from gpool_jax.config import PositionConfig
from gpool_jax.data import resident, sources, splits
from gpool_jax.errors import InputError
from gpool_jax.experiments import workdir
from gpool_jax.models import Classifier
from gpool_jax.train import loop, parallel
from gpool_jax.train.checkpoint import Checkpoints
from gpool_jax.train.optimizer import evaluated_variables, make_optimizer
from gpool_jax.train.state import TrainState, create_state
from gpool_jax.train.step import make_train_step


@dataclasses.dataclass(frozen=True)
class Setup:
    """What training and evaluation share: a checked config, its data and its network.

    Attributes:
      config: of the run.
      dataset: three splits.
      model: without a data axis, for evaluation.
      optimizer: Adam of the config.
      input_shape: (1, n*H, n*W, C) of a canvas.
    """

    config: PositionConfig
    dataset: sources.Dataset
    model: Classifier
    optimizer: optax.GradientTransformation
    input_shape: tuple[int, ...]

    @property
    def num_outputs(self) -> int:
        """Classes of the task."""
        cells = self.config.n * self.config.n
        return cells if self.config.task == "location" else self.dataset.num_classes

    def create_model(self, axis_name: str | None) -> Classifier:
        """The network of the config, with or without a data axis."""
        return _create_model(self.config, self.num_outputs, axis_name)

    def init_state(self) -> TrainState:
        """A fresh state, the same for every run of the same seed."""
        key = jax.random.key(self.config.seed)
        return create_state(key, self.model, self.optimizer, self.input_shape)


def _create_model(config: PositionConfig, num_outputs: int, axis_name: str | None) -> Classifier:
    model = config.model
    return models.create(
        model.name,
        num_outputs=num_outputs,
        head=model.head,
        padding=model.padding,
        stem=model.stem,
        width=model.width,
        permute_at=model.permute_at,
        dtype=model.dtype,
        axis_name=axis_name,
    )


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
    configs.check(config)
    # The network first: it costs nothing, and a typo should not wait for the data.
    _create_model(config, config.n**2, None)
    if dataset is None:
        dataset = sources.load(config.data, seed=config.seed, warn=warn)
    _check_training(config, len(dataset.train))
    height, width, channels = dataset.train.images.shape[1:]
    cells = config.n * config.n
    num_outputs = cells if config.task == "location" else dataset.num_classes
    model = _create_model(config, num_outputs, None)
    models.check_input_side(model, config.n * min(height, width))
    return Setup(
        config=config,
        dataset=dataset,
        model=model,
        optimizer=make_optimizer(config.train),
        input_shape=(1, config.n * height, config.n * width, channels),
    )


def _check_training(config: PositionConfig, num_examples: int) -> None:
    """Raise unless every device gets its share of a batch, and the logs can be written."""
    parallel.check_batch(config.train.batch_size)
    if config.train.batch_size > num_examples:
        raise InputError(
            f"`train.batch_size` must be at most the {num_examples} training images; "
            f"got {config.train.batch_size}."
        )
    if config.train.tensorboard and importlib.util.find_spec("tensorboardX") is None:
        raise InputError("`train.tensorboard` needs tensorboardX; install it, or leave it out.")


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
            ops.place(images, cell, config.n),
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
        images = ops.normalise(data["images"][index], dataset.mean, dataset.std)
        # Neighbouring rows share a class in some sources: spread cells by a prime.
        cell = index * 7919 % (config.n * config.n)
        permutation = None
        if is_permuted(config):
            key = jax.random.key(config.seed)
            count = model.num_permutable
            permutation = draw_permutation(key, config, index, count, per="example")
        logits, _ = model.apply(
            variables, ops.place(images, cell, config.n), permutation=permutation
        )
        labels = cell if config.task == "location" else data["labels"][index]
        return {
            "loss": ops.cross_entropy(logits, labels),
            "accuracy": logits.argmax(-1) == labels,
        }

    return validate_batch


def make_validate(setup: Setup) -> Callable[[TrainState], dict[str, float]]:
    """Validation of a state: every validation image in one cell, the same each time."""
    config, val = setup.config, setup.dataset.val
    if config.train.num_val is not None:
        rows = splits.stratified_rows(val.labels, config.train.num_val, seed=config.seed)
        val = val.take(rows)
    data = parallel.replicate(resident.arrays(val))
    devices = jax.local_device_count()
    per_device = min(config.eval.batch_size, -(-len(val) // devices))
    batches = resident.padded_batches(len(val), devices * per_device)
    run = parallel.map_batch(make_validate_batch(setup))

    def validate(state: TrainState) -> dict[str, float]:
        parts = []
        for batch in batches:
            inputs = parallel.shard({"index": batch["index"]})
            outputs = parallel.unshard(run(evaluated_variables(state), data, inputs))
            parts.append({k: v[batch["mask"]] for k, v in outputs.items()})
        return {k: float(np.concatenate([p[k] for p in parts]).mean()) for k in parts[0]}

    return validate


def train(
    setup: Setup, folder: Path, *, title: str = "train", warn: Callable[[str], None] = print
) -> TrainState:
    """Train in a folder, or go on with what is in it.

    Args:
      setup: from `prepare`.
      folder: gets config.json, metrics.jsonl and checkpoints/.
      title: of the progress bar.
      warn: receives one line per damaged file that was passed over.

    Raises:
      InputError: if the folder holds a run of another config.
    """
    config = setup.config
    num_examples = len(setup.dataset.train)
    workdir.open_run(folder, config, setup.dataset.fingerprint)
    model = setup.create_model(parallel.AXIS)
    step = make_train_step(
        make_loss_fn(setup, model), setup.optimizer, resident.fetch, parallel.AXIS
    )
    checkpoints = open_checkpoints(config, folder)
    try:
        return loop.fit(
            state=setup.init_state(),
            train_step=parallel.map_train_step(step),
            data=parallel.replicate(resident.arrays(setup.dataset.train)),
            inputs_at=functools.partial(
                resident.inputs_at,
                num_examples=num_examples,
                batch_size=config.train.batch_size,
                seed=config.seed,
            ),
            validate=make_validate(setup),
            config=config.train,
            folder=folder,
            checkpoints=checkpoints,
            title=title,
            warn=warn,
        )
    finally:
        checkpoints.close()


def open_checkpoints(config: PositionConfig, folder: Path) -> Checkpoints:
    """The checkpoints of a run."""
    milestones = (*config.train.milestones, config.train.steps)
    return Checkpoints(folder / "checkpoints", keep=config.train.keep, milestones=milestones)
