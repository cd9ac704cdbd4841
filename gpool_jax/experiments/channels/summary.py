"""From the counts of a sweep to values, drops and selectivities with their intervals."""

import functools

import numpy as np

from gpool_jax.experiments.channels.plan import MATCHED, RANDOM, Plan
from gpool_jax.experiments.channels.subject import OUTSIDE, Quantity, measured_boxes
from gpool_jax.experiments.channels.sweep import Swept
from gpool_jax.ops.regions import Box
from gpool_jax.report.channel_result import NONE, Removal


class Summary:
    """Values of every mask, drawn again over images when an interval asks for it."""

    def __init__(
        self,
        quantities: dict[str, Quantity],
        boxes: dict[str, Box],
        plan: Plan,
        swept: Swept,
        *,
        bootstrap: int,
    ):
        """Take what was counted.

        Args:
          quantities: of the subject.
          boxes: of its regions.
          plan: whose masks were swept.
          swept: their counts.
          bootstrap: draws of images, the same for every number.
        """
        self._quantities, self._boxes = quantities, boxes
        self._plan, self._swept = plan, swept
        self._measured = measured_boxes(boxes)
        generator = np.random.default_rng(0)
        rows = generator.integers(0, swept.num_images, (bootstrap, swept.num_images))
        self._drawn = np.stack([np.bincount(r, minlength=swept.num_images) for r in rows])
        self._values: dict[str, np.ndarray] = {}
        self.groups: dict[tuple[str, str, str, int], list[int]] = {}
        for arm, row in zip(plan.arms, plan.row, strict=True):
            key = arm.ranking, arm.region, arm.action, arm.count
            self.groups.setdefault(key, []).append(int(row))

    def value(self, quantity: str, rows: list[int], measured: str) -> np.ndarray:
        """Value of each mask [rows] over all images."""
        if quantity not in self._values:
            found = self._quantities[quantity]
            totals = self._swept.counts[found.counts].sum(axis=1, dtype=np.int64)
            self._values[quantity] = found.score(totals)
        return self._values[quantity][rows, self._measured.index(measured)]

    @functools.cache  # noqa: B019 - lives as long as the summary
    def drawn(self, quantity: str, row: int, measured: str) -> np.ndarray:
        """Value of one mask [draws] over images drawn again."""
        found = self._quantities[quantity]
        counts = self._swept.counts[found.counts][row][:, self._measured.index(measured)]
        totals = self._drawn @ counts.reshape(len(counts), -1).astype(np.float64)
        return found.score(totals.reshape(len(totals), *counts.shape[1:]))

    def removals(self) -> list[Removal]:
        """Everything: first with nothing removed, then value by value."""
        nothing = (NONE, "overall", NONE, 0)
        found = []
        for key, rows in {nothing: [0], **self.groups}.items():
            for name, quantity in self._quantities.items():
                if quantity.detail and not (
                    key[1] == "overall" and key[2] in (NONE, self._plan.table_action)
                ):
                    continue
                regions = ["overall"] if quantity.detail else self._measured
                found += [self._of_mask(name, key, rows, region) for region in regions]
        first = next(iter(self._quantities))
        for key in self.groups:
            found += self._drops(first, key)
        return found

    def _of_mask(self, quantity: str, key: tuple, rows: list[int], measured: str) -> Removal:
        values = self.value(quantity, rows, measured)
        if _is_control(key[0]):
            low, high = _range(values)
        else:
            low, high = _range(self.drawn(quantity, rows[0], measured))
        return self._make(quantity, key, measured, "value", None, float(values.mean()), (low, high))

    def _drops(self, quantity: str, key: tuple[str, str, str, int]) -> list[Removal]:
        """What is lost in each region, and more inside than outside, alone and beyond controls."""
        ranking, region, _, count = key
        attacked = [region] if ranking != RANDOM else list(self._boxes)
        attacked = [name for name in attacked if name != "overall"]
        found = [self._selectivity(quantity, key, name) for name in attacked]
        if count != self._plan.table_count:
            return found
        found += [self._drop(quantity, key, measured) for measured in self._measured]
        for control in self._controls(key):
            found += [self._drop(quantity, key, name, control) for name in self._boxes]
            found += [self._selectivity(quantity, key, name, control) for name in attacked]
        return found

    def _controls(self, key: tuple[str, str, str, int]) -> list[tuple[str, str, str, int]]:
        """What a ranking is compared with: random channels, and its matched ones."""
        ranking, region, action, count = key
        if _is_control(ranking):
            return []
        controls = [
            (RANDOM, "overall", action, count),
            (MATCHED + ranking, region, action, count),
        ]
        return [control for control in controls if control in self.groups]

    def _drop(self, quantity: str, key: tuple, measured: str, control: tuple | None = None):
        def lost(rows: list[int]) -> np.ndarray:
            return self.value(quantity, [0], measured) - self.value(quantity, rows, measured)

        def drawn(row: int) -> np.ndarray:
            return self.drawn(quantity, 0, measured) - self.drawn(quantity, row, measured)

        return self._difference(quantity, key, measured, "drop", control, lost, drawn)

    def _selectivity(self, quantity: str, key: tuple, region: str, control: tuple | None = None):
        def both(value, rows):
            inside = value(quantity, 0, region) - value(quantity, rows, region)
            outside = value(quantity, 0, OUTSIDE + region) - value(quantity, rows, OUTSIDE + region)
            return inside - outside

        def lost(rows: list[int]) -> np.ndarray:
            return both(self.value, rows)

        def drawn(row: int) -> np.ndarray:
            return both(self.drawn, row)

        return self._difference(quantity, key, region, "selectivity", control, lost, drawn)

    def _difference(self, quantity, key, measured, measure, control, lost, drawn) -> Removal:
        rows = self.groups[key]
        values = lost(rows)
        if _is_control(key[0]):
            interval = _range(values)
            value = float(values.mean())
        elif control is None:
            value, interval = float(values[0]), _range(drawn(rows[0]))
        else:
            others = self.groups[control]
            value = float(values[0] - lost(others).mean())
            # Which channels the controls are is by chance too: they are drawn again as well.
            share = np.full(len(others), 1.0 / len(others))
            again = np.random.default_rng(0).multinomial(len(others), share, len(self._drawn))
            mean = np.einsum("cd,dc->d", [drawn(row) for row in others], again / len(others))
            interval = _range(drawn(rows[0]) - mean)
        versus = None if control is None else control[0]
        return self._make(quantity, key, measured, measure, versus, value, interval)

    def _make(self, quantity, key, measured, measure, versus, value, interval) -> Removal:
        found: Quantity = self._quantities[quantity]
        classes = None
        if found.classes is not None and measure == "value":
            totals = self._swept.counts[found.counts][self.groups[key][0] if key[3] else 0]
            at = self._measured.index(measured)
            classes = int(found.classes(totals[:, at].sum(axis=0, dtype=np.int64)))
        ranking, region, action, count = key
        return Removal(
            ranking=ranking,
            region=region,
            action=action,
            count=count,
            measured=measured,
            measure=measure,
            versus=versus,
            quantity=quantity,
            title=found.title,
            value=value,
            low=interval[0],
            high=interval[1],
            chance=found.chance if measure == "value" else None,
            num_images=self._swept.num_images,
            num_draws=len(self.groups.get(key, [0])),
            num_classes=classes,
        )


def _is_control(ranking: str) -> bool:
    return ranking == RANDOM or ranking.startswith(MATCHED)


def _range(values: np.ndarray) -> tuple[float, float]:
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
