"""From a training run or a file of weights to the network that is ranked and attacked."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from gpool_jax.config import PositionConfig, SegmentationConfig
from gpool_jax.errors import InputError
from gpool_jax.experiments import saved
from gpool_jax.experiments import weights as imported
from gpool_jax.experiments.channels.canvases import CanvasSubject
from gpool_jax.experiments.channels.pixels import PixelSubject
from gpool_jax.experiments.channels.subject import Subject, Variables
from gpool_jax.experiments.position import measure
from gpool_jax.experiments.position import training as position
from gpool_jax.experiments.segmentation import training as segmentation
from gpool_jax.experiments.training import Setup
from gpool_jax.train.optimizer import evaluated_variables

Warn = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Target:
    """A network that is ready to be ranked and attacked.

    Attributes:
      subject: the network and its task.
      variables: its weights.
      notes: where they come from.
    """

    subject: Subject
    variables: Variables
    notes: list[str]


def _load_classifier(
    config: PositionConfig, weights: Path, warn: Warn
) -> tuple[Setup, Variables, list[str]]:
    setup, variables, has_head, notes = imported.load(config, weights, warn)
    if not has_head:
        raise InputError(f"`--weights`: {notes[-1]} Channels are ranked by what the head predicts.")
    return setup, variables, notes


class Kind(NamedTuple):
    """How one kind of network becomes a subject.

    Attributes:
      make: setup to subject.
      prepare: `(config, warn=) -> setup`.
      load: `(config, file of weights, warn) -> setup, variables, notes`.
    """

    make: Callable[[Setup], Subject]
    prepare: Callable[..., Setup]
    load: Callable[[Any, Path, Warn], tuple[Setup, Variables, list[str]]]


SUBJECTS: dict[type, Kind] = {
    PositionConfig: Kind(CanvasSubject, position.prepare, _load_classifier),
    SegmentationConfig: Kind(PixelSubject, segmentation.prepare, imported.load_segmenter),
}


def make_subject(setup: Setup) -> Subject:
    """The subject of a setup, by its kind."""
    return SUBJECTS[type(setup.config)].make(setup)


def open_run(trained: Any, config: Any, run: Path, warn: Warn) -> Target:
    """Open the best checkpoint of a run, to be measured as `config` says.

    Raises:
      InputError: if the run is of another kind, or has no readable checkpoint.
    """
    if type(config) not in SUBJECTS:
        kinds = " or a ".join(kind.__name__ for kind in SUBJECTS)
        raise InputError(
            f"`run`: channels are ranked and attacked in one network, of a {kinds}; {run} is of a "
            f"{type(config).__name__}."
        )
    measure.check_overrides(trained, config)
    setup = SUBJECTS[type(config)].prepare(config, warn=warn)
    subject = make_subject(setup)
    entries, last_step = saved.load(setup, run, warn)
    _, step, state = entries[-1]
    notes = [f"The network is that of step {step} of the run {run}."]
    if last_step < config.train.steps:
        notes.append(f"The training is not finished: {last_step} of {config.train.steps} steps.")
    return Target(subject, evaluated_variables(state), notes)


def open_weights(config: Any, weights: Path, warn: Warn) -> Target:
    """Open a file of weights: .safetensors, or .pth with the `[torch]` extra.

    Raises:
      InputError: if the weights do not fit.
    """
    setup, variables, notes = SUBJECTS[type(config)].load(config, weights, warn)
    return Target(make_subject(setup), variables, notes)
