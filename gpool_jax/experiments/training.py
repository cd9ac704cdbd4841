"""A checked setup, and its training in a folder: shared by every experiment."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gpool_jax import ops
from gpool_jax.config import TrainConfig, plain
from gpool_jax.data import resident
from gpool_jax.data.split import Split, Splits
from gpool_jax.errors import InputError, RunError
from gpool_jax.experiments import saved, workdir
from gpool_jax.experiments.programs import shared
from gpool_jax.train import loop, parallel, processes
from gpool_jax.train.events import track
from gpool_jax.train.optimizer import evaluated_variables, make_optimizer
from gpool_jax.train.state import TrainState, create_state
from gpool_jax.train.step import LossFn, make_train_step
from gpool_jax.train.writers import check_writers

# What every program receives among its data, beside the images: see `Setup.constants`.
CONSTANTS = ("mean", "std", "seed")
# Fields that count images, and the splits that these are from; none: the section names them.
_COUNTS: dict[str, tuple[str, ...]] = {
    "data.num_train": ("train",),
    "train.num_val": ("val",),
    "eval.num_images": ("test",),
    "probe.num_images": ("test",),
    "consistency.num_images": (),
    "rank.num_images": (),
    "attack.num_images": (),
}


@dataclasses.dataclass(frozen=True)
class Design:
    """Everything that device programs are built from; hashable.

    Runs of one configuration over several seeds have equal designs, and so share
    their programs: seed and statistics of the data reach a program as data.

    Attributes:
      config: the run's configuration, with seed 0.
      create_model: `(model section, num_outputs, axis_name) -> network`.
      num_outputs: classes of the task.
      input_shape: (1, H, W, C) of the network's input.
    """

    config: Any
    create_model: Callable[[Any, int, str | None], Any]
    num_outputs: int
    input_shape: tuple[int, ...]

    def model(self, axis_name: str | None = None) -> Any:
        """The network, with or without a data axis."""
        return self.create_model(self.config.model, self.num_outputs, axis_name)


@dataclasses.dataclass(frozen=True)
class Setup:
    """A checked configuration, its `data.split.Splits` and its network; see `Design`."""

    config: Any
    dataset: Any
    create_model: Callable[[Any, int, str | None], Any]
    num_outputs: int
    input_shape: tuple[int, ...]

    @functools.cached_property
    def design(self) -> Design:
        """The design of the run's device programs."""
        config = dataclasses.replace(self.config, seed=0)
        return Design(config, self.create_model, self.num_outputs, self.input_shape)

    @functools.cached_property
    def model(self) -> Any:
        """The network without a data axis, for evaluation."""
        return self.design.model()

    @property
    def constants(self) -> dict[str, np.ndarray]:
        """Data that every program receives: `mean` and `std` [C], and `seed`."""
        return {
            "mean": np.array(self.dataset.mean, np.float32),
            "std": np.array(self.dataset.std, np.float32),
            "seed": np.array(self.config.seed, np.int32),
        }

    def data_of(self, split: Split) -> dict[str, Any]:
        """Data of a program that runs over a split: the constants, and what is `resident`."""
        return self.constants | {"resident": split.resident()}

    def init_state(self) -> TrainState:
        """A fresh state, the same for every run of the same seed."""
        key = jax.random.key(self.config.seed)
        optimizer = make_optimizer(self.config.train)
        averages = self.config.train.ema_decay is not None
        return create_state(key, self.model, optimizer, self.input_shape, averages=averages)

    def untrained(self, seed: int) -> dict[str, Any]:
        """Fresh variables of a seed, for `model.apply`."""
        config = dataclasses.replace(self.config, seed=seed)
        return dataclasses.replace(self, config=config).init_state().variables


def check_training(config: TrainConfig, num_examples: int) -> None:
    """Raise unless every device gets its share of a batch, and the logs can be written."""
    parallel.check_batch(config.batch_size)
    if config.batch_size > num_examples:
        raise InputError(
            f"`train.batch_size` must be at most the {num_examples} training images; "
            f"got {config.batch_size}."
        )
    check_writers(config)


