"""The configuration of an audit: which stimuli a network is shown, and what is measured."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class AuditConfig:
    """The questions put to a network, and the images that they are asked on."""

    n: int = 3
    """Cells per side of the canvas."""
    seed: int = 0
    """Random seed: of the draw of images, of permutations, and of the first untrained twin."""
    images: str | None = None
    """Folder of images, of any tree and without labels; None: squares of two sample photographs."""
    num_images: int = 100
    """Images to use."""
    canvas: Literal["fixed", "grown"] = "fixed"
    """Canvas: fixed (of the network's own input size, the image in a cell), grown (n times that)."""
    background: Literal["mean", "noise", "blur", "image"] = "mean"
    """Background of the canvas: the mean colour, noise, the image blurred, another image."""
    stages: Literal["pooled", "all"] = "all"
    """Stages that position is read from: the pooled map alone, or all."""
    twins: int = 3
    """Untrained twins to measure beside each network: the same architecture, fresh weights."""
    folds: int = 5
    """Folds of images of the probes."""
    max_shift: int | None = None
    """Largest shift in pixels; None: an eighth of the side of the network's input, at most 16."""
    protocols: tuple[Literal["zeros", "crop", "circular"], ...] = ("crop", "zeros", "circular")
    """Kinds of shift: crop (real content enters), zeros (the mean colour), circular."""
    shifts_per_distance: int = 4
    """Random directions for each distance of a shift."""
    removed: float = 0.25
    """Share of the channels that is removed."""
    caliper: float = 1.0
    """Largest distance of a matched channel, in spreads of log mean and log variance."""
    draws: int = 5
    """Random and matched sets of channels to compare a removal with."""
    batch_size: int = 32
    """Inputs per pass."""
    bootstrap: int = 2000
    """Bootstrap draws for the 95 % intervals."""
