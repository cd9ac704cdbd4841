"""Shifted views of test images, and what a network makes of them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax import ops
from gpool_jax.config import InvarianceConfig, PositionConfig
from gpool_jax.data.split import Split
from gpool_jax.experiments.position.exhaustive import TEST_IMAGES_SEED
from gpool_jax.experiments.training import Setup
from gpool_jax.train import parallel

# Keeps test shifts apart from everything that training drew.
_TEST_KEY = 0x5417


def test_images(setup: Setup, count: int | None) -> Split:
    """The test images that are used: all, or a draw that is the same for every seed."""
    return setup.dataset.test.draw(count, seed=TEST_IMAGES_SEED)


def labels_of(setup: Setup, labels: np.ndarray) -> np.ndarray:
    """What the network should answer: the class, or the cell of its canvas."""
    config = setup.config
    if isinstance(config, PositionConfig) and config.task == "location":
        return np.full_like(labels, _middle(config.n))
    return labels


def _middle(n: int) -> int:
    return n // 2 * n + n // 2


def stimulus(setup: Setup, images: jax.Array) -> jax.Array:
    """What is shifted: the image, or the canvas with it in the middle cell."""
    images = ops.normalise(images, setup.dataset.mean, setup.dataset.std)
    config = setup.config
    if not isinstance(config, PositionConfig):
        return images
    return ops.place(images, jnp.full(len(images), _middle(config.n)), config.n)


def source_side(setup: Setup) -> int:
    """Side of what is shifted, of which protocol "crop" cuts its crops."""
    if isinstance(setup.config, PositionConfig):
        return min(setup.input_shape[1:3])
    return min(setup.dataset.test.image_shape[:2])


def view_side(setup: Setup) -> int:
    """Side of a view under the other protocols: what the network was trained on."""
    side, config = min(setup.input_shape[1:3]), setup.config
    if isinstance(config, InvarianceConfig) and config.shift.mode == "crop":
        side -= 2 * config.shift.max_shift
    return side


def crop_side(setup: Setup) -> int:
    """Side of the crops of protocol "crop"."""
    consistency = setup.config.consistency
    if consistency.crop is not None:
        return consistency.crop
    return source_side(setup) - 2 * consistency.max_shift


def central(images: jax.Array, side: int) -> jax.Array:
    """The central part of images [B, H, W, C], `side` wide where they are wider."""
    top, left = ((extent - min(side, extent)) // 2 for extent in images.shape[1:3])
    return images[:, top : top + side, left : left + side]


def move(setup: Setup, inputs: jax.Array, offset: jax.Array, protocol: str) -> jax.Array:
    """Shift stimuli [B, H, W, C] by `offset` [B, 2], as a protocol says.

    Under "crop" content moves because the corner of the crop moves against it.
    """
    if protocol != "crop":
        inputs = central(inputs, view_side(setup))
    if protocol == "fourier":
        return ops.fourier_shift(inputs, offset)
    if protocol == "crop":
        side = crop_side(setup)
        room = jnp.array([inputs.shape[1] - side, inputs.shape[2] - side]).reshape(1, 2)
        return ops.crop(inputs, room // 2 - offset, side)
    return ops.shift(inputs, offset, mode=protocol)


def offset_range(setup: Setup, protocol: str) -> tuple[int, int]:
    """Smallest and largest offset of a protocol, in its units (half pixels for "fourier")."""
    reach = setup.config.consistency.max_shift
    if protocol == "fourier":
        return -2 * reach, 2 * reach
    if protocol == "crop":
        room = source_side(setup) - crop_side(setup)
        # The corner is room // 2 - offset, in [0, room].
        return room // 2 - room, room // 2
    return -reach, reach


def unit(protocol: str) -> float:
    """Pixels of one unit of an offset."""
    return 0.5 if protocol == "fourier" else 1.0


def draw_offsets(setup: Setup, protocol: str, index: np.ndarray, num_views: int) -> np.ndarray:
    """Random offsets of each test image, the same for every network.

    Args:
      setup: of the run.
      protocol: how views are made.
      index: int [B], rows of the images.
      num_views: V.

    Returns:
      float32 [B, V, 2], in pixels.
    """
    low, high = offset_range(setup, protocol)
    key, rows = jax.random.key(_TEST_KEY), jnp.asarray(index)

    def view(number: jax.Array) -> jax.Array:
        return ops.draw_offsets(jax.random.fold_in(key, number), rows, low, high)

    drawn = jax.vmap(view, out_axes=1)(jnp.arange(num_views))
    return np.asarray(drawn, np.float32) * np.float32(unit(protocol))


def grid_offsets(setup: Setup, protocol: str) -> np.ndarray:
    """All offsets of a protocol's grid: float32 [V, 2], in pixels."""
    low, high = offset_range(setup, protocol)
    step = setup.config.consistency.grid_step
    # On the unshifted image: steps are counted from it in both directions.
    line = np.arange(-(-low // step) * step, high + 1, step, dtype=np.float32)
    grid = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    return grid * np.float32(unit(protocol))


def make_answer_views(setup: Setup, protocol: str) -> Callable[[Any, Any, dict], dict]:
    """The device program: logits and latents of the unshifted input and of its views.

    Returns:
      `(variables, data, {"images": uint8 [B, H, W, C], "offset": [B, V, 2]}) ->`
      `logits` [B, V + 1, K] and `latent` [B, V + 1, C], the unshifted input first.
    """

    def answer_views(variables: Any, _: Any, inputs: dict) -> dict[str, jax.Array]:
        still = stimulus(setup, inputs["images"])
        # Whole pixels index; halves turn phases.
        kind = jnp.float32 if protocol == "fourier" else jnp.int32
        offset = inputs["offset"].astype(kind)
        offset = jnp.concatenate([jnp.zeros_like(offset[:, :1]), offset], axis=1)
        views = jax.vmap(lambda by: move(setup, still, by, protocol), 1, 1)(offset)
        logits, features = setup.model.apply(variables, views.reshape(-1, *views.shape[2:]))
        shape = offset.shape[:2]
        return {
            "logits": logits.reshape(*shape, -1),
            "latent": features["gap"].reshape(*shape, -1),
        }

    return answer_views


def map_views(program: Callable) -> Callable:
    """Run a program of views on host batches, over all devices.

    Returns:
      `(variables, images [B, ...], offset [B, V, 2]) -> outputs` as NumPy arrays;
      B is a multiple of the devices.
    """
    mapped = parallel.map_batch(program)

    def run(variables: Any, images: np.ndarray, offset: np.ndarray) -> dict[str, np.ndarray]:
        inputs = parallel.shard({"images": images, "offset": offset})
        return parallel.unshard(mapped(variables, {}, inputs))

    return run