def check_counts(config: Any, dataset: Splits, warn: Callable[[str], None]) -> None:
    """Warn of each number of images that is asked for and exceeds what the set has.

    A default asks for nothing: it is a number at most.
    """
    defaults = dict(plain.leaves(type(config)()))
    for name, asked in plain.leaves(config):
        if name not in _COUNTS or asked is None or asked == defaults[name]:
            continue
        section = getattr(config, name.split(".")[0])
        splits = _COUNTS[name] or getattr(section, "splits", None) or (section.split,)
        present = sum(len(getattr(dataset, split)) for split in splits)
        if asked > present:
            warn(
                f"`{name}` is {asked:,}, and there are {present:,} {' and '.join(splits)} images: "
                "all of them are used."
            )


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The training of one kind of experiment.

    Attributes:
      make_loss_fn: `(design, axis_name) -> loss_fn`; see `make_train_step`. The batch
        holds `CONSTANTS` too.
      make_validate: `setup -> validate`: a state to its numbers on the validation images.
      title: heading of the progress bar.
      select_by: the validation number that picks the best checkpoint.
    """

    make_loss_fn: Callable[[Design, str], LossFn]
    make_validate: Callable[[Setup], Callable[[TrainState], dict[str, float]]]
    title: str = "train"
    select_by: str = "accuracy"


def make_step(setup: Setup, recipe: Recipe, feed: loop.Feed) -> parallel.Program:
    """The training step of a run, over all devices."""
    args = setup.design, recipe.make_loss_fn, feed.fetch
    return shared(parallel.map_train_step, _make_step, *args)


def _make_step(design: Design, make_loss_fn: Callable, fetch: Callable) -> Callable:
    def fetch_batch(data: Any, inputs: Any) -> dict[str, Any]:
        return fetch(data["resident"], inputs) | {name: data[name] for name in CONSTANTS}

    loss_fn = make_loss_fn(design, parallel.AXIS)
    config = design.config.train
    optimizer = make_optimizer(config)
    return make_train_step(
        loss_fn, optimizer, fetch_batch, parallel.AXIS, ema_decay=config.ema_decay
    )


def check_alike(setup: Setup) -> None:
    """Raise in a process that was started with another config or other data than process 0."""
    processes.check_same("config", plain.to_dict(setup.config), workdir.differences)
    processes.check_same("data", setup.dataset.fingerprint, plain.differences)


def make_validate(
    setup: Setup, make_program: Callable[[Design], Callable], batch_size: int
) -> Callable[[TrainState], dict[str, float]]:
    """Validation of a state on every validation image, the same each time.

    `make_program` makes the device program `(variables, data, inputs) -> loss and accuracy`
    of each image; it begins with `resident.fetch(data["resident"], inputs)`.
    """
    val = setup.dataset.val.draw(setup.config.train.num_val, seed=setup.config.seed)
    data = parallel.replicate(setup.data_of(val))
    run = shared(parallel.map_batch, make_program, setup.design)

    def validate(state: TrainState) -> dict[str, float]:
        variables = evaluated_variables(state, setup.config.train.ema_decay)

        def run_rows(rows: np.ndarray) -> dict[str, np.ndarray]:
            return parallel.unshard(run(variables, data, parallel.shard(val.inputs(rows))))

        outputs = run_batches(run_rows, len(val), batch_size, together=True)
        return {name: float(values.mean()) for name, values in outputs.items()}

    return validate


def run_batches(
    run_rows: Callable[[np.ndarray], dict[str, np.ndarray]],
    num_images: int,
    batch_size: int,
    *,
    together: bool = False,
) -> dict[str, np.ndarray]:
    """Outputs [N, ...] of all images, at most `batch_size` per device and pass.

    `run_rows` takes rows [B] to outputs [B, ...]. `together`, every process runs its share of
    each batch and receives all outputs; otherwise the calling process runs everything.
    """
    devices = jax.device_count() if together else jax.local_device_count()
    per_device = min(batch_size, -(-num_images // devices))
    parts = []
    batches = resident.padded_batches(num_images, devices * per_device)
    for batch in batches if together else track(batches, "measuring"):
        if together:
            outputs = parallel.gather(run_rows(processes.own_share(batch["index"])))
        else:
            outputs = run_rows(batch["index"])
        parts.append({name: value[batch["mask"]] for name, value in outputs.items()})
        check_finite(parts[-1])
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def check_finite(outputs: dict[str, np.ndarray]) -> None:
    """Raise a `RunError` that names an output of a network that is not finite.

    An arg max over logits that are NaN would be counted like any other prediction.
    """
    bad = ops.first_nonfinite(outputs)
    if bad:
        raise RunError(
            f"the network's {bad} is not finite: its weights, or the mean and standard deviation "
            "that images are normalised with, are not of these images."
        )


def make_feed(setup: Setup) -> loop.Feed:
    """The training images, on the devices; or from disk, if the set is streamed."""
    config = setup.config
    feed = setup.dataset.train.feed(
        config.data,
        batch_size=config.train.batch_size,
        seed=config.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    feed.data = setup.constants | {"resident": feed.data}
    return feed


def train(
    setup: Setup,
    recipe: Recipe,
    folder: Path,
    *,
    title: str | None = None,
    warn: Callable[[str], None] = print,
) -> TrainState:
    """Train in a folder, or go on with what is in it.

    The folder receives config.json, data.json, metrics.jsonl and checkpoints/; `title` is the
    heading of the progress bar, if not the recipe's.

    Raises:
      InputError: if the folder holds a run of another config, or the processes that
        train together were started with different configs or data.
    """
    config = setup.config
    check_alike(setup)
    with contextlib.ExitStack() as stack:
        if processes.is_first():
            workdir.check_run(folder, config)
            stack.enter_context(workdir.hold(folder))
            workdir.open_run(folder, config, setup.dataset.fingerprint, warn=warn)
        processes.from_first(lambda: None)
        feed = make_feed(setup)
        stack.callback(feed.close)
        return loop.fit(
            state=setup.init_state(),
            train_step=make_step(setup, recipe, feed),
            feed=feed,
            validate=recipe.make_validate(setup),
            config=config.train,
            folder=folder,
            checkpoints=saved.open_checkpoints(setup, folder) if processes.is_first() else None,
            select_by=recipe.select_by,
            title=title or recipe.title,
            warn=warn,
        )
