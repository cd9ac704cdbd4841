"""Scores of channels, with the images behind them."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Scores:
    """One method's scores for one region: `mean` float64 [C], which channels are ranked by.

    It is the mean of `per_image` float32 [N, C], None for a method that looks at no image,
    with `weights` [N], 0 for an image that says nothing about the region.
    """

    mean: np.ndarray
    per_image: np.ndarray | None = None
    weights: np.ndarray | None = None

    @property
    def num_images(self) -> int:
        """Images that say something."""
        return 0 if self.weights is None else int((self.weights > 0).sum())


# By (method, region).
ScoreTable = dict[tuple[str, str], Scores]


@dataclasses.dataclass(frozen=True)
class ChannelScores:
    """Scores of a network's channels by every method, for every region.

    `clusters` [N] are those of the images, if they belong to any;
    `activation` is the mean [C] and variance [C] of the channels over the `num_images` ranked
    on and space; `notes` say what could not be scored, and how exact the integration is.
    """

    scores: ScoreTable
    activation: tuple[np.ndarray, np.ndarray]
    num_images: int
    notes: list[str]
    clusters: np.ndarray | None = None


def average(per_image: np.ndarray, weights: np.ndarray | None = None) -> Scores:
    """Scores from those of each image [N, C], images weighted by [N] (all alike if None)."""
    weights = np.ones(len(per_image)) if weights is None else weights
    total = max(weights.sum(), 1e-12)
    return Scores(weights @ per_image.astype(np.float64) / total, per_image, weights)
