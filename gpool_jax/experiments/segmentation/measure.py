"""Measure a segmentation network on the test images."""

from typing import Any

import jax
import numpy as np

from gpool_jax import ops
from gpool_jax.config import SegmentationConfig, plain
from gpool_jax.experiments.experiment import Measured
from gpool_jax.experiments.measures import intervals
from gpool_jax.experiments.saved import Snapshots
from gpool_jax.experiments.segmentation import training
from gpool_jax.experiments.segmentation.quantities import make_quantities
from gpool_jax.experiments.training import Setup
from gpool_jax.report import Result
from gpool_jax.report.channel_result import NONE, Removal
from gpool_jax.report.overlays import Overlay


def measure(setup: Setup, snapshots: Snapshots) -> Measured:
    """Measure mean IoU, pixel accuracy and class IoUs on the test images, with intervals."""
    variables = snapshots.best.variables
    config: SegmentationConfig = setup.config
    test = setup.dataset.test
    counted = training.make_count(setup, test, config.eval.batch_size)(variables)
    counts = np.asarray(ops.class_counts(counted["confusion"]))
    confusion = counted["confusion"].sum(axis=0).astype(np.float64)
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1.0)
    result = Result(
        title=f"{config.model.name} on {setup.dataset.name}",
        config=plain.to_dict(config),
        maps={
            "confusion": share.tolist(),
            "confusion_of": "pixels of the test images",
            "classes": list(setup.dataset.class_names),
        },
        curves=snapshots.curves(config.model.name),
        notes=snapshots.notes + data_notes(setup),
        removals=_removals(setup, counts),
    )
    overlays = _overlays(setup, variables, config.eval.overlays)
    return Measured(result, {"class_counts": counts}, overlays)


def _removals(setup: Setup, counts: np.ndarray) -> list[Removal]:
    """Every quantity, in the form of an attack that removes nothing."""
    draws = setup.config.eval.bootstrap
    end = setup.config.data.cluster
    units = np.arange(len(counts)) if end is None else setup.dataset.test.clusters(end)
    resamples = ops.cluster_resamples(units, num_draws=draws, seed=0)
    return [
        Removal(
            ranking=NONE,
            region="overall",
            action=NONE,
            count=0,
            measured="overall",
            measure="value",
            versus=None,
            quantity=name,
            title=quantity.title,
            chance=quantity.chance,
            num_images=len(counts),
            num_draws=1,
            **intervals.estimate(quantity, counts, resamples, units)._asdict(),
        )
        for name, quantity in make_quantities(setup.dataset.class_names).items()
    ]


def data_notes(setup: Setup) -> list[str]:
    """Describe what the numbers of a segmentation are averaged over."""
    height, width = setup.dataset.test.image_shape[:2]
    return [
        f"Images of {height} by {width} pixels, labels at that size. IoU is computed from pixels "
        "summed over images and averaged over the classes that occur in the labels or predictions "
        "of the measured region; pixels without a label are not counted."
    ]


def _overlays(setup: Setup, variables: Any, number: int) -> list[Overlay]:
    """Show a few test images with labels and predictions."""
    number = min(number, len(setup.dataset.test))
    if number == 0:
        return []
    chosen = setup.dataset.test.batch(np.arange(number) * len(setup.dataset.test) // number)

    @jax.jit
    def answer(variables: Any, images: jax.Array) -> jax.Array:
        x = ops.normalise(images, setup.dataset.mean, setup.dataset.std)
        return setup.model.apply(variables, x)[0].argmax(-1)

    answered = np.asarray(answer(variables, chosen["images"]))
    return [
        Overlay(chosen["images"][i], chosen["labels"][i], {"answer": answered[i]})
        for i in range(number)
    ]
