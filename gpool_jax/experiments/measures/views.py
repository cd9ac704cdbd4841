"""Shifted views of test images, and what a network makes of them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax import ops
from gpool_jax.config import ConsistencyConfig
from gpool_jax.experiments.training import Design
from gpool_jax.train import parallel

# Keeps test shifts apart from everything that training drew.
_TEST_KEY = 0x5417


@dataclasses.dataclass(frozen=True)
class Stimulus:
    """The input that is shifted: the image itself, or a canvas with the image in its middle cell.

    Attributes:
      source_side: side in pixels; protocol "crop" cuts its crops from it.
      view_side: side of a view under the other protocols: what the network was trained on.
      canvas: cells per side of the canvas; None: the image itself.
      label: what the network should predict, where that is the same for every image.
    """

    source_side: int
    view_side: int
    canvas: int | None = None
    label: int | None = None

    def make(self, images: jax.Array) -> jax.Array:
        """Normalised images [B, H, W, C] to what is shifted."""
        if self.canvas is None:
            return images
        middle = self.canvas // 2 * self.canvas + self.canvas // 2
        return ops.place(images, jnp.full(len(images), middle), self.canvas)

    def labels(self, classes: np.ndarray) -> np.ndarray:
        """Labels that the network should predict for images of these classes."""
        return classes if self.label is None else np.full_like(classes, self.label)


def crop_side(stimulus: Stimulus, config: ConsistencyConfig) -> int:
    """Side of the crops of protocol "crop"."""
    if config.crop is not None:
        return config.crop
    return stimulus.source_side - 2 * config.max_shift


def central(images: jax.Array, side: int) -> jax.Array:
    """The central part of images [B, H, W, C], `side` wide where they are wider."""
    top, left = ((extent - min(side, extent)) // 2 for extent in images.shape[1:3])
    return images[:, top : top + side, left : left + side]


def move(
    stimulus: Stimulus,
    config: ConsistencyConfig,
    inputs: jax.Array,
    offset: jax.Array,
    protocol: str,
) -> jax.Array:
    """Shift stimuli [B, H, W, C] by `offset` [B, 2], as a protocol says.

    Under "crop" content moves because the corner of the crop moves against it.
    """
    if protocol != "crop":
        inputs = central(inputs, stimulus.view_side)
    if protocol == "fourier":
        return ops.fourier_shift(inputs, offset)
    if protocol == "crop":
        side = crop_side(stimulus, config)
        room = jnp.array([inputs.shape[1] - side, inputs.shape[2] - side]).reshape(1, 2)
        return ops.crop(inputs, room // 2 - offset, side)
    return ops.shift(inputs, offset, mode=protocol)


def offset_range(stimulus: Stimulus, config: ConsistencyConfig, protocol: str) -> tuple[int, int]:
    """Smallest and largest offset of a protocol, in its units (half pixels for "fourier")."""
    reach = config.max_shift
    if protocol == "fourier":
        return -2 * reach, 2 * reach
    if protocol == "crop":
        room = stimulus.source_side - crop_side(stimulus, config)
        # The corner is room // 2 - offset, in [0, room].
        return room // 2 - room, room // 2
    return -reach, reach


def unit(protocol: str) -> float:
    """Pixels of one unit of an offset."""
    return 0.5 if protocol == "fourier" else 1.0


def draw_offsets(
    bounds: tuple[int, int], protocol: str, index: np.ndarray, num_views: int
) -> np.ndarray:
    """Draw offsets float32 [B, V, 2], in pixels, for each test image, the same for every network.

    `bounds` come from `offset_range`; `index` int [B] are the rows of the images.
    """
    low, high = bounds
    key, rows = jax.random.key(_TEST_KEY), jnp.asarray(index)

    def view(number: jax.Array) -> jax.Array:
        return ops.draw_offsets(jax.random.fold_in(key, number), rows, low, high)

    drawn = jax.vmap(view, out_axes=1)(jnp.arange(num_views))
    return np.asarray(drawn, np.float32) * np.float32(unit(protocol))


def grid_offsets(bounds: tuple[int, int], protocol: str, step: int) -> np.ndarray:
    """All offsets of a protocol's grid, `step` units apart: float32 [V, 2], in pixels."""
    low, high = bounds
    # On the unshifted image: steps are counted from it in both directions.
    line = np.arange(-(-low // step) * step, high + 1, step, dtype=np.float32)
    grid = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    return grid * np.float32(unit(protocol))


def make_answer_views(
    design: Design, stimulus: Stimulus, protocol: str
) -> Callable[[Any, Any, dict], dict]:
    """The device program: logits and latents of the unshifted input and of its views.

    Returns:
      `(variables, constants, {"images": uint8 [B, H, W, C], "offset": [B, V, 2]}) ->`
      `logits` [B, V + 1, K] and `latent` [B, V + 1, C], the unshifted input first.
    """
    model, config = design.model(), design.config.consistency

    def answer_views(variables: Any, data: dict, inputs: dict) -> dict[str, jax.Array]:
        still = stimulus.make(ops.normalise(inputs["images"], data["mean"], data["std"]))
        # Whole pixels index; halves turn phases.
        kind = jnp.float32 if protocol == "fourier" else jnp.int32
        offset = inputs["offset"].astype(kind)
        offset = jnp.concatenate([jnp.zeros_like(offset[:, :1]), offset], axis=1)
        views = jax.vmap(lambda by: move(stimulus, config, still, by, protocol), 1, 1)(offset)
        logits, features = model.apply(variables, views.reshape(-1, *views.shape[2:]))
        outputs = {"logits": logits, "latent": features["gap"]}
        return {name: value.reshape(*offset.shape[:2], -1) for name, value in outputs.items()}

    return answer_views


def run_views(
    program: Callable, variables: Any, constants: Any, images: np.ndarray, offset: np.ndarray
) -> dict[str, np.ndarray]:
    """Run a mapped program of views on a host batch, over all devices.

    `images` are uint8 [B, H, W, C], B a multiple of the devices; `offset` is [B, V, 2];
    the network's variables and `Setup.constants` are replicated.
    """
    inputs = parallel.shard({"images": images, "offset": offset})
    return parallel.unshard(program(variables, constants, inputs))
