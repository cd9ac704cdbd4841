"""Every mask in one pass: the encoder runs once per image, what follows it once per mask."""

import dataclasses
import time
from collections.abc import Callable

import jax
import numpy as np

from gpool_jax.experiments.channels.changes import Batch, ChangeSweep
from gpool_jax.experiments.channels.images import Images
from gpool_jax.experiments.channels.plan import Plan
from gpool_jax.experiments.channels.subject import Arrays, Subject, Variables, encode, gated
from gpool_jax.train import parallel


@dataclasses.dataclass(frozen=True)
class SweepCounts:
    """Counts of a sweep, int [M, N, R', ...]: each mask, image and measured region.

    Those named in `partial` are of fewer masks, [M', N, R', ...]: of `Plan.table_masks` alone.
    `seconds` is the sweep's duration, `plain_seconds` that of one evaluation of the same
    `num_images` images with nothing removed, both without the compilation.
    """

    counts: dict[str, np.ndarray]
    seconds: float
    plain_seconds: float
    num_images: int
    partial: frozenset[str] = frozenset()


def sweep(
    subject: Subject,
    variables: Variables,
    images: Images,
    plan: Plan,
    mean: np.ndarray,
    *,
    masks_per_pass: int,
) -> SweepCounts:
    """Measure every mask of a plan on every image.

    Removed channels may be put to `mean` [C]; `masks_per_pass` masks are held in memory at
    once, where the head is run for many side by side.
    """
    encoder, plain = make_programs(subject)
    runner = make_runner(subject, plan, mean, masks_per_pass)
    variables = parallel.replicate(variables)
    total, plain_total, parts = 0.0, 0.0, []
    for number, (inputs, mask) in enumerate(images.batches(f"{len(plan.keep)} sets")):
        inputs = parallel.shard(inputs)
        if number == 0:  # compile outside the clock
            jax.block_until_ready(plain(variables, {}, inputs))
            runner.warm_up(variables, encoder(variables, {}, inputs))
        started = time.perf_counter()
        jax.block_until_ready(plain(variables, {}, inputs))
        plain_total += time.perf_counter() - started
        started = time.perf_counter()
        batch = runner.counts(variables, encoder(variables, {}, inputs))
        total += time.perf_counter() - started
        parts.append({name: value[mask].swapaxes(0, 1) for name, value in batch.items()})
    counts = {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}
    return SweepCounts(counts, total, plain_total, len(images))


def make_runner(
    subject: Subject, plan: Plan, mean: np.ndarray, masks_per_pass: int
) -> "ChangeSweep | MaskSweep":
    """The sweep of a plan's masks: by their changes, where the head begins linearly."""
    if subject.linear is not None:
        return ChangeSweep(subject.linear, plan, mean)
    return MaskSweep(subject, plan, mean, masks_per_pass)


def make_programs(subject: Subject) -> tuple[Callable, Callable]:
    """The device programs of a sweep: the encoder, and the whole network without a mask."""

    def run_encoder(variables: Variables, inputs: Arrays) -> Arrays:
        features = encode(subject, variables, subject.stimulus(inputs["images"]))
        return {name: features[name] for name in subject.needed}

    def encoder(variables: Variables, _data: Arrays, inputs: Arrays) -> Batch:
        # One row for each image, so that batches are cut over devices by image.
        features = run_encoder(variables, inputs)
        features = {k: v.reshape(-1, subject.views, *v.shape[1:]) for k, v in features.items()}
        return {"features": features, "labels": inputs["labels"]}

    def plain(variables: Variables, _data: Arrays, inputs: Arrays) -> Arrays:
        return subject.count(variables, run_encoder(variables, inputs), inputs["labels"])

    return parallel.map_batch(encoder), parallel.map_batch(plain)


class MaskSweep:
    """Counts of every mask of a plan, batch by batch: many masks side by side in one program."""

    def __init__(self, subject: Subject, plan: Plan, mean: np.ndarray, masks_per_pass: int):
        """Put masks and fills on the devices, in chunks of one size (the last filled up)."""
        self._num_masks = len(plan.keep)
        fill = np.where(plan.use_mean[:, None], mean[None], 0.0).astype(np.float32)
        size = min(masks_per_pass, self._num_masks)
        self._chunks = []
        for start in range(0, self._num_masks, size):
            rows = np.minimum(np.arange(start, start + size), self._num_masks - 1)
            chunk = {"keep": plan.keep[rows], "fill": fill[rows]}
            self._chunks.append(parallel.replicate(chunk))

        def head(variables: Variables, chunk: Arrays, inputs: Batch) -> Arrays:
            features = {k: v.reshape(-1, *v.shape[2:]) for k, v in inputs["features"].items()}

            def one(keep: jax.Array, fill: jax.Array) -> Arrays:
                return subject.count(
                    variables, gated(subject, features, keep, fill), inputs["labels"]
                )

            # Masks second: images come first, as everywhere.
            return jax.vmap(one, out_axes=1)(chunk["keep"], chunk["fill"])

        self._head = parallel.map_batch(head)

    def warm_up(self, variables: Variables, inputs: Batch) -> None:
        """Compile what `counts` runs."""
        jax.block_until_ready(self._head(variables, self._chunks[0], inputs))

    def counts(self, variables: Variables, inputs: Batch) -> dict[str, np.ndarray]:
        """See `ChangeSweep.counts`."""
        parts = [parallel.unshard(self._head(variables, c, inputs)) for c in self._chunks]
        return {
            name: np.concatenate([part[name] for part in parts], axis=1)[:, : self._num_masks]
            for name in parts[0]
        }
