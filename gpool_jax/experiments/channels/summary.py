"""From the counts of a sweep to values, drops and selectivities with their intervals."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from gpool_jax import ops
from gpool_jax.experiments.channels.plan import CLASS, MATCHED, RANDOM, Arm, Plan
from gpool_jax.experiments.channels.subject import OUTSIDE, measured_boxes
from gpool_jax.experiments.channels.sweep import SweepCounts
from gpool_jax.experiments.measures import intervals
from gpool_jax.experiments.measures.quantity import Quantity
from gpool_jax.ops.regions import Box
from gpool_jax.report.channel_result import NONE, Removal

_NOTHING = Arm(NONE, "overall", NONE, 0)
# What an image can add at least and at most.
_BOUNDS = {"value": (0.0, 1.0), "drop": (-1.0, 1.0), "selectivity": (-2.0, 2.0)}


class Summary:
    """Values of every mask, resampled over images where an interval asks for it."""

    def __init__(
        self,
        quantities: dict[str, Quantity],
        boxes: dict[str, Box],
        plan: Plan,
        swept: SweepCounts,
        *,
        bootstrap: int,
        clusters: np.ndarray | None = None,
    ):
        """Sum the counts of a plan's masks; `bootstrap` draws of images serve every number.

        Where images belong to `clusters` [N], these are drawn.
        """
        self._quantities, self._boxes = quantities, boxes
        self._plan, self._swept = plan, swept
        self._at = {name: i for i, name in enumerate(measured_boxes(boxes))}
        self._units = np.arange(swept.num_images) if clusters is None else clusters
        self._resamples = ops.cluster_resamples(self._units, num_draws=bootstrap, seed=0)
        self._totals = {k: v.sum(axis=1, dtype=np.int64) for k, v in swept.counts.items()}
        self._values = {k: q.score(self._totals[q.counts]) for k, q in quantities.items()}
        self._resampled = functools.cache(self._resample)
        # Where the counts of fewer masks hold a mask.
        self._partial = {row: place for place, row in enumerate(plan.table_masks())}
        # The masks of each arm: one, or one for each draw of a control.
        self._rows: dict[Arm, list[int]] = {_NOTHING: [0]}
        for arm, row in zip(plan.arms, plan.row, strict=True):
            self._rows.setdefault(dataclasses.replace(arm, draw=0), []).append(int(row))

    def _in_tables(self, arm: Arm) -> bool:
        """Whether tables are made of an arm."""
        plan = self._plan
        return arm.count in (0, plan.table_count) and arm.action in (NONE, *plan.table_actions)

    def _place(self, quantity: str, row: int) -> int:
        """Where the counts of a quantity hold a mask."""
        partial = self._quantities[quantity].counts in self._swept.partial
        return self._partial[row] if partial else row

    def _value(self, quantity: str, row: int, measured: str) -> np.ndarray:
        """A mask's value over all images."""
        return self._values[quantity][self._place(quantity, row), self._at[measured]]

    def _draws(self, quantity: str, row: int, measured: str) -> np.ndarray:
        """A mask's values [D] over resampled images."""
        return self._resampled(quantity, row)[:, self._at[measured]]

    def _resample(self, quantity: str, row: int) -> np.ndarray:
        """A mask's values [D, R'] over resampled images."""
        chosen = self._quantities[quantity]
        counts = self._swept.counts[chosen.counts][self._place(quantity, row)]
        return intervals.resampled_values(chosen, counts, self._resamples)

    def removals(self) -> list[Removal]:
        """Everything: first with nothing removed, then value by value."""
        removals = []
        for arm in self._rows:
            for name, quantity in self._quantities.items():
                if quantity.counts in self._swept.partial:
                    regions = list(self._at) if self._in_tables(arm) else []
                elif not quantity.detail:
                    regions = list(self._at)
                else:
                    shown = arm.action in (NONE, *self._plan.table_actions)
                    regions = ["overall"] if shown and arm.region == "overall" else []
                removals += [self._removal(name, arm, region, "value") for region in regions]
        for arm in self._rows:
            if arm != _NOTHING:
                removals += self._losses(next(iter(self._quantities)), arm)
                removals += self._refitted(arm)
        return removals

    def _refitted(self, arm: Arm) -> list[Removal]:
        """Drops of probes that were fitted again, alone and beyond controls."""
        if not self._in_tables(arm):
            return []
        again = [k for k, q in self._quantities.items() if q.counts in self._swept.partial]
        controls = (None, *self._controls(arm))
        return [self._removal(k, arm, "overall", "drop", c) for k in again for c in controls]

    def _losses(self, quantity: str, arm: Arm) -> list[Removal]:
        """Drops in each region, and selectivities, alone and beyond controls."""
        attacked = list(self._boxes) if arm.ranking in (RANDOM, CLASS) else [arm.region]
        attacked = [name for name in attacked if name != "overall"]
        losses = [self._removal(quantity, arm, name, "selectivity") for name in attacked]
        if arm.count != self._plan.table_count:
            return losses
        losses += [self._removal(quantity, arm, name, "drop") for name in self._at]
        for control in self._controls(arm):
            asked = [(name, "drop") for name in self._boxes]
            asked += [(name, "selectivity") for name in attacked]
            losses += [self._removal(quantity, arm, *number, control) for number in asked]
        return losses

    def _controls(self, arm: Arm) -> list[Arm]:
        """The controls of a ranking: random channels, its matched ones, and class channels."""
        if _is_control(arm) or arm.ranking == CLASS:
            return []
        controls = [
            dataclasses.replace(arm, ranking=RANDOM, region="overall"),
            dataclasses.replace(arm, ranking=MATCHED + arm.ranking),
            dataclasses.replace(arm, ranking=CLASS, region="overall"),
        ]
        return [control for control in controls if control in self._rows]

    def _removal(
        self, quantity: str, arm: Arm, measured: str, measure: str, control: Arm | None = None
    ) -> Removal:
        """One number with its interval, of one arm, alone or beyond the mean of a control."""

        def number(value: Callable[[str, int, str], np.ndarray], row: int) -> np.ndarray:
            def drop(region: str) -> np.ndarray:
                return value(quantity, 0, region) - value(quantity, row, region)

            if measure == "value":
                return value(quantity, row, measured)
            if measure == "drop":
                return drop(measured)
            return drop(measured) - drop(OUTSIDE + measured)

        rows = self._rows[arm]
        values = np.array([number(self._value, row) for row in rows])
        # A control ranges over its draws; a ranking over resampled images.
        spread = values if _is_control(arm) else number(self._draws, rows[0])
        if control is not None:
            others = self._rows[control]
            values = values - np.mean([number(self._value, row) for row in others])
            # Which channels the controls are is by chance too: they are drawn again as well.
            share = np.full(len(others), 1.0 / len(others))
            again = np.random.default_rng(0).multinomial(len(others), share, len(self._resamples))
            resampled = [number(self._draws, row) for row in others]
            spread = spread - np.einsum("cd,dc->d", resampled, again / len(others))
        chosen, at = self._quantities[quantity], self._at[measured]
        value = float(values.mean())
        facts: dict[str, Any] = {"chance": None, "num_classes": None}
        if _is_control(arm):
            low, high = intervals.percentile_interval(spread)
        else:
            units = intervals.count_units(self._swept.counts[chosen.counts][0][:, at], self._units)
            bounds = _BOUNDS[measure]
            low, high = intervals.interval(value, spread, units, bounds)
            if measure != "value":
                facts["p"] = intervals.p_value(value, spread, units, bounds)
        if measure == "value":
            totals = self._totals[chosen.counts][self._place(quantity, rows[0]), at]
            facts = {"chance": chosen.chance, "num_classes": intervals.num_classes(chosen, totals)}
        return Removal(
            ranking=arm.ranking,
            region=arm.region,
            action=arm.action,
            count=arm.count,
            measured=measured,
            measure=measure,
            versus=None if control is None else control.ranking,
            quantity=quantity,
            title=chosen.title,
            value=value,
            low=low,
            high=high,
            num_images=self._swept.num_images,
            num_draws=len(rows),
            **facts,
        )


def _is_control(arm: Arm) -> bool:
    return arm.ranking == RANDOM or arm.ranking.startswith(MATCHED)
