"""BlurPool in every backbone; and circular networks do not mind circular shifts."""

import math

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


SHAPES = [
    ("resnet18", "conv7_pool", "resize"),
    ("cifar_resnet20", None, "zeros"),
    ("vgg11", None, "circular"),
]
SHAPES += [
    pytest.param(name, stem, padding, marks=pytest.mark.slow)
    for padding in ops.PADDING_MODES
    for name, stem in (
        ("resnet18", "conv7_pool"),
        ("resnet50", None),
        ("cifar_resnet20", None),
        ("vgg11", None),
    )
    if (name, stem, padding) not in SHAPES
]


@pytest.mark.parametrize(("name", "stem", "padding"), SHAPES)
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


# The published networks, in PyTorch, from their descriptions: timm's `resnetblur` (version 1.0.31)
# and Zhang's `antialiased-cnns` (0.3)


def published(kind, taps, bottleneck, size=7):
    """Two stages of one block each; `kind` is "plain", "timm" or "zhang"."""
    import torch
    from torch import nn
    from torch.nn import functional

    def blur():
        row = torch.tensor([math.comb(taps - 1, i) for i in range(taps)], dtype=torch.float32)
        before, after = (taps - 1) // 2, taps // 2

        class Blur(nn.Module):
            def __init__(self):
                super().__init__()
                kernel = (row[:, None] * row / row.sum() ** 2)[None, None]
                # Those of timm are not in its files, those of Zhang are.
                self.register_buffer("filt", kernel, persistent=kind == "zhang")

            def forward(self, x):
                x = functional.pad(x, (before, after, before, after), mode="reflect")
                kernel = self.filt.expand(x.shape[1], 1, taps, taps)
                return functional.conv2d(x, kernel, stride=2, groups=x.shape[1])

        return Blur()

    def conv(inputs, outputs, size, stride=1):
        return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)

    class Block(nn.Module):
        def __init__(self, inputs, features, stride):
            super().__init__()
            self.count = 3 if bottleneck else 2
            outputs = 4 * features if bottleneck else features
            sides = (1, 3, 1) if bottleneck else (3, 3)
            strided = sides.index(3)
            blurred = stride == 2 and kind != "plain"
            widths = [inputs, *[features] * (self.count - 1), outputs]
            for i, side in enumerate(sides):
                step = stride if i == strided and not blurred else 1
                layer = conv(widths[i], widths[i + 1], side, step)
                if kind == "zhang" and blurred and i == strided + 1:
                    layer = nn.Sequential(blur(), layer)
                setattr(self, f"conv{i + 1}", layer)
                setattr(self, f"bn{i + 1}", nn.BatchNorm2d(widths[i + 1]))
            self.strided = strided
            self.aa = blur() if kind == "timm" and blurred else nn.Identity()
            self.downsample = nn.Identity()
            if stride == 2 or inputs != outputs:
                layers = [conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)]
                if kind == "zhang" and stride == 2:
                    layers = [blur(), conv(inputs, outputs, 1), layers[1]]
                self.downsample = nn.Sequential(*layers)

        def forward(self, x):
            y = x
            for i in range(self.count):
                y = getattr(self, f"bn{i + 1}")(getattr(self, f"conv{i + 1}")(y))
                y = functional.relu(y) if i + 1 < self.count else y
                y = self.aa(y) if i == self.strided else y
            return functional.relu(y + self.downsample(x))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = conv(3, 4, size, 2 if size == 7 else 1)
            self.bn1 = nn.BatchNorm2d(4)
            self.maxpool = {
                "plain": nn.MaxPool2d(3, 2, 1),
                "timm": nn.Sequential(nn.MaxPool2d(3, 1, 1), blur()),
                "zhang": nn.Sequential(nn.MaxPool2d(2, 1), blur()),
            }[kind]
            self.layer1 = nn.Sequential(Block(4, 4, 1))
            self.layer2 = nn.Sequential(Block(16 if bottleneck else 4, 8, 2))
            self.fc = nn.Linear(32 if bottleneck else 8, 7)

        def forward(self, x):
            x = self.maxpool(functional.relu(self.bn1(self.conv1(x))))
            return self.fc(self.layer2(self.layer1(x)).mean((2, 3)))

    return Net()


@pytest.mark.parametrize(
    ("kind", "taps", "bottleneck", "size"),
    [
        ("timm", 3, True, 7),
        ("timm", 3, False, 7),
        ("zhang", 4, True, 7),
        ("zhang", 3, False, 7),
        ("plain", 0, False, 3),
    ],
)
def test_published_networks_answer_as_in_pytorch(kind, taps, bottleneck, size):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    network = published(kind, taps, bottleneck, size)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        network(x)  # moves the running statistics off their defaults
        expected = network.eval()(x).numpy()
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    found = models.describe(weights)
    told = {"antialias": taps, "antialias_layout": kind} if kind == "zhang" else {}
    assert {name: found[name] for name in found if name.startswith("antialias")} == told

    def answer(**options):
        name = "resnet50" if bottleneck else "resnet18"
        model = models.create(name, num_outputs=7, head="linear", width=1 / 16, **options)
        sizes = {"stage_sizes": (1, 1), "stage_features": (4, 8)}
        model = model.clone(backbone=model.backbone.clone(**sizes))
        image = x.numpy().transpose(0, 2, 3, 1)
        variables = models.from_torch(weights, model, image.shape)
        return np.asarray(jax.jit(model.apply)(variables, image)[0])

    stem = "conv7_pool" if size == 7 else "conv3_pool"
    layout = {} if kind == "plain" else {"antialias": taps, "antialias_layout": kind}
    np.testing.assert_allclose(answer(stem=stem, **layout), expected, atol=1e-5)
    # The names fit other networks as well, whose answers differ.
    if not told:
        others = {"stem": stem, "antialias": 3} if layout else {"stem": "conv3"}
        assert np.abs(answer(**others) - expected).max() > 1e-2
