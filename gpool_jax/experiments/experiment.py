"""An experiment and a comparison of experiments, as the driver sees them."""

import dataclasses

import numpy as np

from gpool_jax.report import Result
from gpool_jax.report.overlays import Overlay


@dataclasses.dataclass(frozen=True)
class Measured:
    """Everything a measurement found; the driver writes it.

    Attributes:
      result: the numbers, without the environment, which the driver adds.
      arrays: content of per_image.npz.
      overlays: images with predictions, for the report.
      files: further text files, name to content (such as rankings).
    """

    result: Result
    arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    overlays: list[Overlay] = dataclasses.field(default_factory=list)
    files: dict[str, str] = dataclasses.field(default_factory=dict)
