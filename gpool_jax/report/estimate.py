"""The estimated cost of a run, and its text for the terminal."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The cost of one training, and how many trainings of a comparison are like it.

    Attributes:
      name: name of the run; empty if there is only one.
      num_runs: runs that differ in their seed only.
      image_shape, input_shape: (H, W, C) of the data set and of the network's input.
      parameters: part of the network to its number of parameters.
      forward_flops: floating point operations to evaluate one image.
      step_flops: floating point operations of a training step, on all devices together.
      state_bytes: parameters, statistics and optimiser, on every device.
      data_bytes: the training data, on every device.
      temporary_bytes: other memory of a step, on every device.
      devices: devices of all processes.
      batch_size: images a step, on all devices together.
      compile_seconds: compilation of the step, with an empty cache.
      step_seconds: median, shortest, longest.
      validation_seconds: time of each, without loading data and compilation.
      measuring_seconds: time of all measurements after the training, without compilation.
    """

    name: str
    num_runs: int
    num_images: int
    image_shape: tuple[int, ...]
    input_shape: tuple[int, ...]
    parameters: dict[str, int]
    forward_flops: float
    step_flops: float
    state_bytes: int
    data_bytes: int
    temporary_bytes: int
    device_kind: str
    devices: int
    num_processes: int
    batch_size: int
    steps: int
    compile_seconds: float
    step_seconds: tuple[float, float, float]
    num_validations: int
    validation_seconds: float
    measuring_seconds: float

    @property
    def seconds(self) -> float:
        """Predicted time of one run."""
        validations = self.num_validations * self.validation_seconds
        training = self.compile_seconds + self.steps * self.step_seconds[0] + validations
        return training + self.measuring_seconds


def describe_total(estimates: list[Estimate]) -> str:
    """Format the time of all runs together, and what it leaves out."""
    runs = sum(e.num_runs for e in estimates)
    total = _duration(sum(e.num_runs * e.seconds for e in estimates))
    together = f"All {runs} runs together: {total}.\n" if runs > 1 else ""
    return (
        f"{together}The prediction covers training and measurements, not reading the data, "
        "compiling the measurements or writing the page. Nothing was saved."
    )


def describe(e: Estimate) -> str:
    """Format an estimate as text for the terminal."""

    def size(shape: tuple[int, ...]) -> str:
        return " x ".join(map(str, shape))

    def mb(number: int) -> str:
        return f"{number / 1e6:,.1f} MB"

    images = e.steps * e.batch_size
    median, least, most = e.step_seconds
    memory = e.state_bytes + e.data_bytes + e.temporary_bytes
    rate = e.step_flops / median / 1e9
    lines = {
        "data": f"{e.num_images:,} images of {size(e.image_shape)} to train on",
        "network": f"input {size(e.input_shape)}; {sum(e.parameters.values()):,} parameters: "
        + ", ".join(f"{name} {number:,}" for name, number in e.parameters.items()),
        "operations": f"{e.forward_flops / 1e9:.4g} GFLOP to evaluate an image; "
        f"{e.step_flops / 1e9:.4g} GFLOP a training step",
        "devices": f"{e.devices} x {e.device_kind}, in {e.num_processes} "
        f"process{'es' if e.num_processes > 1 else ''}",
        "memory": f"{mb(memory)} a device: state {mb(e.state_bytes)}, data {mb(e.data_bytes)}, "
        f"temporary {mb(e.temporary_bytes)}",
        "steps": f"{e.steps:,} of {e.batch_size} images: {images:,} images, "
        f"{images / e.num_images:.3g} epochs; {e.num_validations} validations",
        "measured": f"compilation {e.compile_seconds:.1f} s; a step {1e3 * median:.4g} ms "
        f"({1e3 * least:.4g} to {1e3 * most:.4g}), {e.batch_size / median:,.0f} images/s, "
        f"{rate:,.1f} GFLOP/s; a validation {e.validation_seconds:.3g} s; "
        f"measurements {e.measuring_seconds:.3g} s",
        "predicted": _duration(e.seconds) + (f", {e.num_runs} times" if e.num_runs > 1 else ""),
    }
    text = "\n".join(f"{name:<12}{value}" for name, value in lines.items())
    return f"{e.name}\n{text}" if e.name else text


def _duration(seconds: float) -> str:
    """Format a duration, rounded up.

    >>> _duration(8.2), _duration(125), _duration(7300)
    ('9 s', '2 min 5 s', '2 h 2 min')
    """
    whole = math.ceil(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {math.ceil(whole % 3600 / 60)} min"
