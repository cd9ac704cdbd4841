"""A whole data set on the device, and which of its rows make up a step's batch."""

import functools
from typing import Any

import jax
import numpy as np

from gpool_jax.data.images.splits import Split
from gpool_jax.data.pixels.splits import PixelSplit


def arrays(split: Split | PixelSplit) -> dict[str, np.ndarray]:
    """A split as the tree that is put on the devices: `images` [N,H,W,C], `labels` [N, ...]."""
    return {"images": split.images, "labels": split.labels}


def fetch(data: dict[str, jax.Array], inputs: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Take the rows `inputs["index"]` of the resident data, inside the step.

    Returns:
      `images` uint8 [B,H,W,C], `labels` [B, ...], and `position`, each
      example's place in the global batch.
    """
    index = inputs["index"]
    return {
        "images": data["images"][index],
        "labels": data["labels"][index],
        "position": inputs["position"],
    }


def inputs_at(
    step: int, count: int, *, num_examples: int, batch_size: int, seed: int
) -> dict[str, np.ndarray]:
    """Rows of `count` batches from `step` on: a function of the step alone.

    Every epoch visits each example at most once, in an order drawn from
    (seed, epoch); the last partial batch of an epoch is left out, its examples
    stand elsewhere in the next order.

    Returns:
      `index` int32 [count, B] and `position` int32 [count, B].
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
    """What `train.loop.fit` trains on: a split that fits on the devices.

    Args:
      split: what is trained on.
      batch_size: of the global batch, over all processes.
      seed: of the order.
      process_index: of this process among those that train together; it takes its
        share of every global batch.
      process_count: of them; the batch must be a multiple of it.

    Attributes:
      data: the whole split, to be put on every device once.
      steps_per_dispatch: at most so many steps in one call, unless the config says.
    """

    steps_per_dispatch = 50

    def __init__(
        self,
        split: Split | PixelSplit,
        *,
        batch_size: int,
        seed: int,
        process_index: int = 0,
        process_count: int = 1,
    ):
        self.data = arrays(split)
        share = batch_size // process_count
        self._share = slice(process_index * share, (process_index + 1) * share)
        self._options = {"num_examples": len(split), "batch_size": batch_size, "seed": seed}

    @staticmethod
    def fetch(data: Any, inputs: Any) -> dict[str, jax.Array]:
        """See the function of this name."""
        return fetch(data, inputs)

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
    """Every row once, in order, in batches of one size.

    Returns:
      Batches of `index` int32 [B] and `mask` bool [B]; the last is filled up
      with row 0, masked out.
    """
    batches = []
    for start in range(0, num_examples, batch_size):
        index = np.arange(start, start + batch_size, dtype=np.int32)
        mask = index < num_examples
        batches.append({"index": np.where(mask, index, 0).astype(np.int32), "mask": mask})
    return batches
