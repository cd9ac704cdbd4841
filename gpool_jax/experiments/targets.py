"""From a training run or a file of weights to the network that is measured."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpool_jax import networks
from gpool_jax.config import InvarianceConfig, PositionConfig, checks
from gpool_jax.errors import InputError
from gpool_jax.experiments import driver, registry, workdir
from gpool_jax.experiments.channels.subject import Subject, Target
from gpool_jax.experiments.experiment import Warn
from gpool_jax.experiments.training import Setup
from gpool_jax.networks import Network, Preprocess


def make_subject(setup: Setup) -> Subject:
    """The subject of a setup, by its kind; an `InputError` if channels cannot be ranked in it."""
    make = registry.experiment(setup.config).make_subject
    if make is None:
        raise InputError(f"channels are not ranked in a {type(setup.config).__name__}.")
    return make(setup)


def open_run(trained: Any, config: Any, run: Path, warn: Warn) -> Target:
    """Open the best checkpoint of a run, to be measured as `config` says.

    Raises:
      InputError: if the run is of another kind, or has no readable checkpoint.
    """
    able = [kind for kind, experiment in registry.EXPERIMENTS.items() if experiment.make_subject]
    if type(config) not in able:
        names = " or a ".join(kind.__name__ for kind in able)
        raise InputError(
            f"`run`: channels are ranked and attacked in one network, of a {names}; {run} is of a "
            f"{type(config).__name__}."
        )
    driver.check_overrides(trained, config)
    setup = registry.experiment(config).prepare(config, warn=warn)
    make_subject(setup)  # whether it can be one, before anything is read
    setup, snapshots = driver.load(setup, run, warn)
    notes = [f"The network is that of the run {run}.", *snapshots.notes]
    return Target(make_subject(setup), snapshots.best.variables, notes)


def open_weights(config: Any, weights: Path, warn: Warn) -> Target:
    """Open a file of weights, .safetensors or .pth with the `[torch]` extra, if they fit."""
    checks.check(config)
    setup, snapshots = registry.experiment(config).load_weights(config, weights, warn)
    if snapshots.mismatch:
        raise InputError(
            f"`--weights`: {snapshots.mismatch}; channels are ranked by what the head predicts."
        )
    return Target(make_subject(setup), snapshots.best.variables, snapshots.notes)


def from_run(
    run: str | Path, *, warn: Callable[[str], None] = print, trust_code: bool = False
) -> Network:
    """Make a network of the best checkpoint of a training run, with the inputs of its training.

    The data that it was trained on must be there: they are compared with those of the training.
    A network of its maker's own code (python:MODULE:FUNCTION) needs `trust_code`.

    Raises:
      InputError: if there is no such run, it is of a segmentation network or a comparison, its
        code is not trusted, or it has no readable checkpoint.
    """
    folder = Path(run)
    config = workdir.read_config(folder)
    if not isinstance(config, PositionConfig | InvarianceConfig):
        raise InputError(
            f"`run`: a PositionConfig or an InvarianceConfig trains one network that pools; {run} "
            f"is of a {type(config).__name__}."
        )
    workdir.check_trusted(config, folder, trust_code=trust_code)
    setup = registry.experiment(config).prepare(config, warn=warn)
    setup, snapshots = driver.load(setup, folder, warn)
    size = setup.input_shape[1:3]
    return networks.from_model(
        setup.model,
        snapshots.best.variables,
        preprocess=Preprocess((size[0], size[1]), setup.dataset.mean, setup.dataset.std),
        name=f"{folder.resolve().name} ({config.model.name})",
        notes=(f"The network is that of the run {run}.", *snapshots.notes),
    )


def open_network(
    words: str,
    *,
    warn: Callable[[str], None] = print,
    trust_code: bool = False,
    **options: Any,
) -> Network:
    """Open the network of a run's folder, or what else `networks.open` takes, with its options.

    Raises:
      InputError: if there is no such network, or an option does not belong to it.
    """
    if not Path(words).is_dir():
        return networks.open(words, warn=warn, **options)
    for option, value in options.items():
        if value is not None:
            raise InputError(f"`--{option}` does not belong to the run {words}; got {value}.")
    return from_run(words, warn=warn, trust_code=trust_code)
