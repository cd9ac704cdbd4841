"""The quantities of a segmentation: mean IoU, pixel accuracy, and the IoU of each class."""

from collections.abc import Callable, Sequence

import numpy as np

from gpool_jax import ops
from gpool_jax.experiments.measures.quantity import Quantity


def make_quantities(class_names: Sequence[str]) -> dict[str, Quantity]:
    """The quantities of a segmentation into named classes, the most important first."""
    quantities = {
        "miou": Quantity("mean IoU", "classes", ops.mean_iou, _count_classes),
        "pixel_accuracy": Quantity("pixel accuracy", "classes", ops.pixel_accuracy, detail=True),
    }
    for index, name in enumerate(class_names):
        score = _iou_of_class(index)
        quantities[f"iou_{name}"] = Quantity(f"IoU {name}", "classes", score, detail=True)
    return quantities


def _count_classes(counts: np.ndarray) -> np.ndarray:
    return (~np.isnan(ops.class_iou(counts))).sum(axis=-1)


def _iou_of_class(index: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda counts: ops.class_iou(counts[..., index : index + 1])[..., 0]
