"""What a training step costs against batch, width, n, classes, channels and devices."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

from benchmarks import ours, random_data
from benchmarks.record import Row
from benchmarks.timing import Case, Contender, Spread, alternate
from gpool_jax.config import ModelConfig, PositionConfig, TrainConfig
from gpool_jax.experiments.position import training as position
from gpool_jax.models.cost import count_parameters

_ROOT = Path(__file__).parents[2]
_SIDE = 16
_BASE = {"width": 0.125, "n": 3, "batch": 48, "task": "location"}
_VARIED: dict[str, tuple[Any, ...]] = {
    "batch": (12, 24, 48, 96),
    "width": (0.0625, 0.125, 0.25, 0.5),
    "n": (2, 3, 5, 7),
}


def cases(quick: bool) -> list[Case]:
    """One thing varied at a time, around a thin ResNet-18 on 48x48 canvases."""
    found = [
        _case(name, value, _BASE | {name: value})
        for name, values in _VARIED.items()
        for value in (values[:1] if quick else values)
    ]
    if quick:
        return found
    classes = [_case("classes", k, _BASE | {"task": "recognition"}, k) for k in (10, 100, 1000)]
    return [*found, *classes]


def _config(values: dict[str, Any]) -> PositionConfig:
    return PositionConfig(
        task=values["task"],
        n=values["n"],
        model=ModelConfig(name="resnet18", width=values["width"]),
        train=TrainConfig(batch_size=values["batch"]),
    )


def _case(name: str, value: Any, values: dict[str, Any], num_classes: int = 10) -> Case:
    config = _config(values)
    dataset = random_data.images(2_000, _SIDE, num_classes=num_classes)
    steps = 1 if jax.default_backend() == "cpu" else 50
    return Case(
        suite="scaling",
        name=f"{name} {value:g}" + (f" ({512 * value:g} channels)" if name == "width" else ""),
        contenders=(Contender("ours", lambda: ours.training_step(config, dataset, steps), steps),),
        images=values["batch"],
        flops=lambda: ours.training_flops(
            position.prepare(config, dataset=dataset), values["batch"]
        ),
    )


def rows(quick: bool) -> list[Row]:
    """Devices, in processes of their own, and the bytes that a step must exchange."""
    found = [_bytes_row(width) for width in ((0.125,) if quick else (0.125, 0.25, 1.0))]
    if jax.default_backend() == "cpu":
        found += [_devices_row(count, 2 if quick else 7) for count in (1, 2)]
    return found


def _bytes_row(width: float) -> Row:
    """All-reduced in every step: the gradients, and the batch statistics."""
    config = _config(_BASE | {"width": width})
    setup = position.prepare(config, dataset=random_data.images(100, _SIDE))
    state = jax.eval_shape(setup.init_state)
    numbers = count_parameters(state.params) + count_parameters(state.batch_stats)
    # BatchNorm's own moments, in the forward pass and again in its gradient.
    numbers += 2 * count_parameters(state.batch_stats)
    return Row(
        "scaling",
        f"bytes all-reduced per step, resnet18 x {width:g}",
        "ours",
        value=4.0 * numbers,
        unit="bytes",
        note="parameters' gradients, and the batch statistics three times (moments, their "
        "gradient, running values), in float32",
    )


def _devices_row(count: int, rounds: int) -> Row:
    words = [sys.executable, "-m", "benchmarks.suites.scaling", str(count), str(rounds)]
    done = subprocess.run(words, cwd=_ROOT, capture_output=True, text=True, check=True)
    spread = Spread(**json.loads(done.stdout.strip().splitlines()[-1]))
    note = "virtual devices share the same cores: what is measured is the cost of dividing"
    return Row("scaling", f"devices {count}", "ours", seconds=spread, images=48, note=note)


def _on_devices(count: int, rounds: int) -> None:
    from gpool_jax.train.allocator import keep_freed_memory

    keep_freed_memory()
    jax.config.update("jax_num_cpu_devices", count)
    call = ours.training_step(_config(_BASE), random_data.images(2_000, _SIDE), 1)
    spread = Spread.of(alternate({"": call}, repetitions=rounds)[""])
    print(json.dumps(dataclasses.asdict(spread)))


if __name__ == "__main__":
    _on_devices(int(sys.argv[1]), int(sys.argv[2]))
