"""What surrounds the network: canvases, shifts, augmentation, the host's work, memory."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import machine, ours, random_data
from benchmarks.record import Row
from benchmarks.timing import Spread, alternate
from gpool_jax import ops
from gpool_jax.config import (
    ModelConfig,
    PixelDataConfig,
    PositionConfig,
    SegmentationConfig,
    SegmenterConfig,
    TrainConfig,
)
from gpool_jax.experiments import training
from gpool_jax.experiments.segmentation import training as segmentation
from gpool_jax.train import parallel

_ROOT = Path(__file__).parents[2]
_ROUNDS = 9


def rows(quick: bool) -> list[Row]:
    """Shares of a training step, images per second, and bytes."""
    width, batch = (0.125, 16) if quick else (0.25, 48)
    return [
        *_canvas_rows(width, batch),
        *_augmentation_rows(quick),
        *_host_rows(width, batch),
        *[_memory_row(2_000 if quick else 100_000, devices) for devices in (1, 2)],
    ]


def _share(name: str, parts: dict[str, Callable], step: Callable, what: str) -> list[Row]:
    """Every part, and the step that it is a part of, in turn."""
    found = {k: Spread.of(v) for k, v in alternate(parts | {"": step}, repetitions=_ROUNDS).items()}
    whole = found.pop("")
    rows = [
        Row("input", f"{name}: {part}", "ours", seconds=spread, note="")
        for part, spread in found.items()
    ]
    shares = [
        Row(
            "input",
            f"{name}: {part}, share of the step",
            "ours",
            value=100.0 * spread.median / whole.median,
            unit=f"% of {1e3 * whole.median:.1f} ms",
            note=what,
        )
        for part, spread in found.items()
    ]
    return [*rows, *shares]


def _canvas_rows(width: float, batch: int) -> list[Row]:
    config = PositionConfig(
        model=ModelConfig(name="resnet18", width=width), train=TrainConfig(batch_size=batch)
    )
    dataset = random_data.images(2_000, 32)
    images = jnp.asarray(dataset.train.images)
    rows = jnp.arange(batch)

    def canvases(key: jax.Array, images: jax.Array, rows: jax.Array) -> jax.Array:
        x = ops.normalise(images[rows], dataset.mean, dataset.std)
        x = ops.random_flip(key, x, rows)
        return ops.place(x, ops.draw_cells(key, rows, 9), 3)

    def shifted(key: jax.Array, images: jax.Array, rows: jax.Array) -> jax.Array:
        x = ops.normalise(images[rows], dataset.mean, dataset.std)
        return ops.shift(x, ops.draw_shifts(key, rows, 4), mode="zeros")

    key = jax.random.key(0)
    parts = {
        "take, normalise, mirror and place": _ready(jax.jit(canvases), key, images, rows),
        "take, normalise and shift": _ready(jax.jit(shifted), key, images, rows),
    }
    step = ours.training_step(config, dataset, 1)
    name = f"resnet18 x {width:g}, 96x96, B {batch}"
    return _share(name, parts, step, "each alone, not fused with the network's first layers")


def _augmentation_rows(quick: bool) -> list[Row]:
    size, batch = ((64, 64), 2) if quick else ((180, 240), 8)
    config = SegmentationConfig(
        data=PixelDataConfig(jitter=0.2),
        model=SegmenterConfig(
            name="deeplabv3_resnet18", width=0.25, output_stride=8, rates=(2, 4, 6)
        ),
        train=TrainConfig(batch_size=batch, optimizer="sgd", learning_rate=0.1),
    )
    dataset = random_data.scenes(2 * batch, size, num_classes=11)
    setup = segmentation.prepare(config, dataset=dataset)
    given = {
        "images": jnp.asarray(dataset.train.images[:batch]),
        "labels": jnp.asarray(dataset.train.labels[:batch]),
        "position": jnp.arange(batch),
        **setup.constants,
    }
    augment = jax.jit(lambda key, given: segmentation.augment(key, given, config))
    parts = {"scale, crop, recolour and mirror": _ready(augment, jax.random.key(0), given)}
    step = ours.training_step(config, dataset, 1)
    name = f"deeplabv3_resnet18 x 0.25, {size[0]}x{size[1]}, B {batch}"
    return _share(name, parts, step, "each alone, not fused with the network's first layers")


def _host_rows(width: float, batch: int) -> list[Row]:
    """What the host does for a step: draw its rows, cut them over devices."""
    config = PositionConfig(
        model=ModelConfig(name="resnet18", width=width), train=TrainConfig(batch_size=batch)
    )
    dataset = random_data.images(45_000, 8)
    from gpool_jax.experiments.position import training as position

    feed: Any = training.make_feed(position.prepare(config, dataset=dataset))
    held = {"step": 0}

    def draw() -> None:
        parallel.shard(feed.inputs_at(held["step"], 50), axis=1)
        held["step"] += 50

    spread = Spread.of([s / 50 for s in alternate({"": draw}, repetitions=_ROUNDS)[""]])
    case = f"rows of a batch of {batch} among 45,000, on the host, for each step"
    return [Row("input", case, "ours", seconds=spread, images=batch)]


def _memory_row(count: int, devices: int) -> Row:
    """Bytes that a data set takes when it is put on devices, beside the set itself."""
    words = [sys.executable, "-m", "benchmarks.suites.input", str(count), str(devices)]
    done = subprocess.run(words, cwd=_ROOT, capture_output=True, text=True, check=True)
    grown, size = map(float, done.stdout.split()[-2:])
    return Row(
        "input",
        f"{count} images on {devices} virtual CPU device{'s' if devices > 1 else ''}, bytes over "
        "those of the set",
        "ours",
        value=grown / size,
        unit=f"x {size / 2**20:.0f} MiB",
        note="growth of resident memory while a NumPy set is put on the devices as uint8; in a "
        "process of its own",
    )


def _grow(count: int, devices: int) -> None:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)
    images = random_data.images(count, 32).train.images
    parallel.replicate({"images": np.zeros(1)})
    before = machine.reset_peak_memory()
    jax.block_until_ready(parallel.replicate({"images": images}))
    print(machine.peak_memory() - before, images.nbytes)


def _ready(fn: Callable, *args: Any) -> Callable[[], Any]:
    return lambda: jax.block_until_ready(fn(*args))


if __name__ == "__main__":
    _grow(int(sys.argv[1]), int(sys.argv[2]))
