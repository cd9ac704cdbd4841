"""Measure a segmentation network on the test images, and write the result."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gpool_jax import ops
from gpool_jax.config import AttackConfig, SegmentationConfig, plain
from gpool_jax.experiments import saved, workdir
from gpool_jax.experiments.channels.pixels import make_quantities
from gpool_jax.experiments.channels.plan import make_plan
from gpool_jax.experiments.channels.summary import Summary
from gpool_jax.experiments.channels.sweep import Swept
from gpool_jax.experiments.position import measure
from gpool_jax.experiments.segmentation import training as segmentation
from gpool_jax.experiments.training import Setup
from gpool_jax.report import Result, write_report, write_result
from gpool_jax.report.environment import environment
from gpool_jax.report.overlays import Overlay
from gpool_jax.train import processes
from gpool_jax.train.events import read_events
from gpool_jax.train.optimizer import evaluated_variables


def run(
    config: SegmentationConfig, folder: Path, warn: Callable[[str], None] = print
) -> Result | None:
    """Train one network in a folder, or finish its training, and measure it there.

    Process 0 measures; the others return None.
    """
    started = time.perf_counter()
    setup = segmentation.prepare(config, warn=warn)
    segmentation.train(setup, folder, title=config.model.name, warn=warn)
    return processes.alone(evaluate_run, setup, folder, folder, started=started, warn=warn)


def evaluate(
    trained: SegmentationConfig,
    config: SegmentationConfig,
    run: Path,
    out: Path,
    warn: Callable[[str], None] = print,
) -> Result:
    """Measure a run again; see `measure.evaluate`."""
    measure.check_overrides(trained, config)
    return evaluate_run(segmentation.prepare(config, warn=warn), run, out, warn=warn)


def evaluate_run(
    setup: Setup,
    run: Path,
    out: Path,
    *,
    started: float | None = None,
    warn: Callable[[str], None] = print,
) -> Result:
    """Measure the best checkpoint of a run; write the result.

    Args:
      setup: of the run.
      run: its folder.
      out: gets results.json, per_image.npz and report.html.
      started: `time.perf_counter()` of the command's start.
      warn: receives one line per checkpoint that cannot be read.

    Raises:
      InputError: if the run has no readable checkpoint.
    """
    started = time.perf_counter() if started is None else started
    entries, last_step = saved.load(setup, run, warn)
    _, step, state = entries[-1]
    notes = [
        f"The checkpoint of step {step} was picked by the mean IoU of {len(setup.dataset.val):,} "
        "validation images."
    ]
    if last_step < setup.config.train.steps:
        notes.append(
            f"The training is not finished: {last_step} of {setup.config.train.steps} steps."
        )
    curves = {setup.config.model.name: read_events(run)}
    variables = evaluated_variables(state)
    return measure_variables(setup, variables, out, curves, notes, started, warn)


def measure_variables(setup, variables, out, curves, notes, started, warn) -> Result:
    """Mean IoU, pixel accuracy and class IoUs of the test images, with intervals."""
    config: SegmentationConfig = setup.config
    test = setup.dataset.test
    found = segmentation.make_count(setup, test, config.eval.batch_size)(variables)
    counts = np.asarray(ops.class_counts(found["confusion"]))
    # The same tables as an attack's, with nothing removed and one region: everything.
    swept = Swept({"classes": counts[None, :, None]}, 0.0, 0.0, len(test))
    nothing = AttackConfig(random_draws=0, matched_draws=0, counts=(1,))
    plan = make_plan(nothing, [], (np.ones(1), np.ones(1)), seed=config.seed)
    quantities = make_quantities(setup)
    summary = Summary(
        quantities, {"overall": (0, 0, 1, 1)}, plan, swept, bootstrap=config.eval.bootstrap
    )
    confusion = found["confusion"].sum(axis=0).astype(np.float64)
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1.0)
    result = Result(
        title=f"{config.model.name} on {setup.dataset.name}",
        config=plain.to_dict(config),
        rows=[],
        probes=[],
        maps={
            "confusion": share.tolist(),
            "confusion_of": "pixels of the test images",
            "classes": list(setup.dataset.class_names),
        },
        curves=curves,
        environment=environment(time.perf_counter() - started),
        notes=notes + data_notes(setup),
        removals=summary.removals(),
    )
    workdir.make(out)
    write_result(result, out, {"class_counts": counts})
    overlays = _overlays(setup, variables, config.eval.overlays)
    write_report(result, out, warn, overlays=overlays)
    return result


def data_notes(setup: Setup) -> list[str]:
    """What the numbers of a segmentation are means over."""
    height, width = setup.dataset.test.image_shape[:2]
    return [
        f"Images of {height} by {width} pixels, labels at that size; mean IoU over the "
        "classes that are in the truth or the answers of the images and region measured, from "
        "pixels summed over images; pixels without a label are not counted."
    ]


def _overlays(setup: Setup, variables: Any, number: int) -> list[Overlay]:
    """A few test images, what they show, and what is answered."""
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
