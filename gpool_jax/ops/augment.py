"""Random scale, crop and colour of images and their pixels' labels, on the device."""

import jax
import jax.numpy as jnp

from gpool_jax.ops.keys import example_keys


def random_scale_crop(
    key: jax.Array,
    images: jax.Array,
    labels: jax.Array,
    index: jax.Array,
    *,
    size: tuple[int, int],
    min_scale: float,
    max_scale: float,
    fill: jax.Array,
    ignore: int = 255,
) -> tuple[jax.Array, jax.Array]:
    """Scale each image at random and cut a random window out, in one look-up.

    The window lies inside the scaled image, or contains it whole where that is smaller.

    Args:
      key: PRNG key.
      images: float [B, H, W, C].
      labels: int [B, H, W].
      index: int [B], global index of each example.
      size: (h, w) of the window.
      min_scale: smallest scale factor.
      max_scale: largest; factors are uniform between the two.
      fill: [C], the colour of pixels outside the image.
      ignore: their label.

    Returns:
      float32 [B, h, w, C], bilinear, and labels [B, h, w], nearest.
    """

    def one(own_key: jax.Array, image: jax.Array, label: jax.Array):
        scale_key, place_key = jax.random.split(own_key)
        scale = jax.random.uniform(scale_key, (), minval=min_scale, maxval=max_scale)
        place = jax.random.uniform(place_key, (2,))
        inside = jnp.ones((1, 1), bool)
        for axis, out in enumerate(size):
            window = _window(image.shape[axis], out, scale, place[axis])
            image = _interpolate(image, axis, window["low"], window["share"])
            label = jnp.take(label, window["nearest"], axis=axis)
            inside = inside & jnp.expand_dims(window["inside"], 1 - axis)
        filled = jnp.asarray(fill, jnp.float32)[None, None, :]
        image = jnp.where(inside[:, :, None], image, filled)
        return image, jnp.where(inside, label, jnp.asarray(ignore, label.dtype))

    return jax.vmap(one)(example_keys(key, index), images, labels)


def _window(side: int, out: int, scale: jax.Array, share: jax.Array) -> dict[str, jax.Array]:
    """Source of each pixel of a window in one dimension of an image."""
    # Between flush with the image's start and flush with its end, whichever is larger.
    first = share * (side * scale - out)
    source = (jnp.arange(out, dtype=jnp.float32) + 0.5 + first) / scale
    centre = jnp.clip(source - 0.5, 0.0, side - 1.0)
    low = jnp.minimum(jnp.floor(centre), max(side - 2, 0))
    nearest = jnp.clip(jnp.floor(source), 0, side - 1).astype(jnp.int32)
    return {
        "low": low,
        "share": centre - low,
        "nearest": nearest,
        "inside": (source >= 0) & (source <= side),
    }


def _interpolate(image: jax.Array, axis: int, low: jax.Array, share: jax.Array) -> jax.Array:
    """Blend pixel `low` of one dimension with the next one, for each pixel of the window."""
    side = image.shape[axis]
    distance = jnp.arange(side, dtype=jnp.float32)[None, :] - (low + share)[:, None]
    # Two weights in each row: a matrix product is several times faster than two look-ups.
    weights = jnp.maximum(1.0 - jnp.abs(distance), 0.0)
    product = jnp.tensordot(weights, image, axes=(1, axis), precision=jax.lax.Precision.HIGHEST)
    return jnp.moveaxis(product, 0, axis)


def colour_jitter(
    key: jax.Array, images: jax.Array, index: jax.Array, *, strength: float
) -> jax.Array:
    """Change brightness, contrast and saturation of each image at random, in this order.

    The image is blended with black, its mean grey and its grey version, each by a factor drawn
    from [1 - strength, 1 + strength].

    Args:
      key: PRNG key.
      images: float [B, H, W, 3] in 0..1, as the result, which is float32.
      index: int [B], global index of each example.
      strength: in [0, 1); 0 changes nothing.
    """
    weights = jnp.array([0.299, 0.587, 0.114])
    to_grey = jnp.tile(weights[:, None], (1, 3))

    def one(own_key: jax.Array, image: jax.Array) -> jax.Array:
        bright, contrast, saturation = 1.0 + strength * jax.random.uniform(
            own_key, (3,), minval=-1.0, maxval=1.0
        )
        image = jnp.clip(image * bright, 0.0, 1.0)
        # Grey is linear: its mean is the grey of the mean, and blending with it is a product.
        mean = (image.mean(axis=(0, 1)) * weights).sum()
        image = jnp.clip(mean + contrast * (image - mean), 0.0, 1.0)
        blend = saturation * jnp.eye(3) + (1.0 - saturation) * to_grey
        pixels = jnp.matmul(image.reshape(-1, 3), blend, precision=jax.lax.Precision.HIGHEST)
        return jnp.clip(pixels.reshape(image.shape), 0.0, 1.0)

    return jax.vmap(one)(example_keys(key, index), images)
