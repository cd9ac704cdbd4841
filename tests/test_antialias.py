"""BlurPool in every backbone; and circular networks do not mind circular shifts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpool_jax import models, ops
from gpool_jax.errors import InputError

KEY = jax.random.key(0)


def build(name, **options):
    return models.create(name, num_outputs=7, width=1 / 16, **options)


def run(model, images, variables=None):
    """Latents and logits in training mode: statistics of the batch keep every layer alive.

    Compiled without optimisation, for compiling is all that this costs.
    """
    variables = variables or drawn(model, images.shape[1])
    program = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"])[0])
    compiled = program.lower(variables, images).compile(
        compiler_options={"xla_backend_optimization_level": 0}
    )
    return compiled(variables, images)


def drawn(model, side, channels=3):
    """Random parameters, of unit gain."""
    shapes = jax.eval_shape(model.init, KEY, jnp.zeros((1, side, side, channels)))
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        noise = rng.normal(size=leaf.shape).astype(np.float32)
        if path[-1].key == "kernel":
            return noise / np.sqrt(leaf.size / leaf.shape[-1])
        return np.float32(path[-1].key in ("scale", "var")) + np.float32(0.1) * noise

    return jax.tree_util.tree_map_with_path(draw, shapes)


# Every backbone; ResNet-18's stems stand for those of the deeper ones, which share the code.
CIRCULAR = [(name, None) for name in models.MODELS] + [
    ("resnet18", "conv7_pool"),
    ("resnet18", "conv3"),
    ("resnet50", "conv7_pool"),
]


# And with BlurPool, one of each kind of block, stem and pool.
BLURRED = [
    ("resnet18", "conv7"),
    ("resnet50", "conv7_pool"),
    ("cifar_resnet20", None),
    ("vgg5", None),
]
CASES = [(name, stem, 0) for name, stem in CIRCULAR]
CASES += [(name, stem, taps) for name, stem in BLURRED for taps in (3, 5)]
QUICK = [case for case in CASES if case[0] in ("vgg5", "cifar_resnet20")]
SLOW = [pytest.param(*case, marks=pytest.mark.slow) for case in CASES if case not in QUICK]


@pytest.mark.parametrize(("name", "stem", "antialias"), QUICK + SLOW)
def test_circular_networks_do_not_mind_shifts_by_their_stride(name, stem, antialias):
    head = "gapnet" if name == "resnet18" else "linear"
    model = build(name, head=head, stem=stem, padding="circular", antialias=antialias)
    stride = model.backbone.total_stride
    side = 2 * stride
    image, unlike = np.random.default_rng(1).normal(size=(2, 1, side, side, 3)).astype(np.float32)
    offsets = np.array([[0, 0], [stride, 0], [0, -stride], [stride, 3 * stride]], np.int32)
    copies = ops.shift(np.repeat(image, len(offsets), axis=0), offsets, mode="circular")
    by_one = ops.shift(image, np.array([[1, 1]]), mode="circular")
    logits, features = run(model, np.concatenate([copies, by_one, unlike]))
    latent, count = np.asarray(features["gap"]), len(offsets)
    np.testing.assert_allclose(latent[:count], np.repeat(latent[:1], count, 0), atol=1e-5)
    assert len(set(np.asarray(logits)[:count].argmax(-1))) == 1
    # The latent could have changed: it does by one pixel, and for another image.
    assert np.abs(latent[count] - latent[0]).max() > 1e-4
    assert np.abs(latent[count + 1] - latent[0]).max() > 1e-2


@pytest.mark.parametrize("padding", ops.PADDING_MODES)
@pytest.mark.parametrize(
    ("name", "stem"),
    [("resnet18", "conv7_pool"), ("resnet50", None), ("cifar_resnet20", None), ("vgg11", None)],
)
def test_antialiasing_keeps_every_shape_and_every_parameter(name, stem, padding):
    x = jnp.zeros((1, 64, 64, 3))
    plain, blurred = (
        jax.eval_shape(
            build(name, head="linear", stem=stem, padding=padding, antialias=a).init_with_output,
            KEY,
            x,
        )
        for a in (0, 3)
    )
    assert jax.tree.map(jnp.shape, plain[1]) == jax.tree.map(jnp.shape, blurred[1])
    if padding != "resize":  # whose 7x7 convolution shrinks the map by one more pixel
        assert jax.tree.map(jnp.shape, plain[0]) == jax.tree.map(jnp.shape, blurred[0])


@pytest.mark.parametrize("taps", [3, 5])
def test_blur_stands_where_the_stride_was(taps):
    """A strided ResNet block by hand: stride 1, activation, blur; the shortcut blurred first."""
    model = build("cifar_resnet20", head="linear", antialias=taps)
    variables = drawn(model, 16)
    variables["batch_stats"] = jax.tree.map(np.abs, variables["batch_stats"])
    x = np.random.default_rng(2).normal(size=(2, 16, 16, 3)).astype(np.float32)
    _, features = jax.jit(model.apply)(variables, x)
    params, stats = (variables[k]["backbone"] for k in ("params", "batch_stats"))

    def block(name, y, stride):
        def layer(conv, norm, z):
            z = ops.conv2d(z, params[name][conv]["kernel"])
            p, s = params[name][norm]["norm"], stats[name][norm]["norm"]
            scale = p["scale"] / np.sqrt(s["var"] + 1e-5)
            shape = (1, 1, 1, -1)
            return (z - s["mean"].reshape(shape)) * scale.reshape(shape) + p["bias"].reshape(shape)

        def blur(z):
            return ops.blur_pool2d(z, taps=taps, stride=2) if stride == 2 else z

        inner = blur(jax.nn.relu(layer("conv1", "bn1", y)))
        inner = layer("conv2", "bn2", inner)
        short = blur(y)
        missing = inner.shape[-1] - short.shape[-1]
        pad = ((0, 0),) * 3 + ((missing // 2, missing - missing // 2),)
        return jax.nn.relu(inner + jnp.pad(short, pad))

    y = features["stage1"]
    for i, stride in enumerate((2, 1, 1)):
        y = block(f"stage2_block{i}", y, stride)
    np.testing.assert_allclose(features["stage2"], y, rtol=1e-4, atol=1e-4)


def test_other_taps_are_refused():
    with pytest.raises(InputError, match="`model.antialias` must be one of 0, 2, 3, 4, 5; got 6"):
        build("vgg5", head="linear", antialias=6)
