"""`gpool evaluate`: measure a run again, or a network from a file of weights."""

import dataclasses
from pathlib import Path
from typing import Any

from gpool_jax.cli.options import Evaluate
from gpool_jax.cli.parse import read_measuring, value_of
from gpool_jax.cli.session import show, start, warner
from gpool_jax.config import InvarianceConfig, PositionConfig
from gpool_jax.config.sections import is_segmenter
from gpool_jax.errors import InputError


def evaluate(words: list[str]) -> int:
    """Measure a run or a file of weights."""
    asked = any(word.startswith("--consistency") for word in words)
    # Consistency is a question about whole images, the others about canvases.
    imported = InvarianceConfig if asked else PositionConfig
    task_of_weights = value_of(words, "--weights") and value_of(words, "--task")
    if asked and task_of_weights and not is_segmenter(value_of(words, "--model")):
        raise InputError(
            "`--task`: the consistency of an imported network is that of the classes it recognises "
            "in whole images; leave --task out."
        )
    options: Evaluate
    options, trained = read_measuring(
        "evaluate",
        words,
        imported=imported,
        folder="evaluation",
        adjust=_with_consistency if asked else lambda config: config,
    )
    start(options)
    from gpool_jax.experiments import driver

    config, out, say = options.config, Path(options.workdir or ""), warner(options)
    if trained is None:
        result = driver.evaluate_weights(config, Path(options.weights or ""), out, warn=say)
    else:
        result = driver.evaluate(trained, config, Path(options.target or ""), out, warn=say)
    return show(result, options)


def _with_consistency(config: Any) -> Any:
    if not hasattr(config, "consistency"):
        raise InputError(
            f"`--consistency`: a {type(config).__name__} has none; name the folder of one of its "
            "networks."
        )
    consistency = dataclasses.replace(config.consistency, enabled=True)
    return dataclasses.replace(config, consistency=consistency)
