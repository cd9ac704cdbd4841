"""The stimuli of an audit against loops: cells, backgrounds, circular canvases, shifted views."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpool_jax import ops
from tests import reference
from tests.test_ops import KEY, _normal, check_everywhere

pytestmark = pytest.mark.usefixtures("strict_types")
IMAGES, INDEX = _normal(1, 3, 4, 5, 2), np.array([7, 2, 9], np.int32)
SIZE = (15, 17)  # three cells a side, and 3 and 2 pixels left over
OTHERS = _normal(2, 3, *SIZE, 2)
NO_IMAGE = np.zeros((3, *SIZE, 2))


def canvases(images=IMAGES, index=INDEX, key=KEY, **options):
    return ops.canvases(key, images, index, **({"n": 3, "size": SIZE} | options))


def test_each_image_is_in_every_cell():
    expected = reference.canvases(IMAGES, NO_IMAGE, 3, SIZE)
    check_everywhere(canvases, (IMAGES,), expected, atol=0)
    assert canvases(IMAGES.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    # By default the canvas grows with its cells.
    grown = canvases(size=None)
    np.testing.assert_array_equal(grown, ops.place_everywhere(IMAGES, 3))


def test_blur_is_of_the_image_itself_stretched_over_the_canvas():
    behind = [reference.stretched_blur(image.astype(float), SIZE, 0.125) for image in IMAGES]
    expected = reference.canvases(IMAGES, behind, 3, SIZE)
    check_everywhere(lambda x: canvases(x, background="blur"), (IMAGES,), expected)
    # A plain image has no border at all.
    plain = np.full((1, 4, 5, 2), 0.7, np.float32)
    found = canvases(plain, INDEX[:1], background="blur")
    np.testing.assert_allclose(found, np.full_like(found, 0.7), atol=1e-5)


def test_another_image_is_the_background_of_all_cells():
    expected = reference.canvases(IMAGES, OTHERS, 3, SIZE)

    def fn(images, others):
        return canvases(images, background="image", others=others)

    check_everywhere(fn, (IMAGES, OTHERS), expected, atol=0)


def test_noise_has_the_images_own_statistics_and_belongs_to_its_index():
    size = (120, 120)
    images = IMAGES * np.array([1.0, 3.0], np.float32) + np.array([2.0, -1.0], np.float32)
    found = np.asarray(canvases(images, background="noise", size=size))
    # Below the cells, which are in the middle.
    behind = found[:, 0, 70:]
    axes = (1, 2)
    np.testing.assert_allclose(behind.mean(axes), images.mean(axes), atol=0.2)
    np.testing.assert_allclose(behind.std(axes), images.std(axes), rtol=0.05)
    # White: neighbours tell nothing of each other.
    z = (behind - behind.mean(axes, keepdims=True)) / behind.std(axes, keepdims=True)
    assert np.abs((z[:, 1:] * z[:, :-1]).mean(axes)).max() < 0.06
    # The same behind every cell and in every batch; another for another image or key.
    np.testing.assert_array_equal(found[:, :, 70:], np.repeat(behind[:, None], 9, 1))
    alone = canvases(images[1:2], INDEX[1:2], background="noise", size=size)
    np.testing.assert_allclose(alone[0], found[1], atol=1e-5)
    others = canvases(images, INDEX + 1, background="noise", size=size)[:, 0, 70:]
    assert np.abs(others - behind).mean() > 1.0
    others = canvases(images, key=jax.random.key(1), background="noise", size=size)[:, 0, 70:]
    assert np.abs(others - behind).mean() > 1.0
    inside = reference.canvases(np.ones_like(IMAGES), np.zeros((3, *size, 2)), 3, size) == 1
    expected = reference.canvases(images, np.zeros((3, *size, 2)), 3, size)
    np.testing.assert_array_equal(found[inside], expected.astype(np.float32)[inside])


@pytest.mark.parametrize("background", ops.BACKGROUNDS)
def test_circular_canvases_are_one_canvas_rolled(background):
    options = {"background": background, "others": OTHERS if background == "image" else None}
    placed, rolled = (np.asarray(canvases(circular=c, **options)) for c in (False, True))
    np.testing.assert_allclose(rolled[:, 0], placed[:, 0], atol=1e-6)
    for cell in range(9):
        step = (4 * (cell // 3), 5 * (cell % 3))
        np.testing.assert_array_equal(rolled[:, cell], np.roll(rolled[:, 0], step, (1, 2)))
    # Where nothing is behind it, an image that is placed is one that is rolled.
    assert (rolled == placed).all() == (background == "mean")


@pytest.mark.parametrize("background", ops.BACKGROUNDS)
def test_a_circular_network_cannot_tell_circular_cells(background):
    """Two circular convolutions, one of them strided: latents differ by rounding alone."""
    images, size = _normal(3, 2, 4, 4, 2), (14, 14)
    kernels = _normal(4, 3, 3, 2, 4), _normal(5, 3, 3, 4, 4)
    others = _normal(6, 2, *size, 2) if background == "image" else None

    def spread(padding, circular):
        found = canvases(
            images, INDEX[:2], size=size, background=background, others=others, circular=circular
        )
        x = found.reshape(-1, *size, 2)
        for kernel, stride in zip(kernels, (2, 1), strict=True):
            x = ops.relu(ops.conv2d(x, jnp.asarray(kernel), stride=stride, padding=padding))
        latent = np.asarray(ops.global_average_pool(x)).reshape(2, 9, -1)
        return np.ptp(latent, axis=1).max()

    assert spread("circular", True) < 1e-5
    assert spread("zeros", True) > 1e-2
    assert background == "mean" or spread("circular", False) > 1e-2


def test_canvas_sizes():
    assert ops.canvas_sizes((32, 48), 3) == ((10, 16), (32, 48))
    assert ops.canvas_sizes((32, 48), 3, grown=True) == ((32, 48), (96, 144))
    for n in (0, 33):
        with pytest.raises(ValueError, match=rf"`n` must be in \[1, 32\].*got {n}"):
            ops.canvas_sizes((32, 48), n)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"background": "grey"}, "`background` must be one of .*got 'grey'"),
        ({"background": "image"}, r"`others` must be .*\(3, 15, 17, 2\); got None"),
        ({"background": "image", "others": IMAGES}, r"`others` must be .*got \(3, 4, 5, 2\)"),
        ({"size": (15, 14)}, r"`size` must be at least \(12, 15\), 3 images a side"),
        ({"n": 4}, r"`size` must be at least \(16, 20\)"),
    ],
)
def test_canvases_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        canvases(**options)


OFFSETS = np.array([[0, 0], [1, -2], [-2, 2], [2, 0]], np.int32)


@pytest.mark.parametrize("protocol", ops.VIEW_PROTOCOLS)
@pytest.mark.parametrize("margin", [2, 3])
def test_shifted_views(protocol, margin):
    images = _normal(7, 2, 9, 12, 2)
    expected = reference.shifted_views(images, OFFSETS, protocol, margin)

    def fn(x, offsets):
        return ops.shifted_views(x, offsets, protocol=protocol, margin=margin)

    check_everywhere(fn, (images, OFFSETS), expected, atol=0)
    own = np.stack([OFFSETS, OFFSETS[::-1]])
    found = fn(images, own)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1, ::-1])


@pytest.mark.parametrize("protocol", ["zeros", "circular"])
def test_whole_images_are_shifted_without_a_margin(protocol):
    images = np.arange(24, dtype=np.uint8).reshape(1, 4, 6, 1)
    found = ops.shifted_views(images, OFFSETS, protocol=protocol)
    assert found.dtype == jnp.uint8
    np.testing.assert_array_equal(found, reference.shifted_views(images, OFFSETS, protocol, 0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "reflect"}, "`protocol` must be one of .*got 'reflect'"),
        ({"protocol": "crop", "margin": 1}, "`offsets` must be within `margin` = 1; got 2"),
        ({"protocol": "crop"}, "`offsets` must be within `margin` = 0; got 2"),
        ({"protocol": "zeros", "margin": 2}, r"`margin` must leave pixels of \(4, 5\); got 2"),
        ({"protocol": "zeros", "margin": -1}, "`margin` must leave pixels"),
    ],
)
def test_views_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ops.shifted_views(IMAGES, OFFSETS, **options)


def test_crops_may_be_of_any_shape():
    images, corners = _normal(8, 2, 6, 7, 1), np.array([[0, 3], [2, 1]], np.int32)
    expected = np.stack([images[0, 0:4, 3:5], images[1, 2:6, 1:3]])
    check_everywhere(lambda x, c: ops.crop(x, c, (4, 2)), (images, corners), expected, atol=0)
    with pytest.raises(ValueError, match=r"`side` must be at most \(6, 7\); got \(4, 8\)"):
        ops.crop(images, corners, (4, 8))
