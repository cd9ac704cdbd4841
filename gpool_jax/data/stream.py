"""Training batches from disk, on grain: every batch is a function of its number.

The order of an epoch and the crops depend on the seed and the batch's number
alone; not on the number of worker processes, nor on how many hosts share the
work. So the position of a stream is one number, and going on from it is exact.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from gpool_jax.data import resident
from gpool_jax.data.disk import run_errors
from gpool_jax.data.workers import WorkerBatches
from gpool_jax.errors import InputError


class StreamFeed:
    """The `train.loop.Feed` of a split that stays on disk."""

    # A batch is handed over as soon as it is read.
    steps_per_dispatch = 1
    fetch = staticmethod(resident.fetch)

    def __init__(
        self,
        example: Callable[[int, np.random.Generator], dict[str, Any]],
        num_examples: int,
        *,
        identity: dict[str, str],
        batch_size: int,
        seed: int,
        workers: int = 0,
        process_index: int = 0,
        process_count: int = 1,
    ):
        """Check the options; nothing is read, and no process started, before the first batch.

        Args:
          example: `(place, generator) -> arrays` of one example; runs in the workers.
          num_examples: places are in [0, num_examples).
          identity: description of what the examples are made from, and how: a
            checkpoint resumes only with the same.
          batch_size: size of the global batch, over all processes.
          seed: seed of the order and of all that `example` draws.
          workers: number of processes that decode; 0: this process.
          process_index: this host's number among the processes that train together.
          process_count: their number.

        Raises:
          InputError: if there are fewer images than one global batch.
        """
        if batch_size % process_count:
            raise InputError(
                f"`train.batch_size` must be a multiple of the {process_count} processes; got "
                f"{batch_size}."
            )
        if batch_size > num_examples:
            raise InputError(
                f"`train.batch_size` must be at most the {num_examples} training images; got "
                f"{batch_size}."
            )
        self.data: dict[str, Any] = {}
        self._example, self._num_examples, self._workers = example, num_examples, workers
        self._batch = batch_size // process_count
        self._seed, self._process, self._processes = seed, process_index, process_count
        self._identity = {"batch_size": batch_size, "seed": seed, **identity}
        self._next = 0
        self._open: Any = None

    def inputs_at(self, step: int, count: int) -> dict[str, np.ndarray]:
        """Read the batches of `count` steps from `step` on; steps in sequence are read ahead.

        Returns:
          The arrays of the examples, each [count, B, ...], and `position` int32 [count, B],
          each example's place in the global batch, of which B is this process's share.

        Raises:
          RunError: naming the image that cannot be read or decoded; or if a
            worker process has died.
        """
        if self._open is None or step != self._next:
            self.close()
            self._next, self._open = step, self._start(step)
        try:
            with run_errors():
                batches = [next(self._open) for _ in range(count)]
        except BaseException:
            self.close()  # nothing more can come from it
            raise
        self._next += count
        place = self._process * self._batch + np.arange(self._batch, dtype=np.int32)
        # `asarray`: workers hand over views of shared memory.
        inputs = {
            name: np.stack([np.asarray(batch[name]) for batch in batches]) for name in batches[0]
        }
        return inputs | {"position": np.broadcast_to(place, (count, self._batch))}

    def state(self) -> dict[str, Any]:
        """The position for a checkpoint: the next batch, and what makes it that batch."""
        return {"next_batch": self._next, **self._identity}

    def restore(self, state: dict[str, Any] | None, step: int) -> None:
        """Go on from a checkpoint's step and `state`, or from the step alone if that is None.

        Raises:
          InputError: if the stream of the checkpoint was another one.
        """
        self.close()
        wanted = {"next_batch": step, **self._identity}
        for name, value in wanted.items():
            if state is not None and state.get(name) != value:
                raise InputError(
                    f"`data`: the stream cannot go on from the checkpoint of step {step}: {name} "
                    f"was {state.get(name)!r}, and is {value!r}."
                )
        self._next = step

    def close(self) -> None:
        """End the worker processes; reading again starts them anew."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _start(self, first: int) -> Any:
        """Iterator of this process's share of the batches from `first` on; has a `close`."""
        import grain

        whole = self._batch * self._processes
        # Shares are cut from whole batches, not from examples: then the global batch, and
        # with it every random number of an example, is the same for any number of processes.
        dataset = (
            grain.MapDataset.range(self._num_examples)
            .seed(self._seed)
            .shuffle()[: self._num_examples // whole * whole]
            .random_map(self._example)
            .batch(self._batch, drop_remainder=True)[self._process :: self._processes]
            .repeat()[first:]
        )
        if self._workers:
            return WorkerBatches(dataset, self._workers)
        # One batch ahead, by a thread.
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
        return iter(dataset.to_iter_dataset(options))
