"""What every experiment shares: a checked setup, and training it in a folder."""

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gpool_jax import models
from gpool_jax.config import ModelConfig, TrainConfig, plain
from gpool_jax.data import resident
from gpool_jax.data.images import load as sources
from gpool_jax.data.images import splits
from gpool_jax.data.images.records import Records
from gpool_jax.data.images.stream import StreamFeed
from gpool_jax.errors import InputError
from gpool_jax.experiments import saved, workdir
from gpool_jax.models import Classifier
from gpool_jax.train import loop, parallel, processes
from gpool_jax.train.checkpoint import Checkpoints, NoCheckpoints
from gpool_jax.train.optimizer import evaluated_variables, make_optimizer
from gpool_jax.train.state import TrainState, create_state
from gpool_jax.train.step import make_train_step


@dataclasses.dataclass(frozen=True)
class Setup:
    """What training and evaluation share: a checked config, its data and its network.

    Attributes:
      config: of the run.
      dataset: three splits, a `sources.Dataset` or a `segmentation.PixelDataset`.
      model: without a data axis, for evaluation.
      optimizer: of the config.
      input_shape: (1, H, W, C) of the network's input.
      num_outputs: classes of the task.
    """

    config: Any
    dataset: Any
    model: Any
    optimizer: optax.GradientTransformation
    input_shape: tuple[int, ...]
    num_outputs: int

    def create_model(self, axis_name: str | None) -> Any:
        """The network of the config, with or without a data axis."""
        return create_model(self.config.model, self.num_outputs, axis_name)

    def init_state(self) -> TrainState:
        """A fresh state, the same for every run of the same seed."""
        key = jax.random.key(self.config.seed)
        return create_state(key, self.model, self.optimizer, self.input_shape)


def create_model(config: ModelConfig, num_outputs: int, axis_name: str | None = None) -> Classifier:
    """The network of a config; see `models.create`."""
    return models.create(
        config.name,
        num_outputs=num_outputs,
        head=config.head,
        padding=config.padding,
        stem=config.stem,
        width=config.width,
        antialias=config.antialias,
        permute_at=config.permute_at,
        dtype=config.dtype,
        axis_name=axis_name,
    )


def make_setup(
    config: Any, dataset: sources.Dataset, *, num_outputs: int, side_factor: int = 1
) -> Setup:
    """Put a checked config and its data together, and check what depends on both.

    Args:
      config: of the run, with `model` and `train`.
      dataset: loaded.
      num_outputs: classes of the task.
      side_factor: the network's input is so many image sides wide.

    Raises:
      InputError: if the batch or the canvas does not fit.
    """
    check_training(config.train, len(dataset.train))
    height, width, channels = dataset.train.image_shape
    model = create_model(config.model, num_outputs)
    what = "the image" if side_factor == 1 else f"a canvas of `n` = {side_factor} images a side"
    models.check_input_side(model, side_factor * min(height, width), what)
    return Setup(
        config=config,
        dataset=dataset,
        model=model,
        optimizer=make_optimizer(config.train),
        input_shape=(1, side_factor * height, side_factor * width, channels),
        num_outputs=num_outputs,
    )


