"""`gpool evaluate`: measure a run again, or a network from a file of weights."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpool_jax.cli.options import Evaluate
from gpool_jax.cli.parse import read_measuring, value_of
from gpool_jax.cli.session import show, start, warner
from gpool_jax.config import (
    ComparisonConfig,
    InvarianceComparisonConfig,
    InvarianceConfig,
    PositionConfig,
    SegmentationConfig,
)
from gpool_jax.errors import InputError


def evaluate(words: list[str]) -> int:
    """Measure a run or a file of weights."""
    asked = any(word.startswith("--consistency") for word in words)
    # Consistency is a question about whole images, the others about canvases.
    imported: Any = InvarianceConfig() if asked else PositionConfig()
    if value_of(words, "--model").startswith("deeplab"):
        imported = SegmentationConfig()
    elif asked and value_of(words, "--weights") and value_of(words, "--task"):
        raise InputError(
            "`--task`: the consistency of an imported network is that of the classes it recognises "
            "in whole images; leave --task out."
        )
    options: Evaluate
    options, trained = read_measuring(
        "evaluate",
        words,
        imported,
        folder="evaluation",
        adjust=_with_consistency if asked else lambda config: config,
    )
    start(options)
    measure = _evaluate_weights if trained is None else _evaluate_run
    return show(measure(options, trained, warner(options)), options)


def _with_consistency(config: Any) -> Any:
    if not hasattr(config, "consistency"):
        raise InputError(
            f"`--consistency`: a {type(config).__name__} has none; name the folder of one of its "
            "networks."
        )
    consistency = dataclasses.replace(config.consistency, enabled=True)
    return dataclasses.replace(config, consistency=consistency)


def _evaluate_weights(options: Evaluate, _trained: None, say: Callable[[str], None]) -> Any:
    from gpool_jax.experiments import weights

    file, out = Path(options.weights or ""), Path(options.workdir or "")
    return weights.evaluate(options.config, file, out, say)


def _evaluate_run(options: Evaluate, trained: Any, say: Callable[[str], None]) -> Any:
    from gpool_jax.experiments.invariance import comparison as invariance_comparison
    from gpool_jax.experiments.invariance import measure as invariance_measure
    from gpool_jax.experiments.position import comparison, measure
    from gpool_jax.experiments.segmentation import measure as segmentation_measure
    from gpool_jax.train import parallel

    measures: dict[type, Any] = {
        PositionConfig: measure.evaluate,
        ComparisonConfig: comparison.evaluate,
        InvarianceConfig: invariance_measure.evaluate,
        InvarianceComparisonConfig: invariance_comparison.evaluate,
        SegmentationConfig: segmentation_measure.evaluate,
    }
    config, run, out = options.config, Path(options.target or ""), Path(options.workdir or "")
    with parallel.use(config.train.parallel):
        return measures[type(config)](trained, config, run, out, say)
