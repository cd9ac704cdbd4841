"""Stimuli of an audit, against loops."""

import jax.numpy as jnp
import numpy as np
import pytest

from gpool_jax import ops

IMAGES = np.random.default_rng(0).normal(size=(3, 4, 5, 2)).astype(np.float32)


@pytest.mark.parametrize("background", ["mean", "noise", "blur", "image"])
def test_an_image_is_pasted_into_every_cell_of_one_background(background):
    found = np.asarray(
        ops.canvases(
            jnp.asarray(IMAGES), n=2, size=(9, 11), background=background, others=IMAGES[::-1]
        )
    )
    assert found.shape == (3, 4, 9, 11, 2)
    for cell in range(4):
        top, left = cell // 2 * 4, cell % 2 * 5
        np.testing.assert_array_equal(found[:, cell, top : top + 4, left : left + 5], IMAGES)
    # What lies outside a cell is the same, whatever cell the image is in.
    np.testing.assert_array_equal(found[:, 0, 8:], found[:, 3, 8:])
    np.testing.assert_array_equal(found[:, 1, 4:8, :5], found[:, 3, 4:8, :5])
    outside = found[:, 3, :4]
    assert (outside == 0).all() == (background == "mean")


def test_noise_has_the_colours_of_its_image():
    bright = IMAGES + np.array([3.0, -2.0], np.float32)
    canvas = ops.canvases(jnp.asarray(bright), n=2, size=(90, 90), background="noise")
    around = np.asarray(canvas)[:, 0, 8:]
    np.testing.assert_allclose(around.mean((1, 2)), bright.mean((1, 2)), atol=0.1)
    np.testing.assert_allclose(around.std((1, 2)), bright.std((1, 2)), atol=0.1)


def test_what_does_not_fit_or_is_unknown_is_refused():
    with pytest.raises(ValueError, match="do not fit 3 times"):
        ops.canvases(jnp.asarray(IMAGES), n=3, size=(11, 20))
    for options in ({"background": "sky"}, {"background": "image"}):
        with pytest.raises(ValueError, match="`background` must be one of"):
            ops.canvases(jnp.asarray(IMAGES), n=2, size=(9, 11), **options)
    with pytest.raises(ValueError, match="`protocol` must be one of"):
        ops.shifted_views(jnp.asarray(IMAGES), jnp.zeros((1, 2), int), protocol="wrap")


def test_views_move_content_down_and_right():
    offsets = np.array([[0, 0], [1, -1], [-1, 2]])
    images = np.random.default_rng(1).normal(size=(2, 9, 10, 1)).astype(np.float32)
    views = {
        protocol: np.asarray(
            ops.shifted_views(
                jnp.asarray(images),
                jnp.asarray(offsets),
                protocol=protocol,
                margin=2 if protocol == "crop" else 0,
            )
        )
        for protocol in ("crop", "zeros", "circular")
    }
    for v, (dy, dx) in enumerate(offsets):
        inside = images[:, 2 - dy : 7 - dy, 2 - dx : 8 - dx]
        np.testing.assert_array_equal(views["crop"][:, v], inside)
        rolled = np.roll(images, (dy, dx), (1, 2))
        np.testing.assert_array_equal(views["circular"][:, v], rolled)
        kept = np.roll(np.ones_like(images), (0, 0), (1, 2))
        rows, columns = np.arange(9)[:, None] - dy, np.arange(10)[None] - dx
        there = (rows >= 0) & (rows < 9) & (columns >= 0) & (columns < 10)
        np.testing.assert_array_equal(views["zeros"][:, v], rolled * kept * there[None, ..., None])
