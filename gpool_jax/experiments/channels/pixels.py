"""Segmentation networks as subjects: regions are parts of the image."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax import ops
from gpool_jax.errors import InputError
from gpool_jax.experiments.channels.subject import (
    OUTSIDE,
    Quantity,
    check_feature,
    gated,
    measured_boxes,
    parse_regions,
)
from gpool_jax.experiments.segmentation import training as segmentation
from gpool_jax.experiments.training import Setup
from gpool_jax.models.deeplab_linear import respond


class PixelSubject:
    """A network that answers with a class for every pixel; see `Subject`."""

    views = 1

    def __init__(self, setup: Setup):
        """Check what is asked of the network.

        Raises:
          InputError: for an unknown feature or region, or one without pixels.
        """
        config = setup.config.rank
        self.setup, self.feature = setup, config.feature
        check_feature(setup, config.feature)
        self.boxes = parse_regions(config.regions)
        # The size of the images measured, not of training crops.
        self._size = setup.dataset.test.image_shape[:2]
        self._masks = {name: ops.region_mask(box, *self._size) for name, box in self.boxes.items()}
        for name, mask in self._masks.items():
            if not mask.any():
                raise InputError(
                    f"`rank.regions`: {name!r} holds no pixel of images of {self._size[0]} by "
                    f"{self._size[1]}."
                )
            if mask.all() and name != "overall":
                raise InputError(f"`rank.regions`: {name!r} is the whole image; say overall.")
        self.quantities = make_quantities(setup)

    def stimulus(self, images: jax.Array) -> jax.Array:
        """The images, normalised."""
        return ops.normalise(images, self.setup.dataset.mean, self.setup.dataset.std)

    def places(self) -> int:
        """Cells per side of the canvases of `placed`."""
        return self.setup.config.rank.grid

    def _cell_size(self) -> tuple[int, int]:
        """Whole strides, so that a network that knows no position answers alike in all cells."""
        stride, grid = self.setup.model.backbone.total_stride, self.places()
        height, width = (side // (grid * stride) * stride for side in self._size)
        if not (height and width):
            raise InputError(
                f"`rank.grid`: a cell of a {grid} x {grid} grid on images of {self._size[0]} by "
                f"{self._size[1]} is smaller than the network's stride of {stride} pixels."
            )
        return height, width

    def placed(self, images: jax.Array) -> jax.Array:
        """The centre of each image in every cell of a canvas of the mean colour."""
        height, width = self._cell_size()
        top, left = (self._size[0] - height) // 2, (self._size[1] - width) // 2
        crop = self.stimulus(images[:, top : top + height, left : left + width])
        canvases = ops.place_everywhere(crop, self.places())
        return canvases.reshape(-1, *canvases.shape[2:])

    def needed(self) -> tuple[str, ...]:
        """The map itself, and what the decoder of DeepLabv3+ takes from before it."""
        low = self.setup.model.head.low_features is not None and self.feature != "stage1"
        return (self.feature, "stage1") if low else (self.feature,)

    def region_losses(
        self, variables: Any, features: dict, inputs: dict, gate: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Mean loss over the labelled pixels of each measured region."""
        logits = self._logits(variables, gated(self, features, gate, None))
        losses, weights = segmentation.pixel_losses(
            self.setup.config.loss, logits, inputs["labels"]
        )
        masks = jnp.asarray(self._measured(), jnp.float32)
        total = jnp.einsum("bhw,rhw->rb", losses * weights, masks)
        weight = jnp.einsum("bhw,rhw->rb", weights, masks)
        return total / jnp.maximum(weight, 1e-6), (weight > 0).astype(jnp.float32)

    def count(
        self, variables: Any, features: dict, inputs: dict, keep: jax.Array, fill: jax.Array
    ) -> dict[str, jax.Array]:
        """`classes` int32 [B, R', 3, K]: hits, true and answered pixels of each class."""
        return self._count(
            self._logits(variables, gated(self, features, keep, fill)), inputs["labels"]
        )

    def _count(self, logits: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
        confusion = ops.confusion_matrix(
            logits.argmax(-1), labels, self._measured(), num_classes=self.setup.num_outputs
        )
        return {"classes": ops.class_counts(confusion)}

    @property
    def linear(self) -> bool:
        """Whether the head reads these channels through convolutions alone."""
        return self.feature == "pre_gap"

    def respond(self, variables: Any, x: jax.Array, channels: jax.Array) -> dict[str, jax.Array]:
        """What values [B, H, W, n] of channels [n] add to the head's first convolutions."""
        return respond(self.setup.model.head, variables["params"]["head"], x, channels)

    def count_responses(
        self, variables: Any, features: dict, inputs: dict, responses: dict
    ) -> dict[str, jax.Array]:
        """`count`, from what the head's first convolutions give."""
        logits = self.setup.model.apply(
            variables, features, responses, size=self._size, method="resume_from_responses"
        )
        return self._count(logits, inputs["labels"])

    def answers(self, variables: Any, features: dict, keep: jax.Array, fill: jax.Array):
        """Class of every pixel, int [B, H, W], with channels removed."""
        return self._logits(variables, gated(self, features, keep, fill)).argmax(-1)

    def _measured(self) -> np.ndarray:
        """Masks [R', H, W] of the measured regions."""
        return np.stack([self._mask(name) for name in measured_boxes(self.boxes)])

    def _mask(self, name: str) -> np.ndarray:
        if name == "overall":
            return np.ones(self._size, bool)
        if name.startswith(OUTSIDE):
            return ~self._masks[name.removeprefix(OUTSIDE)]
        return self._masks[name]

    def _logits(self, variables: Any, features: dict) -> Any:
        logits, _ = self.setup.model.apply(
            variables, features, start=self.feature, size=self._size, method="resume"
        )
        return logits


def make_quantities(setup: Setup) -> dict[str, Quantity]:
    """Mean IoU, pixel accuracy, and the IoU of each class."""

    def classes(counts: np.ndarray) -> np.ndarray:
        return (~np.isnan(ops.class_iou(counts))).sum(axis=-1)

    found = {
        "miou": Quantity("mean IoU", "classes", ops.mean_iou, classes),
        "pixel_accuracy": Quantity("pixel accuracy", "classes", ops.pixel_accuracy, detail=True),
    }
    for i, name in enumerate(setup.dataset.class_names):
        score = _of_class(i)
        found[f"iou_{name}"] = Quantity(f"IoU {name}", "classes", score, detail=True)
    return found


def _of_class(index: int):
    return lambda counts: ops.class_iou(counts[..., index : index + 1])[..., 0]
