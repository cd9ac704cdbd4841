"""Images of a run's splits, in batches over devices, and programs run on all of them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from gpool_jax.data.split import Split
from gpool_jax.errors import InputError
from gpool_jax.experiments.training import Setup
from gpool_jax.train import parallel
from gpool_jax.train.events import Progress

# Share of the evaluation images that may by chance be among the ranking images too.
_SHARED = 0.01


class Images:
    """Images of some splits of a run, one after the other, in batches over devices."""

    def __init__(self, splits: list[Split], count: int | None, batch_size: int):
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

    def clusters(self, end: str | None) -> np.ndarray | None:
        """The cluster of each image (see `Split.clusters`); None if they have none."""
        if end is None:
            return None
        names = np.concatenate([split.clusters(end) for split in self._splits])
        return names[self._rows]

    def get(self, places: np.ndarray) -> dict[str, np.ndarray]:
        """`images` and `labels` at places of this list."""
        rows = self._rows[places]
        which = np.searchsorted(self._starts, rows, side="right") - 1
        out: dict[str, np.ndarray] = {}
        for i in np.unique(which):
            own = which == i
            part = self._splits[i].batch(rows[own] - self._starts[i])
            for name in ("images", "labels"):
                if name not in out:
                    out[name] = np.empty((len(rows), *part[name].shape[1:]), part[name].dtype)
                out[name][own] = part[name]
        return out

    def batches(self, title: str) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
        """Every image once, its progress shown: (inputs [B, ...], mask [B]), the last filled up."""
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


def images_of(setup: Setup, splits: tuple[str, ...], count: int | None, batch_size: int) -> Images:
    """The images of named splits."""
    return Images([getattr(setup.dataset, name) for name in splits], count, batch_size)


def map_images(
    run: Callable, variables: Mapping[str, Any], data: Any, images: Images, *, title: str
) -> dict[str, np.ndarray]:
    """Outputs {name: [N, ...]} of a device program for all images, on the host.

    `run` comes from `parallel.map_batch`, so that it is compiled once for several calls;
    `data` is what every batch shares, `title` the heading of the progress bar.
    """
    variables, data = parallel.replicate(variables), parallel.replicate(data)
    parts = []
    for inputs, mask in images.batches(title):
        outputs = parallel.unshard(run(variables, data, parallel.shard(inputs)))
        parts.append({name: value[mask] for name, value in outputs.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def check_disjoint(setup: Setup, ranked: tuple[str, ...], judged: tuple[str, ...]) -> list[str]:
    """Note if a few images of two groups of splits, where they are in memory, are the same.

    Raises:
      InputError: if the groups share a split, or more than a few images.
    """
    both = sorted(set(ranked) & set(judged))
    if both:
        raise InputError(
            f"`attack.splits` must share none with the images that channels were ranked on; both "
            f"name {', '.join(both)}."
        )
    sums = {name: getattr(setup.dataset, name).fingerprints() for name in (*ranked, *judged)}
    if None in sums.values():
        return []  # on disk
    seen, asked = ([s for name in names for s in sums[name]] for names in (ranked, judged))
    shared = len(set(asked) & set(seen))
    if shared > _SHARED * len(asked):
        raise InputError(
            f"`attack.splits`: {shared} of the {len(asked)} images of {', '.join(judged)} are also "
            f"among those of {', '.join(ranked)}; the splits must be disjoint."
        )
    note = f"{shared} of the {len(asked)} evaluation images are also among the ranking images."
    return [note] if shared else []
