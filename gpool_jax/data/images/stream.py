"""Training batches from disk, on grain: every batch is a function of its number.

The order of an epoch, the crops and the mirroring depend on the seed and the
batch's number alone; not on the number of worker processes, nor on how many
hosts share the work. So the position of a stream is one number, and going on
from it is exact.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gpool_jax.data.images.records import Records
from gpool_jax.data.workers import WorkerBatches
from gpool_jax.errors import InputError


class Crop:
    """Decodes the image at a place and cuts a random part out; runs in the workers."""

    def __init__(self, records: Records, *, min_scale: float, flip: bool):
        self._records, self._min_scale, self._flip = records, min_scale, flip

    def __call__(self, place: int, generator: np.random.Generator) -> dict[str, Any]:
        """`images` uint8 [side, side, 3] and `labels` int32 [] of one training image."""
        image, label = self._records.random_crop(
            int(place), generator, min_scale=self._min_scale, flip=self._flip
        )
        return {"images": image, "labels": np.int32(label)}


class ExampleFeed:
    """What `train.loop.fit` trains on when the examples stay on disk.

    Attributes:
      data: empty: nothing of a stream stays on the devices.
      steps_per_dispatch: 1: a batch is handed over as soon as it is read.
    """

    steps_per_dispatch = 1

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
          identity: what the examples are made from, and how: a checkpoint goes on
            with the same alone.
          batch_size: of the global batch, over all processes.
          seed: of the order and of all that `example` draws.
          workers: processes that decode; 0 for none but this one.
          process_index: of this host's process among those that train together.
          process_count: of them.

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
        self._open: WorkerBatches | _LocalBatches | None = None

    @staticmethod
    def fetch(data: Any, inputs: Any) -> dict[str, Any]:
        """The batch is the input: the arrays of the examples, each [B, ...], `position` [B]."""
        return dict(inputs)

    def inputs_at(self, step: int, count: int) -> dict[str, np.ndarray]:
        """Read the batches of `count` steps from `step` on.

        Steps in sequence are read ahead; any other step is found exactly, too.

        Returns:
          The arrays of the examples, each [count, B, ...], and `position` int32
          [count, B], each example's place in the global batch. B is this process's
          share of it.

        Raises:
          RunError: naming the image that cannot be read or decoded; or if a
            worker process has died.
        """
        if self._open is None or step != self._next:
            self.close()
            self._next, self._open = step, self._start(step)
        try:
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
        """Go on from a checkpoint.

        Args:
          state: of the checkpoint; None if it has none (it was made without a
            stream): the step alone then says where to go on, exactly.
          step: of the checkpoint.

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

    def _start(self, first: int) -> "WorkerBatches | _LocalBatches":
        dataset = make_dataset(
            self._example,
            self._num_examples,
            seed=self._seed,
            batch_size=self._batch,
            process_index=self._process,
            process_count=self._processes,
        )[first:]
        return WorkerBatches(dataset, self._workers) if self._workers else _LocalBatches(dataset)


class StreamFeed(ExampleFeed):
    """Random crops of images with one label each.

    A batch holds `images` uint8 [B, side, side, 3] and `labels` int32 [B].
    """

    def __init__(
        self,
        records: Records,
        *,
        batch_size: int,
        seed: int,
        workers: int = 0,
        min_scale: float = 0.08,
        flip: bool = False,
        process_index: int = 0,
        process_count: int = 1,
    ):
        """See `ExampleFeed`.

        Args:
          records: the training split.
          batch_size: of the global batch, over all processes.
          seed: of order, crops and mirroring.
          workers: processes that decode; 0 for none but this one.
          min_scale: a crop is at least this share of its image's area.
          flip: mirror every other image here; leave it out if the device does.
          process_index: of this host's process among those that train together.
          process_count: of them.

        Raises:
          InputError: if there are fewer images than one global batch.
        """
        super().__init__(
            Crop(records, min_scale=min_scale, flip=flip),
            len(records),
            identity={
                "records": f"{len(records)} images, {records.checksum}",
                "crop": f"side {records.side}, min_scale {min_scale:g}, flip {flip}",
            },
            batch_size=batch_size,
            seed=seed,
            workers=workers,
            process_index=process_index,
            process_count=process_count,
        )


def make_dataset(
    crop: Any,
    num_examples: int,
    *,
    seed: int,
    batch_size: int,
    process_index: int,
    process_count: int,
) -> Any:
    """The endless `grain.MapDataset` of this process's share of all global batches.

    Args:
      crop: `(place, generator) -> example`.
      num_examples: places are in [0, num_examples).
      seed: of the order and of `crop`.
      batch_size: of this process.
      process_index: shares lie one after the other in the global batch.
      process_count: shares in a global batch.
    """
    import grain

    used = num_examples // (batch_size * process_count) * batch_size * process_count
    # Shares are cut from whole batches, not from examples: then the global batch, and
    # with it every random number of an example, is the same for any number of processes.
    return (
        grain.MapDataset.range(num_examples)
        .seed(seed)
        .shuffle()[:used]
        .random_map(crop)
        .batch(batch_size, drop_remainder=True)[process_index::process_count]
        .repeat()
    )


class _LocalBatches(Iterator[dict[str, np.ndarray]]):
    """Batches decoded in this process, one ahead, by a thread."""

    def __init__(self, dataset: Any):
        import grain

        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
        self._iterator = iter(dataset.to_iter_dataset(options))

    def __next__(self) -> dict[str, np.ndarray]:
        return next(self._iterator)

    def close(self) -> None:
        """End the thread."""
        self._iterator.close()
