"""Segmentation networks as subjects: regions are parts of the image."""

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax import ops
from gpool_jax.errors import InputError
from gpool_jax.experiments.channels.subject import (
    Arrays,
    LinearSubject,
    Variables,
    count_channels,
    open_regions,
)
from gpool_jax.experiments.segmentation import training as segmentation
from gpool_jax.experiments.segmentation.measure import data_notes
from gpool_jax.experiments.segmentation.quantities import make_quantities
from gpool_jax.experiments.training import Setup
from gpool_jax.models import deeplab_linear
from gpool_jax.models.deeplab_linear import Responses


class PixelSubject:
    """A network that predicts a class for every pixel; see `Subject`."""

    views = 1
    # There is no pooled vector.
    pool = None

    def __init__(self, setup: Setup):
        """Check the feature and regions that are asked for, or raise an `InputError`."""
        config = setup.config.rank
        self.setup, self.name = setup, setup.config.model.name
        self.feature, self.grid = config.feature, config.grid
        self.num_channels = count_channels(setup, config.feature)
        # What the decoder of DeepLabv3+ takes from before the feature.
        low = setup.model.head.low_features is not None and config.feature != "stage1"
        self.needed: tuple[str, ...] = (config.feature, "stage1") if low else (config.feature,)
        # The size of the images measured, not of training crops.
        self._size = height, width = setup.dataset.test.image_shape[:2]
        self.boxes, self._masks = open_regions(
            config.regions,
            lambda box: ops.region_mask(box, height, width),
            empty=f"holds no pixel of images of {height} by {width}",
            whole="image",
        )
        self.cluster: str | None = setup.config.data.cluster
        self.class_names = setup.dataset.class_names
        self.quantities = make_quantities(self.class_names)

    def prepare_attack(self, variables: Variables) -> list[str]:
        """Describe what the numbers are means over; there is nothing to fit."""
        return data_notes(self.setup)

    def stimulus(self, images: jax.Array) -> jax.Array:
        """The images, normalised."""
        return ops.normalise(images, self.setup.dataset.mean, self.setup.dataset.std)

    def tiled(self, images: jax.Array) -> jax.Array:
        """The centre of each image in every cell of a canvas of the mean colour."""
        # Whole strides: a network that knows no position then answers alike in all cells.
        stride = self.setup.model.backbone.total_stride
        height, width = (side // (self.grid * stride) * stride for side in self._size)
        if not (height and width):
            raise InputError(
                f"`rank.grid`: a cell of a {self.grid} x {self.grid} grid on images of "
                f"{self._size[0]} by {self._size[1]} is smaller than the network's stride of "
                f"{stride} pixels."
            )
        top, left = (self._size[0] - height) // 2, (self._size[1] - width) // 2
        crop = self.stimulus(images[:, top : top + height, left : left + width])
        canvases = ops.place_everywhere(crop, self.grid)
        return canvases.reshape(-1, *canvases.shape[2:])

    def region_losses(
        self, variables: Variables, features: Arrays, labels: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Mean loss over the labelled pixels of each measured region."""
        logits = self._logits(variables, features)
        losses, weights = segmentation.pixel_losses(self.setup.config.loss, logits, labels)
        masks = jnp.asarray(self._masks, jnp.float32)
        total = jnp.einsum("bhw,rhw->rb", losses * weights, masks)
        weight = jnp.einsum("bhw,rhw->rb", weights, masks)
        return total / jnp.maximum(weight, 1e-6), (weight > 0).astype(jnp.float32)

    def labelled(self, feature: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Pixels of the map [B, P, C], and the class at the centre of each, if any [B, P, K]."""
        rows, columns = (
            ((np.arange(side) + 0.5) * whole / side).astype(int)
            for side, whole in zip(feature.shape[1:3], labels.shape[1:3], strict=True)
        )
        centres = labels[:, rows][:, :, columns]
        # The label of no class is beyond all of them: a row of zeros.
        members = jax.nn.one_hot(centres, self.setup.num_outputs)
        batch, channels = len(feature), feature.shape[-1]
        return feature.reshape(batch, -1, channels), members.reshape(batch, -1, members.shape[-1])

    def count(self, variables: Variables, features: Arrays, labels: jax.Array) -> Arrays:
        """`classes` int32 [B, R', 3, K]: hits, true and predicted pixels of each class."""
        return self._count_classes(self._logits(variables, features), labels)

    def _count_classes(self, logits: jax.Array, labels: jax.Array) -> Arrays:
        confusion = ops.confusion_matrix(
            logits.argmax(-1), labels, self._masks, num_classes=self.setup.num_outputs
        )
        return {"classes": ops.class_counts(confusion)}

    @property
    def linear(self) -> LinearSubject | None:
        """Itself, where the head reads the feature through convolutions alone."""
        return self if self.feature == "pre_gap" else None

    def respond(self, variables: Variables, x: jax.Array, channels: jax.Array) -> Responses:
        """Contribution of values [B, H, W, n] of channels [n] to the head's first convolutions."""
        params = variables["params"]["head"]
        return deeplab_linear.respond(self.setup.model.head, params, x, channels)

    def count_responses(
        self, variables: Variables, features: Arrays, labels: jax.Array, responses: Responses
    ) -> Arrays:
        """`count`, from what the head's first convolutions give."""
        logits = self.setup.model.apply(
            variables, features, responses, size=self._size, method="resume_from_responses"
        )
        return self._count_classes(logits, labels)

    def _logits(self, variables: Variables, features: Arrays) -> jax.Array:
        logits, _ = self.setup.model.apply(
            variables, features, start=self.feature, size=self._size, method="resume"
        )
        return logits

    def predict(self, variables: Variables, features: Arrays) -> jax.Array:
        """Class of every pixel, int [B, H, W]."""
        return self._logits(variables, features).argmax(-1)
