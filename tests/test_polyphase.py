"""Adaptive polyphase sampling: the strongest grid, and networks that do not mind any shift."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpool_jax import models, ops
from gpool_jax.errors import InputError
from gpool_jax.experiments.invariance import training as invariance
from tests.helpers import slow_but_first, tiny_invariance

KEY = jax.random.key(3)


@pytest.mark.parametrize("stride", [2, 3])
def test_the_strongest_phase_is_that_of_a_loop(stride):
    x = np.random.default_rng(0).normal(size=(4, 2 * stride, 3 * stride, 5)).astype(np.float32)
    with jax.numpy_dtype_promotion("strict"):
        found = np.asarray(jax.jit(ops.strongest_phase, static_argnums=1)(x, stride))
        taken = np.asarray(ops.take_phase(x, found, stride))
    for image in range(4):
        norms = [
            (x[image, i::stride, j::stride].astype(np.float64) ** 2).sum()
            for i in range(stride)
            for j in range(stride)
        ]
        assert found[image] == np.argmax(norms)
        row, column = divmod(int(found[image]), stride)
        np.testing.assert_array_equal(taken[image], x[image, row::stride, column::stride])
    assert len(set(found)) > 1
    with pytest.raises(ValueError, match=f"multiples of {stride}; got"):
        ops.strongest_phase(x[:, 1:], stride)


CASES = [
    ("vgg5", None, 0),
    ("cifar_resnet20", None, 0),
    ("resnet18", "conv7", 0),
    ("resnet18", "conv7_pool", 3),
    ("resnet50", "conv3", 0),
    ("vgg11", None, 3),
]


@pytest.mark.parametrize(("name", "stem", "antialias"), slow_but_first(CASES, quick=2))
def test_circular_networks_do_not_mind_a_shift_by_any_pixels(name, stem, antialias):
    options = {"num_outputs": 5, "head": "linear", "padding": "circular", "width": 1 / 8}
    model = models.create(name, stem=stem, antialias=antialias, subsampling="aps", **options)
    side = 2 * model.backbone.total_stride
    image = np.random.default_rng(1).normal(size=(1, side, side, 3)).astype(np.float32)
    offsets = np.array([[0, 0], [1, 0], [0, -1], [3, 2], [side // 2 + 1, 5]], np.int32)
    copies = ops.shift(np.repeat(image, len(offsets), axis=0), offsets, mode="circular")

    def latents(network):
        variables = jax.jit(network.init)(KEY, image)
        return np.asarray(jax.jit(network.apply)(variables, copies)[1]["gap"])

    found = latents(model)
    np.testing.assert_allclose(found, np.repeat(found[:1], len(offsets), 0), atol=1e-5)
    # Otherwise they do mind it.
    strided = latents(models.create(name, stem=stem, **options))
    assert np.abs(strided - strided[:1]).max() > max(1e-4, 20 * np.abs(found - found[:1]).max())


def test_parameters_are_those_of_the_strided_network():
    shapes = [
        jax.eval_shape(
            models.create("resnet18", num_outputs=5, head="gapnet", subsampling=how).init,
            KEY,
            jnp.zeros((1, 32, 32, 3)),
        )
        for how in ("strided", "aps")
    ]
    assert jax.tree.map(jnp.shape, shapes[0]) == jax.tree.map(jnp.shape, shapes[1])
    model = models.create("resnet18", num_outputs=5, head="gapnet", subsampling="aps")
    assert not model.shares_background


def test_what_cannot_be_sampled_so_is_refused():
    options = {"num_outputs": 5, "head": "linear", "subsampling": "aps"}
    with pytest.raises(InputError, match="aps needs maps of even sides"):
        models.create("vgg5", padding="resize", **options)
    with pytest.raises(InputError, match="`model.subsampling` must be one of strided, aps"):
        models.create("vgg5", **options | {"subsampling": "adaptive"})
    model = models.create("vgg5", **options)
    models.check_input_side(model, 32, "the image")
    with pytest.raises(InputError, match="must be a multiple of 8 pixels for `model.subsampling`"):
        models.check_input_side(model, 28, "the image")
    sampled = {"name": "vgg5", "head": "linear", "width": 1 / 16, "subsampling": "aps"}
    with pytest.raises(InputError, match="crop of `consistency.crop` is 12 pixels wide"):
        invariance.prepare(
            tiny_invariance(model=sampled, consistency={"protocols": ("crop",), "crop": 12})
        )
    with pytest.raises(InputError, match="`model.antialias_layout` must be everywhere with"):
        models.create("resnet18", antialias=3, antialias_layout="timm", **options)
