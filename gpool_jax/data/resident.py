"""A whole split on the devices, and which of its rows make up a step's batch."""

import functools
from typing import Any

import numpy as np


def fetch(data: dict[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
    """The batch of a step or of a validation, inside the device program, and the inputs.

    `data` holds resident arrays [N, ...], of which `inputs` names the rows, `index` int [B];
    it is empty for a split on disk, whose inputs are the batch itself.
    """
    return inputs | {name: array[inputs["index"]] for name, array in data.items()}


def inputs_at(
    step: int, count: int, *, num_examples: int, batch_size: int, seed: int
) -> dict[str, np.ndarray]:
    """Rows of `count` batches from `step` on: a function of the step alone.

    Every epoch visits each example at most once, in an order drawn from
    (seed, epoch); the last partial batch of an epoch is left out, its examples
    stand elsewhere in the next order.

    Returns:
      `index` int32 [count, B] and `position` int32 [count, B], each example's place
      in the global batch.
    """
    per_epoch = num_examples // batch_size
    rows = []
    for s in range(step, step + count):
        epoch, batch = divmod(s, per_epoch)
        order = _epoch_order(num_examples, seed, epoch)
        rows.append(order[batch * batch_size : (batch + 1) * batch_size])
    position = np.broadcast_to(np.arange(batch_size, dtype=np.int32), (count, batch_size))
    return {"index": np.stack(rows), "position": position}


@functools.lru_cache(maxsize=2)
def _epoch_order(num_examples: int, seed: int, epoch: int) -> np.ndarray:
    generator = np.random.default_rng([seed, epoch])
    return generator.permutation(num_examples).astype(np.int32)


class ResidentFeed:
    """The `train.loop.Feed` of arrays [N, ...] that are put on every device once.

    The options are those of `stream.StreamFeed`.
    """

    steps_per_dispatch = 50
    fetch = staticmethod(fetch)

    def __init__(
        self,
        data: dict[str, np.ndarray],
        *,
        batch_size: int,
        seed: int,
        process_index: int = 0,
        process_count: int = 1,
    ):
        self.data = data
        share = batch_size // process_count
        self._share = slice(process_index * share, (process_index + 1) * share)
        num_examples = len(data["images"])
        self._options = {"num_examples": num_examples, "batch_size": batch_size, "seed": seed}

    def inputs_at(self, step: int, count: int) -> dict[str, np.ndarray]:
        """This process's share [count, B] of what the function of this name returns."""
        inputs = inputs_at(step, count, **self._options)
        return {name: rows[:, self._share] for name, rows in inputs.items()}

    def state(self) -> None:
        """None: the inputs are a function of the step alone."""

    def restore(self, state: Any, step: int) -> None:
        """Nothing to restore: the step says it all."""

    def close(self) -> None:
        """Nothing is open."""


def padded_batches(num_examples: int, batch_size: int) -> list[dict[str, Any]]:
    """Every row once, in order, in batches of one size: `index` int32 [B] and `mask` bool [B].

    The last batch is filled up with row 0, masked out.
    """
    batches = []
    for start in range(0, num_examples, batch_size):
        index = np.arange(start, start + batch_size, dtype=np.int32)
        mask = index < num_examples
        batches.append({"index": np.where(mask, index, 0).astype(np.int32), "mask": mask})
    return batches
