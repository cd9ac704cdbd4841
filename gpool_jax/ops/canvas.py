"""Images on an n x n canvas: the stimulus of the position experiments.

A cell is an int in [0, n*n), row-major: ``row * n + column``.
"""

import jax
import jax.numpy as jnp

from gpool_jax.ops.keys import example_keys


def normalise(images: jax.Array, mean, std) -> jax.Array:
    """Scale pixels to zero mean and unit variance per colour channel: float32 [..., C].

    Args:
      images: uint8 [..., C] in 0..255, or float [..., C] in 0..1.
      mean: [C], in units of 0..1.
      std: [C], in units of 0..1, positive.
    """
    images = jnp.asarray(images)
    scale = 255.0 if images.dtype == jnp.uint8 else 1.0
    shape = (1,) * (images.ndim - 1) + (-1,)
    mean = jnp.asarray(mean, jnp.float32).reshape(shape)
    std = jnp.asarray(std, jnp.float32).reshape(shape)
    # One multiply-add: (x / scale - mean) / std.
    return images.astype(jnp.float32) * (1.0 / (scale * std)) - mean / std


def random_flip(key: jax.Array, images: jax.Array, index: jax.Array) -> jax.Array:
    """Mirror each image [B, H, W, C] left to right with probability one half.

    `index`, int [B], is the global index of each example.
    """
    mirrored = jax.vmap(jax.random.bernoulli)(example_keys(key, index))
    return jnp.where(mirrored[:, None, None, None], images[:, :, ::-1], images)


def draw_cells(key: jax.Array, index: jax.Array, num_cells: int) -> jax.Array:
    """Draw one of some cells per example, uniformly: int32 [B] in [0, num_cells).

    `index`, int [B], is the global index of each example.
    """
    return jax.vmap(lambda k: jax.random.randint(k, (), 0, num_cells))(example_keys(key, index))


def bound_cells(num_classes: int, n: int) -> jax.Array:
    """The cells that each class is bound to: int32 [K, (n*n + 1) // 2], another set for each.

    Half of the cells, rounded up, drawn once and for all: a network that is trained with every
    class in its own cells alone is tested in the others, for whether it knows them there.
    """
    keys = jax.vmap(lambda k: jax.random.fold_in(jax.random.key(0), k))(jnp.arange(num_classes))
    order = jax.vmap(lambda key: jax.random.permutation(key, n * n))(keys)
    return order[:, : (n * n + 1) // 2].astype(jnp.int32)


def place(images: jax.Array, cell: jax.Array, n: int) -> jax.Array:
    """Paste each image into one cell of a canvas of zeros: [B, n*H, n*W, C], dtype of `images`.

    Args:
      images: [B, H, W, C], already normalised: the background is 0 *after* normalisation.
      cell: int [B] in [0, n*n).
      n: cells per side.

    >>> place(jnp.ones((1, 1, 1, 1)), jnp.array([2]), 2)[0, :, :, 0].tolist()
    [[0.0, 0.0], [1.0, 0.0]]
    """
    batch, height, width, channels = images.shape
    one_hot = jax.nn.one_hot(cell, n * n, dtype=images.dtype).reshape(batch, n, 1, n, 1, 1)
    canvas = one_hot * images[:, None, :, None, :, :]
    return canvas.reshape(batch, n * height, n * width, channels)


def place_everywhere(images: jax.Array, n: int) -> jax.Array:
    """Paste each image [B, H, W, C], normalised, into every cell of an n x n canvas in turn.

    The result is [B, n*n, n*H, n*W, C].
    """
    cells = jnp.arange(n * n)
    return jax.vmap(lambda image: place(jnp.stack([image] * (n * n)), cells, n))(images)
