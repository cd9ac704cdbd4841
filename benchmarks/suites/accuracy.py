"""The reference's number beside ours, with the budget that each was reached in.

GAPNet, ResNet-18, zero padding, n = 3: the authors' repository holds 100.0 % of
locations, after 20 epochs of CIFAR-10. On a GPU ours is trained as long; on a CPU
an eighth of the width for 200 steps. CIFAR-10 is read from $GPOOL_DATA_DIR/tfds.
"""

import dataclasses
import os
import tempfile
import time
from pathlib import Path

import jax

from benchmarks.record import Row
from gpool_jax.config import DataConfig, PositionConfig, files
from gpool_jax.experiments import run


def rows(quick: bool) -> list[Row]:
    """Train by the committed config, evaluate every test image in every cell."""
    on_cpu = jax.default_backend() == "cpu"
    suffix = "_cpu" if on_cpu else ""
    name = f"cifar10_resnet18_gapnet_location{suffix}"
    config = files.load(name, (PositionConfig,))
    folder = os.environ.get("GPOOL_DATA_DIR")
    probes = dataclasses.replace(config.probe, enabled=False)
    config = dataclasses.replace(config, probe=probes)
    if folder is not None and not quick:
        data = dataclasses.replace(config.data, dir=str(Path(folder) / "tfds"))
        config = dataclasses.replace(config, data=data)
    else:
        data = DataConfig(source="digits", flip=False)
        train = dataclasses.replace(config.train, steps=20 if quick else 300, num_val=100)
        config = dataclasses.replace(config, data=data, train=train)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as workdir:
        result = run(config, workdir)
    seconds = time.perf_counter() - started
    row = result.rows[-1]
    epochs = config.train.steps * config.train.batch_size / 45_000
    what = config.data.name if config.data.source == "tfds" else "digits; no CIFAR-10 was given"
    case = "GAPNet resnet18, zeros, n 3, location"
    return [
        Row(
            "accuracy",
            case,
            "reference",
            value=100.0,
            unit="%",
            note="the authors' repository: CIFAR-10, full width, 20 epochs of batch 48, one in "
            "nine random test passes each",
        ),
        Row(
            "accuracy",
            case,
            "ours",
            value=100.0 * row.accuracy,
            unit="%",
            note=f"{what}, width {config.model.width:g}, {config.train.steps} steps of batch "
            f"{config.train.batch_size} ({epochs:.1f} epochs of CIFAR-10), seed {config.seed}; all "
            f"{row.num_images} test images in all 9 cells, 95 % {100 * row.low:.2f} to "
            f"{100 * row.high:.2f}; {seconds:.0f} s in all",
        ),
    ]
