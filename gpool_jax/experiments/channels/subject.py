"""What ranking and attacking channels need of a network, whatever its task."""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax import ops
from gpool_jax.errors import InputError
from gpool_jax.experiments.training import Setup
from gpool_jax.ops.regions import Box

OUTSIDE = "outside "
Responses = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Quantity:
    """A number that is made from counts summed over images.

    Attributes:
      title: as in a table; measured in percent.
      counts: name of the counts it is made from.
      score: counts [..., *tail] summed over images to values [...] in 0..1; NaN
        where nothing was counted.
      classes: the same counts to the number of classes in the mean; None where
        there is no mean over classes.
      chance: value of a guess, where there is one.
      detail: reported of the whole image only, with the rankings for it, put to zero.
    """

    title: str
    counts: str
    score: Callable[[np.ndarray], np.ndarray]
    classes: Callable[[np.ndarray], np.ndarray] | None = None
    chance: float | None = None
    detail: bool = False


class Subject(Protocol):
    """A frozen network, its stimuli and its task.

    Attributes:
      setup: of the run.
      feature: the map whose channels are ranked and removed.
      boxes: of the regions that are ranked, attacked and measured, by name.
      views: inputs made of one image: 1, or a canvas for each cell.
      quantities: what is measured, the most important first.
    """

    setup: Setup
    feature: str
    boxes: dict[str, Box]
    views: int
    quantities: dict[str, Quantity]

    def stimulus(self, images: jax.Array) -> jax.Array:
        """uint8 [B, H, W, C] -> the network's inputs [B * views, h, w, C], normalised."""

    def placed(self, images: jax.Array) -> jax.Array:
        """uint8 [B, H, W, C] -> one crop of each at every place [B * P, h, w, C]."""

    def places(self) -> int:
        """Cells per side of the canvases of `placed`; P is its square."""

    def region_losses(
        self, variables: Any, features: dict, inputs: dict, gate: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Loss [R', B] of each measured region and image, its channels gated by [B, C]; weights.

        A weight [R', B] is 1, or 0 where the region of an image has nothing to answer.
        """

    def count(
        self, variables: Any, features: dict, inputs: dict, keep: jax.Array, fill: jax.Array
    ) -> dict[str, jax.Array]:
        """Counts int32 [B, R', ...] of measured regions with channels [C] removed."""

    @property
    def linear(self) -> bool:
        """Whether what follows the feature begins with a linear map: a `LinearSubject`."""

    def needed(self) -> tuple[str, ...]:
        """Features that `region_losses` and `count` are computed from."""


class LinearSubject(Subject, Protocol):
    """A subject whose masks cost the channels that they change; see `linear`."""

    def respond(self, variables: Any, x: jax.Array, channels: jax.Array) -> Responses:
        """What the values [B, H, W, n] of some channels [n] add to the linear maps."""

    def count_responses(
        self, variables: Any, features: dict, inputs: dict, responses: Responses
    ) -> dict[str, jax.Array]:
        """`count`, from what the linear maps give."""


def measured_boxes(boxes: dict[str, Box]) -> list[str]:
    """Regions that are measured: overall, those attacked, and what lies outside each.

    >>> measured_boxes({"overall": (0, 0, 1, 1), "left": (0, 0, 1, 0.5)})
    ['overall', 'left', 'outside left']
    """
    parts = [name for name in boxes if name != "overall"]
    return ["overall", *(f"{prefix}{name}" for name in parts for prefix in ("", OUTSIDE))]


def parse_regions(names: tuple[str, ...]) -> dict[str, Box]:
    """The boxes of named regions.

    Raises:
      InputError: for a name that stands for none, an empty one, or one outside the image.
    """
    try:
        return {name: ops.region_box(name) for name in names}
    except ValueError as error:
        raise InputError(str(error).replace("`regions`", "`rank.regions`")) from None


def check_feature(setup: Setup, feature: str) -> int:
    """Channels of a named feature map.

    Raises:
      InputError: naming the feature maps that there are.
    """
    shapes = feature_shapes(setup)
    maps = [name for name, shape in shapes.items() if len(shape) == 4]
    maps.sort(key=lambda name: (name == "pre_gap", name != "stem", name))
    if feature not in maps:
        raise InputError(f"`rank.feature` must be one of {', '.join(maps)}; got {feature!r}.")
    return shapes[feature][-1]


def feature_shapes(setup: Setup) -> dict[str, tuple[int, ...]]:
    """Shapes of the network's features for one input."""
    x = jax.ShapeDtypeStruct(setup.input_shape, jnp.float32)
    variables = jax.eval_shape(setup.model.init, jax.random.key(0), x)
    _, features = jax.eval_shape(setup.model.apply, variables, x)
    return {name: value.shape for name, value in features.items()}


def encode(subject: Subject, variables: Any, inputs: jax.Array) -> Any:
    """The features of inputs; what is not used of them, and the head, is not computed."""
    return subject.setup.model.apply(variables, inputs)[1]


def gated(subject: Subject, features: dict, gate: jax.Array, fill: jax.Array | None) -> dict:
    """The needed features, the subject's own with channels gated.

    Args:
      subject: whose.
      features: [B * views, ...] each.
      gate: [C], or [B, C] for each image.
      fill: [C] or None, see `ops.ablate`.
    """
    if gate.ndim == 2:
        gate = jnp.repeat(gate, subject.views, axis=0)
    own = ops.ablate(features[subject.feature], gate, fill=fill)
    return {**features, subject.feature: own}
