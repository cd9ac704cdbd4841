"""Random scale, crop and colour: images and labels stay together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpool_jax import ops

pytestmark = pytest.mark.usefixtures("strict_types")

KEY = jax.random.key(0)
FILL = jnp.array([-1.0, -2.0, -3.0])


def _scale_crop(images, labels, size, low, high, index=None):
    index = jnp.arange(len(images)) if index is None else index
    return jax.jit(
        lambda x, t, i: ops.random_scale_crop(
            KEY, x, t, i, size=size, min_scale=low, max_scale=high, fill=FILL
        )
    )(jnp.asarray(images), jnp.asarray(labels), index)


def _striped(count=6):
    """Images whose colour says their label: blocks of 8 by 8 pixels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (count, 4, 5)).repeat(8, axis=1).repeat(8, axis=2)
    images = np.stack([labels / 3.0, 1 - labels / 3.0, labels * 0.0], axis=-1)
    return images.astype(np.float32), labels.astype(np.uint8)


def test_at_scale_one_and_full_size_nothing_changes():
    images, labels = _striped()
    got, got_labels = _scale_crop(images, labels, (32, 40), 1.0, 1.0)
    np.testing.assert_allclose(got, images, atol=1e-5)
    np.testing.assert_array_equal(got_labels, labels)


def test_a_scaled_crop_is_bilinear_between_the_pixels_around():
    """A plane is met exactly by bilinear interpolation, between pixels too."""
    rows, columns = np.mgrid[0:32, 0:40].astype(np.float32)
    plane = np.stack([rows, columns, rows + 2 * columns], axis=-1)[None].repeat(4, axis=0)
    labels = np.zeros(plane.shape[:3], np.uint8)
    got, _ = _scale_crop(plane, labels, (12, 14), 2.0, 2.0)
    got = np.asarray(got)
    # Twice as large, so half a pixel a step; its place is between pixels.
    inner = got[:, 2:-2, 2:-2]
    np.testing.assert_allclose(np.diff(inner[..., 0], axis=1), 0.5, atol=1e-3)
    np.testing.assert_allclose(np.diff(inner[..., 1], axis=2), 0.5, atol=1e-3)
    np.testing.assert_allclose(inner[..., 2], inner[..., 0] + 2 * inner[..., 1], atol=1e-3)
    assert (np.abs(inner[..., 0] - np.round(inner[..., 0])) > 0.05).any()


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.5), (2.0, 2.0), (0.5, 2.0)])
def test_labels_stay_with_their_pixels_at_every_scale(low, high):
    images, labels = _striped()
    got, got_labels = _scale_crop(images, labels, (24, 24), low, high)
    got, got_labels = np.asarray(got), np.asarray(got_labels)
    inside = got_labels != 255
    told = np.round(got[..., 0] * 3)
    # Bilinear colours change within a pixel of a border between blocks; labels jump there.
    agree = (told == got_labels)[inside].mean()
    assert agree > 0.85
    np.testing.assert_allclose(got[~inside], np.broadcast_to(FILL, got[~inside].shape))


def test_a_smaller_image_stands_whole_in_its_window():
    images, labels = _striped()
    _, got_labels = _scale_crop(images, labels, (32, 40), 0.5, 0.5)
    inside = np.asarray(got_labels) != 255
    assert (inside.sum(axis=(1, 2)) >= 15 * 19).all()
    assert (inside.sum(axis=(1, 2)) <= 17 * 21).all()
    assert len({tuple(np.argwhere(i)[0]) for i in inside}) > 1  # at places of their own


def test_draws_belong_to_the_global_index():
    images, labels = _striped()
    whole, _ = _scale_crop(images, labels, (16, 16), 0.5, 2.0)
    part, _ = _scale_crop(images[3:], labels[3:], (16, 16), 0.5, 2.0, jnp.arange(3, 6))
    np.testing.assert_allclose(whole[3:], part, atol=1e-6)
    assert np.abs(np.asarray(whole[0]) - np.asarray(whole[1])).max() > 0.1


def test_colour_jitter_keeps_grey_grey_and_the_range():
    images = np.random.default_rng(2).random((8, 5, 6, 3)).astype(np.float32)
    index = jnp.arange(8)
    jitter = jax.jit(lambda x, s: ops.colour_jitter(KEY, x, index, strength=s))
    np.testing.assert_allclose(jitter(images, 0.0), images, atol=1e-6)
    got = np.asarray(jitter(images, 0.5))
    assert got.min() >= 0
    assert got.max() <= 1
    grey = np.repeat(images[..., :1], 3, axis=-1)
    spread = np.asarray(jitter(grey, 0.5))
    np.testing.assert_allclose(spread.std(axis=-1), 0.0, atol=1e-5)


def _factors(images, got):
    """What happened to images of two flat colours, told apart: (contrast, saturation)."""
    grey = (np.array([0.299, 0.587, 0.114]) * got).sum(axis=-1)
    was = (np.array([0.299, 0.587, 0.114]) * images).sum(axis=-1)
    spread = np.ptp(grey, axis=(1, 2)) / grey.mean(axis=(1, 2))
    colour = (got - grey[..., None]).std(axis=(1, 2, 3)) / grey.mean(axis=(1, 2))
    before = np.ptp(was, axis=(1, 2)) / was.mean(axis=(1, 2))
    coloured = (images - was[..., None]).std(axis=(1, 2, 3)) / was.mean(axis=(1, 2))
    return spread / before, colour / coloured


def test_colour_jitter_changes_contrast_and_saturation_each_by_itself():
    images = np.full((16, 4, 4, 3), 0.4, np.float32)
    images[:, :2] = [0.5, 0.42, 0.36]
    images[:, 2:] = [0.36, 0.4, 0.44]
    got = np.asarray(ops.colour_jitter(KEY, jnp.asarray(images), jnp.arange(16), strength=0.3))
    contrast, saturation = _factors(images, got)
    # Relative to the image's own brightness, so that brightness alone would leave 1 and 1.
    assert contrast.std() > 0.05
    assert (saturation / contrast).std() > 0.05
