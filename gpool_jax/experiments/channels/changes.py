"""From one mask to the next by the channels that change: for heads that begin linearly.

What a head's first convolutions give for a mask is what they give for another one,
plus what the channels add in which the two differ. Rankings are removed in growing
numbers, so that each mask is its predecessor and a few channels more.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax.experiments.channels.plan import Plan
from gpool_jax.experiments.channels.subject import Arrays, LinearSubject, Variables
from gpool_jax.models.deeplab_linear import Responses
from gpool_jax.train import parallel

# `features`, by name, and `labels`; perhaps `responses`.
Batch = dict[str, Any]
FULL, EMPTY, PREVIOUS = "full", "empty", "previous"


@dataclasses.dataclass(frozen=True)
class Change:
    """How to come to a mask from `base`: "full" (nothing removed), "empty" or "previous".

    `channels` int32 [n] change; `signs` float32 [n] are 1 where a channel comes back, -1 where
    it goes, 0 where the entry only fills up the array.
    """

    base: str
    channels: np.ndarray
    signs: np.ndarray


def make_changes(plan: Plan) -> list[Change]:
    """For every mask of a plan, in order, the nearest mask to come from."""
    changes = []
    for row, keep in enumerate(plan.keep):
        bases = {FULL: np.ones_like(keep), EMPTY: np.zeros_like(keep)}
        # Removed channels hold something else, if they are put to their mean.
        if row and plan.use_mean[row] == plan.use_mean[row - 1]:
            bases[PREVIOUS] = plan.keep[row - 1]
        base = min(bases, key=lambda name: (bases[name] != keep).sum())
        channels = np.flatnonzero(bases[base] != keep)
        padded = np.zeros(_padded_size(len(channels), len(keep)), np.int32)
        signs = np.zeros(len(padded), np.float32)
        padded[: len(channels)] = channels
        signs[: len(channels)] = np.where(keep[channels], 1.0, -1.0)
        changes.append(Change(base, padded, signs))
    return changes


def _padded_size(count: int, channels: int) -> int:
    """Few different sizes, for each is a program: 1, 2, 3, 4, 6, 8, 12, 16, ..."""
    size = 1
    while size < count:
        size = size * 3 // 2 if size & (size - 1) == 0 and size > 1 else -(-size * 4 // 3)
    return min(size, channels)


class ChangeSweep:
    """Counts of every mask of a plan, batch by batch."""

    def __init__(self, subject: LinearSubject, plan: Plan, mean: np.ndarray):
        """Put the changes on the devices; removed channels may be put to `mean` [C]."""
        self._subject, channels = subject, plan.keep.shape[1]
        fills = {False: np.zeros(channels, np.float32), True: mean.astype(np.float32)}

        def put(change: Change, uses_mean: bool) -> Arrays:
            fill = fills[uses_mean][change.channels]
            arrays = {"channels": change.channels, "signs": change.signs, "fill": fill}
            return parallel.replicate(arrays)

        everything = np.arange(channels, dtype=np.int32)
        removal = Change(FULL, everything, -np.ones(channels, np.float32))
        self._removals = {uses_mean: put(removal, uses_mean) for uses_mean in fills}
        self._steps = [
            (change.base, bool(uses_mean), put(change, bool(uses_mean)))
            for change, uses_mean in zip(make_changes(plan), plan.use_mean, strict=True)
        ]
        self._advance = parallel.map_batch(self._advance_share)
        self._start = parallel.map_batch(self._start_share)
        self._count = parallel.map_batch(self._count_share)

    def _feature(self, inputs: Batch) -> jax.Array:
        return inputs["features"][self._subject.feature][:, 0]

    def _start_share(self, variables: Variables, _data: Arrays, inputs: Batch) -> Responses:
        x = self._feature(inputs)
        return self._subject.respond(variables, x, jnp.arange(x.shape[-1]))

    def _advance_share(self, variables: Variables, change: Arrays, inputs: Batch) -> Responses:
        channels = change["channels"]
        x = jnp.take(self._feature(inputs), channels, axis=-1)
        over = (1,) * (x.ndim - 1) + (-1,)
        added = (x - change["fill"].reshape(over).astype(x.dtype)) * change["signs"].reshape(over)
        responses = self._subject.respond(variables, added, channels)
        return jax.tree.map(jnp.add, inputs["responses"], responses)

    def _count_share(self, variables: Variables, _data: Arrays, inputs: Batch) -> Arrays:
        features = {name: value[:, 0] for name, value in inputs["features"].items()}
        return self._subject.count_responses(
            variables, features, inputs["labels"], inputs["responses"]
        )

    def counts(self, variables: Variables, inputs: Batch) -> dict[str, np.ndarray]:
        """Counts [B, M, ...] of a batch (`features` [devices, share, 1, ...]), on the host."""
        full = self._start(variables, {}, inputs)
        empty: dict[bool, Responses] = {}
        responses, counts = full, []
        for base, uses_mean, change in self._steps:
            if base == FULL:
                responses = full
            elif base == EMPTY:
                if uses_mean not in empty:
                    start = {**inputs, "responses": full}
                    empty[uses_mean] = self._advance(variables, self._removals[uses_mean], start)
                responses = empty[uses_mean]
            responses = self._advance(variables, change, {**inputs, "responses": responses})
            counts.append(self._count(variables, {}, {**inputs, "responses": responses}))
        # One transfer at the end: the programs before it are only dispatched.
        parts = [parallel.unshard(part) for part in jax.device_get(counts)]
        return {name: np.stack([part[name] for part in parts], axis=1) for name in parts[0]}

    def warm_up(self, variables: Variables, inputs: Batch) -> None:
        """Compile what `counts` runs."""
        full = self._start(variables, {}, inputs)
        state = {**inputs, "responses": full}
        by_size = {len(change["channels"]): change for _, _, change in self._steps}
        for change in (*by_size.values(), self._removals[False]):
            jax.block_until_ready(self._advance(variables, change, state))
        jax.block_until_ready(self._count(variables, {}, state))
