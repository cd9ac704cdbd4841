"""From a training run or a file of weights to the subject of a ranking."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpool_jax.config import PositionConfig, SegmentationConfig
from gpool_jax.errors import InputError
from gpool_jax.experiments import driver, registry
from gpool_jax.experiments import weights as imported
from gpool_jax.experiments.channels.canvases import CanvasSubject
from gpool_jax.experiments.channels.images import Images
from gpool_jax.experiments.channels.pixels import PixelSubject
from gpool_jax.experiments.position import training as position
from gpool_jax.experiments.segmentation import training as segmentation
from gpool_jax.experiments.training import Setup

# Of images that are in both splits: this share of the evaluation images may be chance.
_SHARED = 0.01


@dataclasses.dataclass(frozen=True)
class Opened:
    """A network that is ready to be ranked and attacked.

    Attributes:
      subject: the network and its task.
      variables: its weights.
      name: how to call it.
      notes: where it comes from.
    """

    subject: PixelSubject | CanvasSubject
    variables: Any
    name: str
    notes: list[str]


def open_run(trained: Any, config: Any, run: Path, warn: Callable[[str], None]) -> Opened:
    """Open the best checkpoint of a run.

    Args:
      trained: config of the run.
      config: the same but for how it is measured.
      run: the run's folder.
      warn: receives one line per damaged file that was passed over.

    Raises:
      InputError: if the run is of another kind, or has no readable checkpoint.
    """
    if not isinstance(config, PositionConfig | SegmentationConfig):
        raise InputError(
            f"`run`: channels are ranked and attacked in one network, of a PositionConfig or a "
            f"SegmentationConfig; {run} is of a {type(config).__name__}."
        )
    driver.check_overrides(trained, config)
    prepare: Callable = position.prepare
    if isinstance(config, SegmentationConfig):
        prepare = segmentation.prepare
    setup = prepare(config, warn=warn)
    subject = make_subject(setup)
    snapshots = driver.load(setup, run, warn)
    notes = [f"The network is that of the run {run}.", *snapshots.notes]
    return Opened(subject, snapshots.best.variables, name_of(config), notes)


def open_weights(config: Any, weights: Path, warn: Callable[[str], None]) -> Opened:
    """Open a file of weights.

    Args:
      config: data, network, and how it is measured.
      weights: .safetensors, or .pth with the `[torch]` extra.
      warn: receives one line about damaged cache files.

    Raises:
      InputError: if the weights do not fit.
    """
    if isinstance(config, SegmentationConfig):
        setup, snapshots = imported.load_segmenter(config, weights, warn)
        variables, notes = snapshots.best.variables, snapshots.notes
        return Opened(PixelSubject(setup), variables, name_of(setup.config), notes)
    setup, snapshots = registry.experiment(config).load_weights(config, weights, warn)
    notes = snapshots.notes
    if not snapshots.fits_task:
        raise InputError(f"`--weights`: {notes[-1]} Channels are ranked by what the head answers.")
    return Opened(CanvasSubject(setup), snapshots.best.variables, name_of(setup.config), notes)


def make_subject(setup: Setup) -> PixelSubject | CanvasSubject:
    """The subject of a setup, by its kind."""
    if isinstance(setup.config, SegmentationConfig):
        return PixelSubject(setup)
    return CanvasSubject(setup)


def name_of(config: Any) -> str:
    """How to call a network."""
    if isinstance(config, SegmentationConfig):
        return config.model.name
    return f"{config.model.head} {config.model.name}, {config.task}"


def images_of(setup: Setup, splits: tuple[str, ...], count: int | None, batch_size: int) -> Images:
    """The images of named splits."""
    return Images([getattr(setup.dataset, name) for name in splits], count, batch_size)


def check_disjoint(setup: Setup, ranked: tuple[str, ...], judged: tuple[str, ...]) -> list[str]:
    """Compare the images of two groups of splits, where they are in memory.

    Returns:
      A note, if a few are the same.

    Raises:
      InputError: if the groups share a split, or more than a few images.
    """
    both = sorted(set(ranked) & set(judged))
    if both:
        raise InputError(
            f"`attack.splits` must share none with the images that channels were ranked on; both "
            f"name {', '.join(both)}."
        )
    groups = [
        [getattr(setup.dataset, name).fingerprints() for name in names]
        for names in (ranked, judged)
    ]
    if any(found is None for group in groups for found in group):
        return []
    seen, asked = ([image for found in group for image in found] for group in groups)
    shared = len(set(asked) & set(seen))
    if shared > _SHARED * len(asked):
        raise InputError(
            f"`attack.splits`: {shared} of the {len(asked)} images of {', '.join(judged)} are also "
            f"among those of {', '.join(ranked)}; the splits must be disjoint."
        )
    if not shared:
        return []
    return [f"{shared} of the {len(asked)} evaluation images are also among the ranking images."]