def check_training(config: TrainConfig, num_examples: int) -> None:
    """Raise unless every device gets its share of a batch, and the logs can be written."""
    parallel.check_batch(config.batch_size)
    if config.batch_size > num_examples:
        raise InputError(
            f"`train.batch_size` must be at most the {num_examples} training images; "
            f"got {config.batch_size}."
        )
    if config.tensorboard and importlib.util.find_spec("tensorboardX") is None:
        raise InputError("`train.tensorboard` needs tensorboardX; install it, or leave it out.")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How one kind of experiment is trained.

    Attributes:
      loss_fn: of a model with data axis `parallel.AXIS`; see `make_train_step`.
      make_feed: `setup -> feed` of the training data.
      make_validate: `setup -> validate`, of a state on the validation images.
      select_by: the validation number that picks the best checkpoint.
    """

    loss_fn: Callable
    make_feed: Callable[[Setup], loop.Feed]
    make_validate: Callable[[Setup], Callable[[TrainState], dict[str, float]]]
    select_by: str = "accuracy"


def make_step(setup: Setup, recipe: Recipe, feed: loop.Feed) -> parallel.MappedStep:
    """The training step of a run, over all devices."""
    step = make_train_step(recipe.loss_fn, setup.optimizer, feed.fetch, parallel.AXIS)
    return parallel.map_train_step(step)


def check_alike(setup: Setup) -> None:
    """Raise in a process that was started with another config or other data than process 0."""
    processes.check_same("config", plain.to_dict(setup.config), workdir.differences)
    processes.check_same("data", setup.dataset.fingerprint, plain.differences)


ValidateBatch = Callable[[Any, dict, dict], dict[str, jax.Array]]


def make_validate(
    setup: Setup, validate_batch: ValidateBatch, batch_size: int
) -> Callable[[TrainState], dict[str, float]]:
    """Validation of a state on every validation image, the same each time.

    Args:
      setup: of the run.
      validate_batch: `(variables, data, {"index"}) -> loss and accuracy` of each image,
        given its row in `data`; and perhaps `example`, its row in the split.
      batch_size: images per device and pass, at most.
    """
    config, val = setup.config, setup.dataset.val
    val = val.take(splits.draw_rows(val, config.train.num_val, seed=config.seed))
    if isinstance(val, Records):
        return _validate_records(val, validate_batch, batch_size)
    data = parallel.replicate(resident.arrays(val))
    run = parallel.map_batch(validate_batch)

    def on_share(variables: Any, index: np.ndarray) -> dict[str, np.ndarray]:
        return parallel.unshard(run(variables, data, parallel.shard({"index": index})))

    return _mean_of_batches(on_share, len(val), batch_size)


def _mean_of_batches(
    on_share: Callable[[Any, np.ndarray], dict[str, np.ndarray]], num_images: int, batch_size: int
) -> Callable[[TrainState], dict[str, float]]:
    """Means over all images, of which every process sees its share of each batch.

    Args:
      on_share: `(variables, rows) -> numbers` of each of these rows.
      num_images: rows are in [0, num_images).
      batch_size: images per device and pass, at most.
    """
    per_device = min(batch_size, -(-num_images // jax.device_count()))
    batches = resident.padded_batches(num_images, jax.device_count() * per_device)

    def validate(state: TrainState) -> dict[str, float]:
        variables, parts = evaluated_variables(state), []
        for batch in batches:
            outputs = parallel.gather(on_share(variables, processes.own_share(batch["index"])))
            parts.append({k: v[batch["mask"]] for k, v in outputs.items()})
        return {k: float(np.concatenate([p[k] for p in parts]).mean()) for k in parts[0]}

    return validate


def _validate_records(
    val: Records, validate_batch: ValidateBatch, batch_size: int
) -> Callable[[TrainState], dict[str, float]]:
    """Validation on images that are decoded each time, one batch in memory."""

    def on_device(variables: Any, _data: dict, inputs: dict) -> dict[str, jax.Array]:
        share = {name: inputs[name] for name in ("images", "labels")}
        # Rows of the share; what is drawn for an example follows its place in the split.
        place = {"index": jnp.arange(len(inputs["index"])), "example": inputs["index"]}
        return validate_batch(variables, share, place)

    run = parallel.map_batch(on_device)

    def on_share(variables: Any, index: np.ndarray) -> dict[str, np.ndarray]:
        inputs = parallel.shard(val.batch(index) | {"index": index})
        return parallel.unshard(run(variables, {}, inputs))

    return _mean_of_batches(on_share, len(val), batch_size)


def make_feed(setup: Setup) -> loop.Feed:
    """The training images, on the devices; or from disk, if the set is streamed."""
    config, split = setup.config, setup.dataset.train
    batch_size = config.train.batch_size
    if isinstance(split, splits.Split):
        return resident.ResidentFeed(
            split,
            batch_size=batch_size,
            seed=config.seed,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
    # The loss mirrors the images on the device.
    return StreamFeed(
        split,
        batch_size=batch_size,
        seed=config.seed,
        workers=config.data.workers,
        min_scale=config.data.min_scale,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def train(
    setup: Setup, recipe: Recipe, folder: Path, *, title: str, warn: Callable[[str], None]
) -> TrainState:
    """Train in a folder, or go on with what is in it.

    Args:
      setup: of the run.
      recipe: of its kind.
      folder: gets config.json, metrics.jsonl and checkpoints/.
      title: of the progress bar.
      warn: receives one line per damaged file that was passed over.

    Raises:
      InputError: if the folder holds a run of another config, or the processes that
        train together were started with different configs or data.
    """
    config = setup.config
    check_alike(setup)
    processes.alone(workdir.open_run, folder, config, setup.dataset.fingerprint)
    feed = recipe.make_feed(setup)
    checkpoints: Checkpoints = NoCheckpoints()
    if processes.is_first():
        checkpoints = saved.open_checkpoints(config.train, folder)
    try:
        return loop.fit(
            state=setup.init_state(),
            train_step=make_step(setup, recipe, feed),
            feed=feed,
            validate=recipe.make_validate(setup),
            config=config.train,
            folder=folder,
            checkpoints=checkpoints,
            select_by=recipe.select_by,
            title=title,
            warn=warn,
        )
    finally:
        feed.close()
        checkpoints.close()
