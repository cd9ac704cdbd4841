"""Every kind of experiment, by the class of its configuration: the only table of kinds."""

from typing import Any

from gpool_jax import config as kinds
from gpool_jax.experiments.channels.canvases import CanvasSubject
from gpool_jax.experiments.channels.pixels import PixelSubject
from gpool_jax.experiments.experiment import Comparison, Experiment
from gpool_jax.experiments.invariance import comparison as invariance_comparison
from gpool_jax.experiments.invariance import measure as invariance_measure
from gpool_jax.experiments.invariance import training as invariance_training
from gpool_jax.experiments.position import comparison as position_comparison
from gpool_jax.experiments.position import measure as position_measure
from gpool_jax.experiments.position import training as position_training
from gpool_jax.experiments.segmentation import measure as segmentation_measure
from gpool_jax.experiments.segmentation import training as segmentation_training
from gpool_jax.experiments.segmentation import weights as segmentation_weights

EXPERIMENTS: dict[type, Experiment] = {
    kinds.PositionConfig: Experiment(
        prepare=position_measure.prepare,
        recipe=position_training.recipe,
        measure=position_measure.measure,
        load_weights=position_measure.load_weights,
        make_subject=CanvasSubject,
    ),
    kinds.InvarianceConfig: Experiment(
        prepare=invariance_training.prepare,
        recipe=invariance_training.recipe,
        measure=invariance_measure.measure,
        load_weights=invariance_measure.load_weights,
    ),
    kinds.SegmentationConfig: Experiment(
        prepare=segmentation_training.prepare,
        recipe=segmentation_training.recipe,
        measure=segmentation_measure.measure,
        load_weights=segmentation_weights.load_weights,
        make_subject=PixelSubject,
    ),
}
COMPARISONS: dict[type, Comparison] = {
    kinds.ComparisonConfig: Comparison(position_comparison.members, position_comparison.combine),
    kinds.InvarianceComparisonConfig: Comparison(
        invariance_comparison.members, invariance_comparison.combine
    ),
}


def experiment(config: Any) -> Experiment:
    """The experiment of a single run's configuration; a `TypeError` if it is none."""
    return _find(EXPERIMENTS, config)


def comparison(config: Any) -> Comparison | None:
    """The comparison of a configuration, None for a single run; a `TypeError` if it is neither."""
    if type(config) in EXPERIMENTS:
        return None
    return _find(COMPARISONS | EXPERIMENTS, config)


def _find(table: dict[type, Any], config: Any) -> Any:
    if type(config) not in table:
        names = ", ".join(kind.__name__ for kind in table)
        raise TypeError(f"`config` must be one of {names}; got {type(config).__name__}.")
    return table[type(config)]
