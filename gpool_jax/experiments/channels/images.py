"""Images of a run's splits, in batches over devices, and programs run on all of them."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from gpool_jax.train import parallel
from gpool_jax.train.events import Progress


class Images:
    """Images of some splits of a run, one after the other, in batches over devices."""

    def __init__(self, splits: list[Any], count: int | None, batch_size: int):
        """Pick `count` images, evenly spread over the splits (all if None)."""
        self._splits = splits
        ends = np.cumsum([len(split) for split in splits])
        rows = np.arange(ends[-1])
        if count is not None and count < len(rows):
            rows = rows[(np.arange(count) * len(rows)) // count]
        self._rows, self._starts = rows, np.concatenate([[0], ends[:-1]])
        devices = jax.local_device_count()
        self._batch = devices * min(batch_size, -(-len(rows) // devices))

    def __len__(self) -> int:
        """N."""
        return len(self._rows)

    def get(self, places: np.ndarray) -> dict[str, np.ndarray]:
        """`images` and `labels` at places of this list."""
        rows = self._rows[places]
        which = np.searchsorted(self._starts, rows, side="right") - 1
        parts = {i: self._splits[i].batch(rows[which == i] - self._starts[i]) for i in set(which)}
        out = {}
        for name in ("images", "labels"):
            first = next(iter(parts.values()))[name]
            out[name] = np.empty((len(rows), *first.shape[1:]), first.dtype)
            for i, part in parts.items():
                out[name][which == i] = part[name]
        return out

    def batches(self, title: str) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
        """Every image once: (inputs [B, ...], mask [B]), the last batch filled up.

        Shows its progress under a title.
        """
        starts = range(0, len(self), self._batch)
        progress = Progress(len(starts), 0, self._batch, title)
        try:
            for start in starts:
                places = np.arange(start, start + self._batch)
                mask = places < len(self)
                yield self.get(np.where(mask, places, 0)), mask
                progress.advance(1)
        finally:
            progress.close()


def map_images(
    run: Callable, variables: Any, data: Any, images: Images, *, title: str
) -> dict[str, np.ndarray]:
    """Run a device program over all images.

    Args:
      run: from `parallel.map_batch`, so that it is compiled once for several calls.
      variables: of the network.
      data: for every batch the same.
      images: what it is run on.
      title: of the progress bar.

    Returns:
      What the program returns, {name: [N, ...]}, on the host.
    """
    variables, data = parallel.replicate(variables), parallel.replicate(data)
    parts = []
    for inputs, mask in images.batches(title):
        outputs = parallel.unshard(run(variables, data, parallel.shard(inputs)))
        parts.append({name: value[mask] for name, value in outputs.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
