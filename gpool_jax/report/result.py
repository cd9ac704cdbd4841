"""The results of an experiment as plain data: the content of results.json."""

import dataclasses
import html
import json
import math
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from gpool_jax import files
from gpool_jax.report.channel_result import Agreement, Balance, Removal, Stability

# Raised when a field of results.json changes its meaning or goes; files without it are of 1.
SCHEMA = 1
_SHOWN = 50  # lines of a table in a notebook
# Inputs of probes: the pooled vector, its channels permuted, its channels sorted.
INPUTS = ("latent", "permuted latent", "sorted latent")
# Of the cell in the pooled vector: a code without structure as legible in order, and no code.
CONTROLS = ("sorted random code", "labels shuffled")


@dataclasses.dataclass(frozen=True)
class Row:
    """One accuracy, with everything needed to judge it.

    Attributes:
      arm: the network, and how it was tested.
      task: "location" or "recognition".
      checkpoint: "best" (on the validation split) or "step N".
      accuracy: mean over all (image, cell, permutation) predictions, in 0..1.
      low, high: 95 % interval, by bootstrap over images, and by t over seeds if several.
      chance: accuracy of a uniform guess.
      num_predictions: predictions per seed.
      per_seed, steps: accuracy of each seed, and its training steps before the checkpoint.
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
    """Accuracy of a probe of a frozen network's pooled features.

    Attributes:
      stage: the feature that was pooled.
      input: one of `INPUTS` or `CONTROLS`.
      probe: "ridge", "logistic", "mlp", or "selected": whichever did best on data
        that is neither fitted nor reported.
      target: "cell", "row", "column" or "class".
      accuracy, low, high, chance: as in `Row`.
      num_images: test images, over which the probe is cross-validated.
      num_predictions: images times cells.
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
    """One quantity under shift, of one arm or of one arm minus another.

    Attributes:
      versus: the arm that was subtracted; None for the quantity itself.
      protocol: how inputs were shifted; "canvas" for what is decoded from canvases.
      quantity: a key; see `report.quantities`.
      value: mean over all seeds and images.
      low, high: 95 % interval, over images (and seeds, as of `Row`), paired where an
        arm was subtracted.
      chance: the value of a guess, where there is one.
      num_answers: predictions per seed.
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


class Maps(TypedDict, total=False):
    """Arrays behind the figures, as nested lists, and what they belong to; any may be missing.

    Attributes:
      per_cell: accuracy [n, n]; `per_cell_of` names the network.
      per_cells: accuracy [n, n] of every network of a comparison, a mean over its seeds.
      confusion: [K, K], rows (labels) sum to 1; `confusion_of` names the network.
      selectivity: eta squared of every channel.
      tuning: [channels, n, n], mean activations of the most selective channels, which
        are `tuning_channels`, with eta squared `tuning_selectivity`.
      scores: "METHOD REGION" to a ranking's scores, best first.
      first_channels: ranking to the channels that it puts first.
      table: header and lines of a table of a comparison's accuracies by n.
      table_count, table_actions: removals that tables show; older results have one
        `table_action` (see `channel_result.table_actions`).
    """

    per_cell: list[list[float]]
    per_cell_of: str
    per_cells: dict[str, list[list[float]]]
    confusion: list[list[float]]
    confusion_of: str
    classes: list[str]
    selectivity: list[float]
    tuning: list[list[list[float]]]
    tuning_channels: list[int]
    tuning_selectivity: list[float]
    scores: dict[str, list[float]]
    first_channels: dict[str, list[int]]
    table: list[list[str]]
    table_count: int
    table_actions: list[str]
    table_action: str
    num_channels: int


@dataclasses.dataclass(frozen=True, repr=False)
class Result:
    """Everything that one command measured.

    Attributes:
      config: the run's configuration, as plain data.
      maps: arrays behind the figures.
      curves: name of a network to its metrics.jsonl.
      environment: versions, hardware, command, wall time.
      notes: sentences that belong beside the numbers.
      measurements: quantities under shift.
      removals: quantities with channels removed, or with none of them.
      agreements: comparisons of rankings with each other.
      stability: comparisons of rankings with themselves.
      balances: comparisons of matched channels with those that they are matched to.
    """

    title: str
    config: dict[str, Any]
    rows: list[Row] = dataclasses.field(default_factory=list)
    probes: list[Probe] = dataclasses.field(default_factory=list)
    maps: Maps = dataclasses.field(default_factory=Maps)
    curves: dict[str, list[dict[str, Any]]] = dataclasses.field(default_factory=dict)
    environment: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)
    measurements: list[Measurement] = dataclasses.field(default_factory=list)
    removals: list[Removal] = dataclasses.field(default_factory=list)
    agreements: list[Agreement] = dataclasses.field(default_factory=list)
    stability: list[Stability] = dataclasses.field(default_factory=list)
    balances: list[Balance] = dataclasses.field(default_factory=list)

    def to_pandas(self, part: str = "rows") -> Any:
        """A `pandas.DataFrame` with a line for each entry of a part, such as "probes".

        Raises:
          ValueError: if there is no such part.
        """
        if part not in PARTS:
            raise ValueError(f"`part` must be one of {', '.join(PARTS)}; got {part}.")
        import pandas

        return pandas.DataFrame([dataclasses.asdict(entry) for entry in getattr(self, part)])

    def __repr__(self) -> str:
        counts = {part: len(getattr(self, part)) for part in PARTS}
        held = ", ".join(f"{count} {part}" for part, count in counts.items() if count)
        return f"<Result {self.title!r}: {held or 'nothing measured'}>"

    def _repr_html_(self) -> str:
        """The view of a notebook: the title, the sentences and the head of the first table."""
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        filled = [getattr(self, part) for part in PARTS if getattr(self, part)]
        entries = filled[0] if filled else []
        lines = [_plain_fields(entry) for entry in entries[:_SHOWN]]
        header = "".join(f"<th>{name}</th>" for name in (lines[0] if lines else ()))
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in line.values()) + "</tr>"
            for line in lines
        )
        table = f"<table><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table>"
        more = f"<p>{len(entries) - _SHOWN} more</p>" if len(entries) > _SHOWN else ""
        return f"<h3>{html.escape(self.title)}</h3><ul>{notes}</ul>{table if lines else ''}{more}"


# The lists of a result, and what each holds.
PARTS: dict[str, type] = {
    "rows": Row,
    "probes": Probe,
    "measurements": Measurement,
    "removals": Removal,
    "agreements": Agreement,
    "stability": Stability,
    "balances": Balance,
}


def _plain_fields(entry: Any) -> dict[str, str]:
    """The fields of an entry of a part that a cell of a table can hold."""
    values = dataclasses.asdict(entry)
    return {
        name: f"{value:.4g}" if isinstance(value, float) else str(value)
        for name, value in values.items()
        if not isinstance(value, list | dict)
    }


def write_result(
    result: Result, folder: Path, per_image: dict[str, np.ndarray] | None = None
) -> Path:
    """Write results.json, and per_image.npz (name of a row, probe or tally to its scores)."""
    text = files.to_json({"schema": SCHEMA, **to_null(dataclasses.asdict(result))})
    if per_image:
        content: dict[str, Any] = dict(per_image)
        with files.writing(folder / "per_image.npz") as file:
            np.savez_compressed(file, **content)
    path = folder / "results.json"
    files.write(path, text)
    return path


def read_result(folder: str | Path) -> Result:
    """Read results.json.

    Raises:
      ValueError: if it is damaged, or of a later schema.
    """
    path = Path(folder) / "results.json"
    try:
        values = json.loads(path.read_bytes())
        schema = values.pop("schema", SCHEMA)
        if schema != SCHEMA:
            raise ValueError(f"{path} is of schema {schema}; this version reads {SCHEMA}.")
        result = _from_plain(values)
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} holds no result: {error}.") from error
    if not isinstance(result.environment, dict) or not isinstance(result.config, dict):
        raise ValueError(f"{path} holds no result.")
    return result


def _from_plain(values: dict[str, Any]) -> Result:
    for name, part in PARTS.items():
        values[name] = [build(part, fields) for fields in values.get(name, ())]
    values["maps"] = _to_nan(values.get("maps", {}))
    return Result(**values)


def to_null(values: Any) -> Any:
    """Plain data with null for a number that does not exist: a mean over nothing is NaN."""
    if isinstance(values, dict):
        return {name: to_null(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [to_null(value) for value in values]
    return None if isinstance(values, float) and math.isnan(values) else values


def _to_nan(values: Any) -> Any:
    """The inverse of `to_null`, for data in which null stands for nothing else."""
    if isinstance(values, dict):
        return {name: _to_nan(value) for name, value in values.items()}
    if isinstance(values, list):
        return [_to_nan(value) for value in values]
    return math.nan if values is None else values


def build(part: type, fields: dict[str, Any]) -> Any:
    """A part of a result; null is NaN where numbers belong."""
    numbers = (float, list[float], dict[str, float])
    of_numbers = {field.name for field in dataclasses.fields(part) if field.type in numbers}
    return part(**{n: _to_nan(value) if n in of_numbers else value for n, value in fields.items()})
