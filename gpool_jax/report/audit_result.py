"""What an audit found, as plain data: the content of audit.json."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from gpool_jax import files
from gpool_jax.report.result import build, to_null

# Raised when a field changes its meaning or goes.
SCHEMA = 1
# The questions that a line may answer, and the first words of the quantities of each.
LINE_QUESTIONS: dict[str, tuple[str, ...]] = {
    "position": ("cell", "row", "column"),
    "content": ("image",),
    "class": ("class",),
    "share": ("position", "content"),
    "channels": ("variance", "translation"),
    "removal": ("answers kept", "divergence", "cell", "image"),
    "erasure": ("cell", "image", "answers kept", "answers changed by shifts"),
    "shift": ("answers changed", "latent distance"),
}


@dataclasses.dataclass(frozen=True)
class Line:
    """One quantity of one network, with everything needed to judge it.

    Attributes:
      question: one of `LINE_QUESTIONS`.
      quantity: such as "cell", "image", "answers kept"; with `unit` "bits", "share" (0..1),
        "ratio" or "correlation".
      condition: how the vector was given ("ordered", "permuted", "sorted"), or what was done.
      stage: the stage of the network.
      control: "" for the network itself, or "untrained".
      value, low, high: with a 95 % interval over images and, of several twins, seeds.
      chance: the value of a guess, where there is one.
      num_images, num_seeds: behind the value; `per_seed` are the values of twins.
    """

    question: str
    quantity: str
    condition: str
    stage: str
    control: str
    unit: str
    value: float
    low: float
    high: float
    chance: float | None
    num_images: int
    num_seeds: int = 1
    per_seed: list[float] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Audited:
    """One network.

    Attributes:
      verdicts: question to a sentence, made by the rules of `experiments.audit.verdicts`.
      channels: column to values [C]: variance shares, scores and ranks of each channel.
      tuning: mean activation [k, n, n] of the channels that carry most position.
      drivers: numbers [k, 3] of the images that these channels respond to most.
    """

    name: str
    stage: str
    num_channels: int
    num_outputs: int | None
    lines: list[Line]
    verdicts: dict[str, str]
    notes: list[str]
    channels: dict[str, list[float]]
    tuning: list[list[list[float]]]
    drivers: list[list[int]] = dataclasses.field(default_factory=list)

    def line(self, question: str, quantity: str, condition: str, **fields: str) -> Line | None:
        """The line of the pooled stage with these fields; None if it was not measured."""
        wanted = {"stage": self.stage, "control": ""} | fields
        wanted |= {"question": question, "quantity": quantity, "condition": condition}
        for line in self.lines:
            if all(getattr(line, name) == value for name, value in wanted.items()):
                return line
        return None

    def shift(self, quantity: str, *, control: str = "") -> Line | None:
        """The line of the largest shift of the first protocol; None if it was not measured."""
        lines = [
            line
            for line in self.lines
            if (line.question, line.quantity, line.control) == ("shift", quantity, control)
            and line.condition.endswith(" px")
        ]
        first = [x for x in lines if x.condition.split(",")[0] == lines[0].condition.split(",")[0]]
        return first[-1] if first else None


@dataclasses.dataclass(frozen=True)
class AuditResult:
    """Everything that one audit measured.

    Attributes:
      stimuli: a strip of stimuli, uint8 [k, H, W, 3], for the page only.
      thumbnails: number of an image to uint8 [h, w, 3], for the page only.
    """

    title: str
    config: dict[str, Any]
    networks: list[Audited]
    notes: list[str]
    environment: dict[str, Any] = dataclasses.field(default_factory=dict)
    stimuli: np.ndarray | None = None
    thumbnails: dict[int, np.ndarray] = dataclasses.field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """The content of audit.json."""
        values = dataclasses.asdict(dataclasses.replace(self, stimuli=None, thumbnails={}))
        del values["stimuli"], values["thumbnails"]
        return {"schema": SCHEMA, **values}


def read_audit(path: Path) -> AuditResult:
    """Read audit.json.

    Raises:
      ValueError: if it is of another schema.
    """
    values = json.loads(path.read_bytes())
    if values.pop("schema", None) != SCHEMA:
        raise ValueError(f"{path} is not of schema {SCHEMA}.")
    networks = [
        Audited(**{**network, "lines": [build(Line, line) for line in network["lines"]]})
        for network in values.pop("networks")
    ]
    return AuditResult(networks=networks, **values)


def write_audit(result: AuditResult, path: Path) -> None:
    """Write audit.json."""
    files.write(path, files.to_json(to_null(result.to_plain())))


def measures(network: Audited) -> dict[str, float]:
    """Every value of the pooled stage under a short name, such as "position.cell.ordered"."""
    found = {}
    for line in network.lines:
        if not line.control and line.stage == network.stage:
            name = f"{line.question}.{line.quantity}.{line.condition}"
            found[name.replace(", ", ".").replace(" ", "_")] = line.value
    return found
