"""Classification networks as subjects: regions are cells of the canvas that an image stands in."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax import ops
from gpool_jax.errors import InputError
from gpool_jax.experiments.channels.images import Images, map_images
from gpool_jax.experiments.channels.subject import (
    OUTSIDE,
    Quantity,
    check_feature,
    encode,
    gated,
    measured_boxes,
    parse_regions,
)
from gpool_jax.experiments.training import Setup
from gpool_jax.ops import probe
from gpool_jax.train import parallel


class CanvasSubject:
    """A GAPNet or one of its kin: every image in every cell; see `Subject`.

    What is measured is the head's accuracy on its task and, for both tasks, that
    of linear read-outs of the pooled latent (`read_outs`), which are fitted on
    the ranking images with all channels in place and never again.

    Attributes:
      read_outs: "location" and "recognition" to (kernel [C, K], bias [K]).
    """

    # The head is two matmuls; there is nothing to save.
    linear = False

    def __init__(self, setup: Setup):
        """Check what is asked of the network.

        Raises:
          InputError: for an unknown feature or region, or one without a cell.
        """
        config = setup.config
        if config.model.head == "permutenet" or config.model.permute_at != "gap":
            raise InputError(
                "`model.head`: a network trained through permutation has no channels of its own to "
                "rank; got a permutenet, or one permuted before a stage."
            )
        self.setup, self.feature = setup, config.rank.feature
        check_feature(setup, config.rank.feature)
        self.boxes = parse_regions(config.rank.regions)
        self.views = config.n**2
        self._cells = {name: ops.region_cells(box, config.n) for name, box in self.boxes.items()}
        for name, cells in self._cells.items():
            if not cells.any():
                raise InputError(
                    f"`rank.regions`: {name!r} holds the centre of no cell of a canvas of `n` = "
                    f"{config.n}."
                )
            if cells.all() and name != "overall":
                raise InputError(f"`rank.regions`: {name!r} is the whole canvas; say overall.")
        self.read_outs: dict[str, tuple[jax.Array, jax.Array]] = {}
        self.quantities = _quantities(setup)

    def fit_read_outs(self, variables: Any, images: Images) -> None:
        """Fit `read_outs` on images, every one in every cell, with all channels in place."""

        def look(variables: Any, _data: Any, inputs: dict) -> dict[str, jax.Array]:
            features = encode(self, variables, self.stimulus(inputs["images"]))
            latent = features["gap"].reshape(-1, self.views, features["gap"].shape[-1])
            targets = self._targets(inputs["labels"])
            return {"latent": latent, **targets}

        found = map_images(parallel.map_batch(look), variables, {}, images, title="fit read-outs")
        latent = jnp.asarray(found["latent"].reshape(-1, found["latent"].shape[-1]))
        numbers = {"location": self.views, "recognition": self.setup.dataset.num_classes}
        self.read_outs = {
            name: probe.fit_logistic(
                latent, jnp.asarray(found[name].reshape(-1)), num_classes=number
            )
            for name, number in numbers.items()
        }

    def stimulus(self, images: jax.Array) -> jax.Array:
        """Each image in every cell."""
        images = ops.normalise(images, self.setup.dataset.mean, self.setup.dataset.std)
        canvases = ops.place_everywhere(images, self.setup.config.n)
        return canvases.reshape(-1, *canvases.shape[2:])

    def placed(self, images: jax.Array) -> jax.Array:
        """The same: the stimulus is one crop at every place."""
        return self.stimulus(images)

    def places(self) -> int:
        """Cells per side of a canvas."""
        return self.setup.config.n

    def needed(self) -> tuple[str, ...]:
        """The map itself."""
        return (self.feature,)

    def region_losses(
        self, variables: Any, features: dict, inputs: dict, gate: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Mean loss of the head over the cells of each measured region."""
        logits, _ = self._answer(variables, gated(self, features, gate, None))
        targets = self._targets(inputs["labels"])[self.setup.config.task]
        losses = ops.cross_entropy(logits, targets.reshape(-1)).reshape(-1, self.views)
        cells = jnp.asarray(self._measured(), jnp.float32)
        total = jnp.einsum("bc,rc->rb", losses, cells)
        return total / cells.sum(axis=1)[:, None], jnp.ones_like(total)

    def count(
        self, variables: Any, features: dict, inputs: dict, keep: jax.Array, fill: jax.Array
    ) -> dict[str, jax.Array]:
        """Right answers and answers, int32 [B, R', 2], of the head and of each read-out."""
        logits, latent = self._answer(variables, gated(self, features, keep, fill))
        targets = self._targets(inputs["labels"])
        answers = {"head": (logits, targets[self.setup.config.task])}
        for name, (kernel, bias) in self.read_outs.items():
            answers[name] = (latent @ kernel + bias[None, :], targets[name])
        cells = jnp.asarray(self._measured(), jnp.int32)
        return {name: self._right(*pair, cells) for name, pair in answers.items()}

    def _right(self, logits: jax.Array, targets: jax.Array, cells: jax.Array) -> jax.Array:
        right = (logits.argmax(-1).reshape(-1, self.views) == targets).astype(jnp.int32)
        hits = right @ cells.T
        return jnp.stack([hits, jnp.broadcast_to(cells.sum(axis=1)[None], hits.shape)], axis=-1)

    def _answer(self, variables: Any, features: dict) -> Any:
        """Logits and latent, computed on from the subject's feature."""

        def go_on(model: Any, given: dict) -> tuple[jax.Array, jax.Array]:
            later = model.backbone(given[self.feature], start=self.feature)
            later["gap"] = ops.global_average_pool(later["pre_gap"])
            return model.classify(later), later["gap"]

        return self.setup.model.apply(variables, features, method=go_on)

    def _targets(self, labels: jax.Array) -> dict[str, jax.Array]:
        """Right answers [B, cells] of both tasks."""
        cell = jnp.arange(self.views, dtype=jnp.int32)
        shape = (len(labels), self.views)
        return {
            "location": jnp.broadcast_to(cell[None], shape),
            "recognition": jnp.broadcast_to(labels[:, None], shape),
        }

    def _measured(self) -> np.ndarray:
        """Cells [R', cells] of the measured regions."""
        return np.stack([self._inside(name) for name in measured_boxes(self.boxes)])

    def _inside(self, name: str) -> np.ndarray:
        if name == "overall":
            return np.ones(self.views, bool)
        if name.startswith(OUTSIDE):
            return ~self._cells[name.removeprefix(OUTSIDE)]
        return self._cells[name]


def _quantities(setup: Setup) -> dict[str, Quantity]:
    task, cells = setup.config.task, setup.config.n**2
    chance = {"location": 1.0 / cells, "recognition": 1.0 / setup.dataset.num_classes}
    found = {"head": Quantity(f"{task}, head", "head", _ratio, chance=chance[task])}
    for name in chance:
        title = f"{name}, linear read-out"
        found[name] = Quantity(title, name, _ratio, chance=chance[name])
    return found


def _ratio(counts: np.ndarray) -> np.ndarray:
    right, answers = (counts[..., i].astype(np.float64) for i in (0, 1))
    return np.divide(right, answers, out=np.full(right.shape, np.nan), where=answers > 0)
