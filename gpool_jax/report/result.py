"""What an experiment measured, as plain data: what results.json holds."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from gpool_jax.report.channel_result import Agreement, Removal, Stability

# What a probe reads: the pooled vector, its channels permuted, its channels sorted.
INPUTS = ("latent", "permuted latent", "sorted latent")


@dataclasses.dataclass(frozen=True)
class Row:
    """One accuracy, with everything needed to judge it.

    Attributes:
      arm: which network, and how it was tested.
      task: "location" or "recognition".
      checkpoint: "best" (picked on the validation split) or "step N".
      accuracy: over all (image, cell, permutation) answers, in 0..1.
      low, high: 95 % interval, bootstrap over images (and seeds).
      chance: accuracy of a uniform guess.
      num_images: test images.
      num_predictions: answers per seed.
      num_seeds: training seeds.
      per_seed: each seed's accuracy.
      steps: training steps behind the checkpoint, per seed.
    """

    arm: str
    task: str
    checkpoint: str
    accuracy: float
    low: float
    high: float
    chance: float
    num_images: int
    num_predictions: int
    num_seeds: int
    per_seed: list[float]
    steps: list[int]


@dataclasses.dataclass(frozen=True)
class Probe:
    """Accuracy of a read-out of a frozen network's pooled features.

    Attributes:
      network: which network was frozen.
      stage: which feature was pooled.
      input: one of `INPUTS`.
      probe: "ridge", "logistic", "mlp", or "selected": whichever did best on data
        that is neither fitted nor reported.
      target: "cell", "row", "column" or "class".
      accuracy, low, high, chance: as in `Row`.
      num_images: test images that the probe was cross-validated on.
      num_predictions: images times cells.
      num_seeds: training seeds.
    """

    network: str
    stage: str
    input: str
    probe: str
    target: str
    accuracy: float
    low: float
    high: float
    chance: float
    num_images: int
    num_predictions: int
    num_seeds: int


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One quantity under shift, of one arm or of one arm less another.

    Attributes:
      arm: which network.
      versus: the arm that was taken away; None for the quantity itself.
      protocol: how inputs were shifted; "canvas" for what is read from canvases.
      quantity: see `report.quantities`.
      value: over all seeds and images.
      low, high: 95 % interval, bootstrap over images (and seeds), paired where
        an arm was taken away.
      chance: value of a guess, where there is one.
      num_images: test images.
      num_answers: answers per seed.
      num_seeds: training seeds.
      per_seed: each seed's value.
    """

    arm: str
    versus: str | None
    protocol: str
    quantity: str
    value: float
    low: float
    high: float
    chance: float | None
    num_images: int
    num_answers: int
    num_seeds: int
    per_seed: list[float]


@dataclasses.dataclass(frozen=True)
class Result:
    """Everything one command measured.

    Attributes:
      title: of the report.
      config: plain config of the run.
      rows: accuracies.
      probes: read-outs.
      maps: name to a nested list: `per_cell` [n, n], `confusion` [K, K] (rows:
        truth, each summing to 1), `tuning` [channels, n, n] and what they are of.
      curves: name of a network to its metrics.jsonl.
      environment: versions, hardware, command, wall time.
      notes: sentences that belong beside the numbers.
      measurements: what was measured under shift.
      removals: what was measured with channels removed, or none of them.
      agreements: of rankings with each other.
      stability: of rankings with themselves.
    """

    title: str
    config: dict[str, Any]
    rows: list[Row] = dataclasses.field(default_factory=list)
    probes: list[Probe] = dataclasses.field(default_factory=list)
    maps: dict[str, Any] = dataclasses.field(default_factory=dict)
    curves: dict[str, list[dict[str, Any]]] = dataclasses.field(default_factory=dict)
    environment: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)
    measurements: list[Measurement] = dataclasses.field(default_factory=list)
    removals: list[Removal] = dataclasses.field(default_factory=list)
    agreements: list[Agreement] = dataclasses.field(default_factory=list)
    stability: list[Stability] = dataclasses.field(default_factory=list)


def write_result(
    result: Result, folder: Path, per_image: dict[str, np.ndarray] | None = None
) -> Path:
    """Write results.json, and per_image.npz (name of a row, probe or tally to scores) beside it."""
    if per_image:
        content: dict[str, Any] = dict(per_image)
        np.savez_compressed(folder / "per_image.npz", **content)
    path = folder / "results.json"
    aside = path.with_suffix(".tmp")
    aside.write_text(json.dumps(dataclasses.asdict(result), indent=1) + "\n")
    os.replace(aside, path)
    return path


def read_result(folder: Path) -> Result:
    """Read results.json back."""
    values = json.loads((folder / "results.json").read_text())
    values["rows"] = [Row(**row) for row in values["rows"]]
    values["probes"] = [Probe(**probe) for probe in values["probes"]]
    values["measurements"] = [Measurement(**m) for m in values.get("measurements", ())]
    values["removals"] = [Removal(**r) for r in values.get("removals", ())]
    values["agreements"] = [Agreement(**a) for a in values.get("agreements", ())]
    values["stability"] = [Stability(**s) for s in values.get("stability", ())]
    return Result(**values)
