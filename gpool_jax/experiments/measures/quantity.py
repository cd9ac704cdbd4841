"""A number that is made from counts summed over images."""

import dataclasses
from collections.abc import Callable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Quantity:
    """A number that is made from counts summed over images.

    Attributes:
      title: its name in tables, where it is shown in percent.
      counts: name of the counts it is made from.
      score: counts [..., *tail] summed over images to values [...] in 0..1; NaN
        where nothing was counted.
      classes: the same counts to the number of classes in the mean; None where
        there is no mean over classes.
      chance: value of a guess, where there is one.
      detail: whether an attack reports it only for the whole image and for the
        rankings of the whole image.
    """

    title: str
    counts: str
    score: Callable[[np.ndarray], np.ndarray]
    classes: Callable[[np.ndarray], np.ndarray] | None = None
    chance: float | None = None
    detail: bool = False
