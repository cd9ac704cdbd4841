"""The side of a network that ranking and attacking channels see, whatever its task."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax import ops
from gpool_jax.errors import InputError
from gpool_jax.experiments.measures.quantity import Quantity
from gpool_jax.experiments.training import Setup
from gpool_jax.models.deeplab_linear import Responses
from gpool_jax.ops.regions import Box
from gpool_jax.ops.ridge import Moments

OUTSIDE = "outside "
Arrays = dict[str, jax.Array]
Variables = Mapping[str, Any]


class Subject(Protocol):
    """A frozen network, its stimuli and its task.

    Attributes:
      setup: the run's setup.
      name: the network's name, for titles.
      feature: the map whose channels are ranked and removed.
      num_channels: C, its channels.
      needed: features that `region_losses` and `count` read: they compute the rest anew.
      boxes: regions that are ranked, attacked and measured, by name.
      views: inputs made of one image: 1, or a canvas for each cell.
      grid: cells per side of the canvases of `tiled`.
      quantities: what is measured, the most important first.
      cluster: what ends the name of a cluster in the names of its images; None: there are none.
      class_names: names of the classes of pixels; none for a network of whole images.
    """

    setup: Setup
    name: str
    feature: str
    num_channels: int
    needed: tuple[str, ...]
    boxes: dict[str, Box]
    views: int
    grid: int
    quantities: dict[str, Quantity]
    cluster: str | None
    class_names: tuple[str, ...]

    def stimulus(self, images: jax.Array) -> jax.Array:
        """uint8 [B, H, W, C] -> the network's inputs [B * views, h, w, C], normalised."""

    def tiled(self, images: jax.Array) -> jax.Array:
        """uint8 [B, H, W, C] -> one crop of each in every cell [B * grid**2, h, w, C]."""

    def region_losses(
        self, variables: Variables, features: Arrays, labels: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Loss of measured regions and images; weights, 0 where there is no label: [R', B] each."""

    def labelled(self, feature: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The feature where it has a class [B, P, C], and which class it is there [B, P, K]."""

    def count(self, variables: Variables, features: Arrays, labels: jax.Array) -> Arrays:
        """Counts int32 [B, R', ...] of each measured region and image."""

    @property
    def linear(self) -> "LinearSubject | None":
        """The subject itself, if what follows the feature begins with a linear map."""

    @property
    def pool(self) -> "PooledSubject | None":
        """The subject itself, if what is removed from the feature is removed from the latent."""

    def prepare_attack(self, variables: Variables) -> list[str]:
        """Fit what `count` needs beside the network; returns notes on what is measured."""

    @property
    def predict(self) -> Callable[[Variables, Arrays], jax.Array] | None:
        """From features to the class of every pixel, int [B, H, W]; None where images have one."""


class LinearSubject(Subject, Protocol):
    """A subject whose masks cost the channels that they change; see `Subject.linear`."""

    def respond(self, variables: Variables, x: jax.Array, channels: jax.Array) -> Responses:
        """Contribution of the values [B, H, W, n] of some channels [n] to the linear maps."""

    def count_responses(
        self, variables: Variables, features: Arrays, labels: jax.Array, responses: Responses
    ) -> Arrays:
        """`count`, from what the linear maps give."""


class PooledSubject(Subject, Protocol):
    """A subject whose pooled latent loses the channels that its feature loses; see `Subject.pool`.

    Attributes:
      moments: sums over the ranking images, each probe's own, by the probe's name.
    """

    moments: dict[str, Moments]

    def pooled(self, variables: Variables, images: jax.Array) -> jax.Array:
        """Pooled latents [B * views, C] of images."""

    def judge(self, logits: jax.Array, labels: jax.Array, probe: str) -> jax.Array:
        """Counts int32 [B, R', 2] of a probe's logits [B * views, K]."""


@dataclasses.dataclass(frozen=True)
class Target:
    """A network that is ready to be ranked and attacked, and notes on where it is from."""

    subject: Subject
    variables: Variables
    notes: list[str]


def measured_boxes(boxes: dict[str, Box]) -> list[str]:
    """Regions that are measured: overall, those attacked, and what lies outside each.

    >>> measured_boxes({"overall": (0, 0, 1, 1), "left": (0, 0, 1, 0.5)})
    ['overall', 'left', 'outside left']
    """
    parts = [name for name in boxes if name != "overall"]
    return ["overall", *(f"{prefix}{name}" for name in parts for prefix in ("", OUTSIDE))]


def open_regions(
    names: tuple[str, ...], mask_of: Callable[[Box], np.ndarray], *, empty: str, whole: str
) -> tuple[dict[str, Box], np.ndarray]:
    """The boxes of named regions (`ops.region_box`), and masks of `measured_boxes`, bool [R', ...].

    `mask_of` gives the pixels or cells in a box; `empty` says what is wrong with a region
    without any, and `whole` is the name of all of them together.

    Raises:
      InputError: for a name that stands for no region, for an empty region, and for one
        that is everything, or reaches outside the image.
    """
    try:
        boxes = {name: ops.region_box(name) for name in names}
    except ValueError as error:
        raise InputError(str(error).replace("`regions`", "`rank.regions`")) from None
    masks = [np.ones_like(mask_of((0.0, 0.0, 1.0, 1.0)))]
    for name, box in boxes.items():
        mask = mask_of(box)
        if not mask.any():
            raise InputError(f"`rank.regions`: {name!r} {empty}.")
        if name != "overall":
            if mask.all():
                raise InputError(f"`rank.regions`: {name!r} is the whole {whole}; say overall.")
            masks += [mask, ~mask]
    return boxes, np.stack(masks)


def count_channels(setup: Setup, feature: str) -> int:
    """Channels of a feature map; an `InputError` that names the maps if there is no such."""
    x = jax.ShapeDtypeStruct(setup.input_shape, jnp.float32)
    variables = jax.eval_shape(setup.model.init, jax.random.key(0), x)
    _, features = jax.eval_shape(setup.model.apply, variables, x)
    maps = {name: value.shape[-1] for name, value in features.items() if len(value.shape) == 4}
    if feature not in maps:
        names = sorted(maps, key=lambda name: (name == "pre_gap", name != "stem", name))
        raise InputError(f"`rank.feature` must be one of {', '.join(names)}; got {feature!r}.")
    return maps[feature]


def encode(subject: Subject, variables: Variables, inputs: jax.Array) -> Arrays:
    """The features of inputs; what is not used of them, and the head, is not computed."""
    return subject.setup.model.apply(variables, inputs)[1]


def gated(
    subject: Subject, features: Arrays, gate: jax.Array, fill: jax.Array | None = None
) -> Arrays:
    """Features [B * views, ...] with the subject's own gated by [C] or [B, C]; see `ops.ablate`."""
    if gate.ndim == 2:
        gate = jnp.repeat(gate, subject.views, axis=0)
    own = ops.ablate(features[subject.feature], gate, fill=fill)
    return {**features, subject.feature: own}
