"""Intersection over union (IoU), the measure of segmentations.

A class that is neither labelled nor predicted in the images and the region counted has no IoU
and is left out of the mean; one that is only predicted wrongly counts 0. The number of classes
in a mean therefore belongs beside it.
"""

import jax
import jax.numpy as jnp
import numpy as np


def confusion_matrix(
    predictions: jax.Array, labels: jax.Array, masks: np.ndarray, *, num_classes: int
) -> jax.Array:
    """Count pixels by region, label (rows) and prediction (columns): int32 [B, R, K, K].

    Args:
      predictions: int [B, H, W] in [0, K).
      labels: int [B, H, W]; values outside [0, K) are not counted.
      masks: bool [R, H, W], which may overlap; constants of the program.
      num_classes: K.
    """
    # Every pixel is counted once, under the set of regions that hold it; regions then add up
    # their sets. On a CPU this is ten times faster than products of one-hot maps by region.
    masks = np.asarray(masks, bool)
    sets, which = np.unique(masks.reshape(len(masks), -1), axis=1, return_inverse=True)
    cells = num_classes**2
    labels = labels.astype(jnp.int32)
    labelled = (labels >= 0) & (labels < num_classes)
    offset = jnp.asarray(which.reshape(masks.shape[1:]) * cells, jnp.int32)[None]
    place = offset + labels * num_classes + predictions.astype(jnp.int32)
    size = sets.shape[1] * cells
    place = jnp.where(labelled, place, size)

    def histogram(places: jax.Array) -> jax.Array:
        return jnp.zeros(size + 1, jnp.int32).at[places.reshape(-1)].add(1)[:size]

    counts = jax.vmap(histogram)(place).reshape(-1, sets.shape[1], num_classes, num_classes)
    return jnp.einsum("bsij,rs->brij", counts, jnp.asarray(sets, jnp.int32))


def class_counts(confusion: jax.Array | np.ndarray) -> jax.Array:
    """Count hits, labelled and predicted pixels of each class: [..., K, K] -> [..., 3, K]."""
    hits = jnp.diagonal(confusion, axis1=-2, axis2=-1)
    return jnp.stack([hits, confusion.sum(-1), confusion.sum(-2)], axis=-2)


def class_iou(counts: np.ndarray) -> np.ndarray:
    """IoU of each class, from counts [..., 3, K] summed over images: float64 [..., K].

    NaN for a class that is neither labelled nor predicted.
    """
    hits, labelled, predicted = (counts[..., i, :].astype(np.float64) for i in range(3))
    union = labelled + predicted - hits
    return np.divide(hits, union, out=np.full(hits.shape, np.nan), where=union > 0)


def mean_iou(counts: np.ndarray) -> np.ndarray:
    """Mean IoU over the classes that occur: float64 [...], NaN if there are none."""
    iou = class_iou(counts)
    occurs = ~np.isnan(iou)
    number = occurs.sum(axis=-1)
    total = np.where(occurs, iou, 0.0).sum(axis=-1)
    return np.divide(total, number, out=np.full(number.shape, np.nan), where=number > 0)


def pixel_accuracy(counts: np.ndarray) -> np.ndarray:
    """Share of labelled pixels predicted correctly: float64 [...], NaN if there are none."""
    hits, labelled = (counts[..., i, :].astype(np.float64).sum(axis=-1) for i in (0, 1))
    return np.divide(hits, labelled, out=np.full(hits.shape, np.nan), where=labelled > 0)
