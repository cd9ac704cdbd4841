"""The contracts of an experiment and of a comparison, which the driver runs."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gpool_jax.experiments.saved import Snapshots
from gpool_jax.experiments.training import Recipe, Setup
from gpool_jax.report import Result
from gpool_jax.report.overlays import Overlay

Warn = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Measured:
    """Everything a measurement found; the driver writes it.

    Attributes:
      result: the numbers; the driver adds the environment.
      arrays: content of per_image.npz.
      overlays: images with predictions, for the report.
      files: further text files, name to content (such as rankings).
    """

    result: Result
    arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    overlays: list[Overlay] = dataclasses.field(default_factory=list)
    files: dict[str, str] = dataclasses.field(default_factory=dict)


class Prepare(Protocol):
    """Check everything that can be checked without training, and load the data."""

    def __call__(self, config: Any, *, dataset: Any = None, warn: Warn = print) -> Setup:
        """Return the setup of a run.

        Args:
          config: the run's configuration.
          dataset: the data, if another run has loaded them already.
          warn: receives a line about a damaged cache.

        Raises:
          InputError: naming the field, the bad value and what is allowed.
        """


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One kind of network, how it is trained and what is measured of it.

    Attributes:
      prepare: configuration to setup.
      recipe: setup to training recipe.
      measure: measures a trained or imported network; writes nothing.
      make_subject: setup to a `channels.subject.Subject`, where channels can be ranked.
      load_weights: `(config, file, warn)`: reads PyTorch weights into the network that
        they belong to, or raises `InputError`.
    """

    prepare: Prepare
    recipe: Callable[[Setup], Recipe]
    measure: Callable[[Setup, Snapshots], Measured]
    load_weights: Callable[[Any, Path, Warn], tuple[Setup, Snapshots]]
    make_subject: Callable[[Setup], Any] | None = None


@dataclasses.dataclass(frozen=True)
class Member:
    """One finished run of a comparison: its result, per_image.npz and metrics.jsonl."""

    result: Result
    arrays: dict[str, np.ndarray]
    events: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Several runs put in one table, some of which a configuration's `only` asks for.

    `members` gives each run's configuration by the name of its folder; `combine` compares the
    finished runs, and writes nothing.
    """

    members: Callable[[Any], dict[str, Any]]
    combine: Callable[[Any, dict[str, Member]], Measured]
