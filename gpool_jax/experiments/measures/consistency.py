"""Shift consistency: how much predictions and latents change when the input moves.

Works on any network of this package, trained or imported. Protocols differ in
what enters the image where content left; every protocol is measured in one pass
over the test images. Random shifts are drawn per image, both ends of the range
included, and are the same for every network, so that networks can be compared
image by image.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from gpool_jax import models, ops
from gpool_jax.data import resident
from gpool_jax.errors import InputError
from gpool_jax.experiments.measures import held_out, views
from gpool_jax.experiments.measures.tallies import Tallies, Tally
from gpool_jax.experiments.measures.views import Stimulus
from gpool_jax.experiments.programs import shared
from gpool_jax.experiments.training import Design, Setup, check_finite
from gpool_jax.train import parallel
from gpool_jax.train.events import track


def check(setup: Setup, stimulus: Stimulus) -> None:
    """Raise for protocols that the images or the network do not allow."""
    config = setup.config.consistency
    if not config.enabled:
        return
    height, width = setup.input_shape[1:3]
    if height != width:
        raise InputError(
            f"`data`: shifts need square images; got {height} by {width} (`data.side` resizes)."
        )
    side = stimulus.view_side
    if config.max_shift >= side:
        raise InputError(
            f"`consistency.max_shift` must be smaller than the image side {side}; got "
            f"{config.max_shift}."
        )
    if "crop" in config.protocols:
        crop, side = views.crop_side(stimulus, config), stimulus.source_side
        if not 1 <= crop <= side:
            raise InputError(
                f"`consistency.crop` must be in [1, {side}], the side of the images; got {crop}."
            )
        models.check_input_side(setup.model, crop, "a crop of `consistency.crop`")
    for protocol in config.protocols:
        low, high = views.offset_range(stimulus, config, protocol)
        if low == high:
            raise InputError(
                f"`consistency.protocols`: {protocol} leaves one view only; a larger "
                "max_shift or a smaller crop gives more."
            )
        if config.num_pairs == 0 and config.grid_step > max(high, -low):
            raise InputError(
                f"`consistency.grid_step` leaves protocol {protocol} one view only: its largest "
                f"shift is {max(high, -low)}; got {config.grid_step}."
            )


def caveats(config: Any) -> list[str]:
    """List what a reader of the numbers must know about the protocols."""
    consistency = config.consistency
    if not consistency.enabled:
        return []
    notes = [
        "A network that predicts the same for every image is fully consistent: read consistency "
        "beside accuracy."
    ]
    if consistency.split != "test":
        notes.append(
            "Shifted images are those of validation: to choose settings by, not to report."
        )
    circular = [p for p in consistency.protocols if p in ("circular", "fourier")]
    if circular and config.model.padding != "circular":
        notes.append(
            f"Protocol {' and '.join(circular)}: the network pads with {config.model.padding!r}, "
            "so that invariance is not guaranteed for any shift; with circular padding it is, for "
            "multiples of the total stride."
        )
    if consistency.num_pairs:
        notes.append(
            f"Consistency over {consistency.num_pairs} random pairs of shifts per image; worst "
            f"case over the {2 * consistency.num_pairs} shifts drawn and the unshifted image."
        )
    else:
        notes.append(
            f"Consistency over all pairs of a grid of shifts, {consistency.grid_step} px apart "
            "(fourier: half as far); worst case over the whole grid."
        )
    return notes


def measure(setup: Setup, stimulus: Stimulus, variables: Any) -> Tallies:
    """Measure every protocol in one pass over the test images.

    Returns:
      (protocol, quantity) to the (sum, count) of each image.
    """
    config = setup.config.consistency
    split = held_out.draw(setup, config.num_images, split=config.split)
    devices = jax.local_device_count()
    variables = parallel.replicate(variables)
    meters = {protocol: _Meter(setup, stimulus, protocol) for protocol in config.protocols}
    most = max(meter.chunk for meter in meters.values()) + 1
    per_device = min(max(1, config.batch_size // most), -(-len(split) // devices))
    batches = resident.padded_batches(len(split), devices * per_device)
    for batch in track(batches, "measuring under shift"):
        content = split.batch(batch["index"])
        labels = stimulus.labels(content["labels"])
        for meter in meters.values():
            meter.add(variables, content["images"], labels, batch["index"], batch["mask"])
    return {
        (protocol, quantity): tally
        for protocol, meter in meters.items()
        for quantity, tally in meter.tallies().items()
    }


def make_compare_views(
    design: Design, stimulus: Stimulus, protocol: str
) -> Callable[[Any, Any, dict], dict]:
    """The device program: each view's prediction and latent beside the unshifted input's.

    As `views.make_answer_views`, but it returns `clean` int [B], `answers` int [B, V],
    `clean_latent` [B, C], and `ops.view_changes` [B, V] each.
    """
    answer_views = views.make_answer_views(design, stimulus, protocol)

    def compare_views(variables: Any, data: Any, inputs: dict) -> dict[str, jax.Array]:
        outputs = answer_views(variables, data, inputs)
        logits, latent = outputs["logits"], outputs["latent"]
        changes = ops.view_changes(logits[:, 1:], logits[:, 0], latent[:, 1:], latent[:, 0])
        return changes | {
            "clean": logits[:, 0].argmax(-1),
            "answers": logits[:, 1:].argmax(-1),
            "clean_latent": latent[:, 0],
        }

    return compare_views


class _Meter:
    """One protocol's running tallies: a few numbers are kept per image."""

    def __init__(self, setup: Setup, stimulus: Stimulus, protocol: str):
        self._num_outputs, self._protocol = setup.num_outputs, protocol
        config = setup.config.consistency
        self._bounds = views.offset_range(stimulus, config, protocol)
        self._grid = None
        if not config.num_pairs:
            self._grid = views.grid_offsets(self._bounds, protocol, config.grid_step)
        count = 2 * config.num_pairs if self._grid is None else len(self._grid)
        self._num_views = count
        # Views of an image that do not fit a pass are run in several.
        self.chunk = min(count, max(1, config.batch_size - 1))
        self._num_distances = int(np.ceil(max(map(abs, self._bounds)) * views.unit(protocol))) + 1
        args = setup.design, stimulus, protocol
        self._program = shared(parallel.map_batch, make_compare_views, *args)
        self._constants = parallel.replicate(setup.constants)
        self._parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        # Of the latent: sums and sums of squares [2, C], and how many images they are of.
        self._latent, self._num_images = np.zeros((2, 1)), 0

    def add(self, variables, images, labels, index, mask) -> None:
        """Run one batch of images in all its views."""
        if self._grid is None:
            offset = views.draw_offsets(self._bounds, self._protocol, index, self._num_views)
        else:
            offset = np.broadcast_to(self._grid, (len(index), *self._grid.shape))
        args, starts = (variables, self._constants, images), range(0, self._num_views, self.chunk)
        parts = [offset[:, start : start + self.chunk] for start in starts]
        outputs = [views.run_views(self._program, *args, part) for part in parts]
        keep = {k: outputs[0][k][mask] for k in ("clean", "clean_latent")}
        seen = {
            k: np.concatenate([o[k] for o in outputs], axis=1)[mask]
            for k in outputs[0]
            if k not in keep
        }
        latent = keep["clean_latent"].astype(np.float64)
        self._latent = self._latent + np.stack([latent.sum(axis=0), (latent**2).sum(axis=0)])
        self._num_images += len(latent)
        distance = np.ceil(np.abs(offset[mask]).max(axis=-1)).astype(np.int32)
        for name, tally in self._score(seen, keep["clean"], labels[mask], distance).items():
            self._parts.setdefault(name, []).append((np.asarray(tally[0]), np.asarray(tally[1])))

    def _score(self, seen, clean, labels, distance) -> dict[str, tuple[Any, Any]]:
        answers = seen["answers"]
        scores: dict[str, Any] = ops.accuracy_under_shift(answers, clean, labels)
        if self._grid is None:
            scores |= ops.pair_agreement(answers, labels)
        else:
            scores |= ops.grid_agreement(answers, labels, self._num_outputs)
        scores["agreement"] = ops.agreement_by_distance(
            answers, clean, distance, self._num_distances
        )
        for name in ("probability_change", "latent_distance", "latent_cosine"):
            scores[name] = seen[name].sum(axis=1), np.full(len(clean), self._num_views)
        return scores

    def _scale(self) -> float:
        """Root mean square distance between the latents of two different images."""
        count = self._num_images
        mean, square = self._latent / count
        variance = np.maximum(square - mean**2, 0.0) * count / max(count - 1, 1)
        return float(np.sqrt(2.0 * variance.sum())) or 1.0

    def tallies(self) -> dict[str, Tally]:
        """Every quantity over all images; latent distances in units of `_scale`."""
        check_finite({"latent": self._latent})
        whole = {
            name: (np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts]))
            for name, parts in self._parts.items()
        }
        sums, counts = whole.pop("agreement")
        for distance in range(1, self._num_distances):
            whole[f"agreement at {distance} px"] = sums[:, distance], counts[:, distance]
        sums, counts = whole["latent_distance"]
        whole["latent_distance"] = sums / self._scale(), counts
        guess = 1.0 / self._num_outputs
        chance = {"accuracy": guess, "shifted_accuracy": guess}
        return {name: Tally(*pair, chance.get(name)) for name, pair in whole.items()}
