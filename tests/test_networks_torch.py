"""Networks that PyTorch or onnxruntime runs: what is read off a pass, and equal doors."""

import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import gpool_jax as gp  # noqa: E402
from benchmarks.torch_networks import ResNet  # noqa: E402
from gpool_jax import networks  # noqa: E402
from gpool_jax.networks import Preprocess, heads, libraries  # noqa: E402
from tests.helpers import verdicts_of  # noqa: E402
from tests.test_networks import refused  # noqa: E402

SMALL = Preprocess(size=(16, 16))
INPUTS = np.random.default_rng(0).normal(size=(3, 16, 16, 3)).astype(np.float32)


class Squeeze(nn.Module):
    """Squeeze-and-excitation: it averages over space too, but a map follows."""

    def __init__(self, width):
        super().__init__()
        self.fc = nn.Conv2d(width, width, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.fc(F.adaptive_avg_pool2d(x, 1)))


class Net(nn.Module):
    """Three sizes, whose pooling and head are functions of what a test gives."""

    def __init__(self, pool=lambda x: x.mean((2, 3)), head=None, inplace=False):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1), Squeeze(6))
        self.last = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.head = nn.Linear(8, 5) if head is None else head
        self.pool, self.inplace = pool, inplace

    def forward(self, x):
        x = self.last(self.block(self.stem(x)))
        if self.inplace:
            x = F.relu(x, inplace=True)
        return self.head(self.pool(x))


def answers(module, inputs=INPUTS):
    with torch.no_grad():
        return module(torch.from_numpy(inputs).permute(0, 3, 1, 2)).numpy()


def net(seed=0, **options):
    torch.manual_seed(seed)
    module = Net(**options).eval()
    with torch.no_grad():
        module.stem[1].running_mean.normal_()
        module.stem[1].running_var.uniform_(0.5, 2.0)
    return module


class Avg(nn.Module):
    def forward(self, x):
        return F.avg_pool2d(x, x.shape[-1]).view(len(x), -1)


POOLS = {
    "mean": lambda x: x.mean((2, 3)),
    "mean by name": lambda x: torch.mean(input=x, dim=[-1, -2]),
    "adaptive": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "function": lambda x: F.adaptive_avg_pool2d(x, (1, 1)).flatten(1),
    "window": Avg(),
    "channels last": lambda x: x.permute(0, 2, 3, 1).mean((1, 2)),
    "tokens": lambda x: x.flatten(2).transpose(1, 2).mean(1),
    "tokens last": lambda x: F.adaptive_avg_pool1d(x.flatten(2), 1).squeeze(-1),
}


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("pool", POOLS)
def test_the_global_pooling_is_found_however_it_is_written(pool, inplace):
    module = net(pool=POOLS[pool], inplace=inplace)
    before = INPUTS.copy()
    network = gp.from_torch(module, preprocess=SMALL)
    maps = network.encode(INPUTS)
    shapes = {name: value.shape[1:] for name, value in maps.items()}
    feature = shapes.pop(network.feature)
    assert feature == ((16, 8) if "tokens" in pool else (4, 4, 8))
    assert shapes == {"stem": (16, 16, 4), "block": (8, 8, 6)} | (
        {"last": (4, 4, 8)} if "tokens" in pool else {}
    )
    logits = network.classify(network.pool(maps[network.feature]))
    np.testing.assert_allclose(logits, answers(module), atol=1e-5)
    np.testing.assert_array_equal(INPUTS, before)
    assert network.differentiable
    assert not network.traceable


def test_maps_outlive_the_next_pass_and_what_writes_into_them():
    network = gp.from_torch(net(inplace=True), preprocess=SMALL)
    first = network.encode(INPUTS)
    copies = {name: np.array(value) for name, value in first.items()}
    network.encode(INPUTS + 1)
    for name, value in first.items():
        np.testing.assert_array_equal(value, copies[name])
    assert copies[network.feature].min() == 0


def test_no_hook_and_no_mode_stays_on_a_module():
    module = net()
    network = gp.from_torch(module, preprocess=SMALL)
    network.encode(INPUTS)
    parts = list(module.modules())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in parts)


HEADS = {
    "linear": (nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 5)), "affine"),
    "batch norm": (nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 5)), "affine"),
    "layer norm": (nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 5)), "called"),
    "two layers": (nn.Sequential(nn.Linear(8, 9), nn.Hardswish(), nn.Linear(9, 5)), "called"),
    "none": (nn.Identity(), "none"),
}


@pytest.mark.parametrize("head", HEADS)
def test_heads_are_jax_functions(head):
    made, kind = HEADS[head]
    module = net(head=made)
    network = gp.from_torch(module, preprocess=SMALL)
    if kind == "none":
        # The pooled vector is what the network gives: there is nothing that reads it.
        latent = network.pool(network.encode(INPUTS)[network.feature])
        np.testing.assert_allclose(latent, answers(module), atol=1e-5)
        return
    latent = network.pool(network.encode(INPUTS)[network.feature])
    wanted = answers(module)
    np.testing.assert_allclose(network.classify(latent), wanted, atol=1e-5)
    np.testing.assert_allclose(jax.jit(network.classify)(latent), wanted, atol=1e-5)
    sets = jnp.stack([latent, 2 * latent])
    np.testing.assert_allclose(jax.vmap(network.classify)(sets)[0], wanted, atol=1e-5)
    slope = jax.grad(lambda z: jnp.sum(jnp.sin(network.classify(z))))(latent)
    given = torch.tensor(np.array(latent), requires_grad=True)
    torch.sin(made(given)).sum().backward()
    np.testing.assert_allclose(slope, given.grad, atol=1e-5)


def test_a_head_with_steps_that_are_no_modules_gives_no_answers_unless_it_is_given():
    layer = nn.Linear(8, 5)
    module = net(pool=lambda x: torch.sqrt(1 + x.mean((2, 3)) ** 2), head=layer)
    assert gp.from_torch(module, preprocess=SMALL).classify is None
    named = gp.from_torch(module, preprocess=SMALL, head="head")
    latent = named.pool(named.encode(INPUTS)[named.feature])
    np.testing.assert_allclose(
        named.classify(latent), layer(torch.tensor(np.array(latent))).detach(), atol=1e-5
    )
    own = gp.from_torch(module, preprocess=SMALL, head=lambda z: z @ jnp.ones((8, 2)))
    assert own.classify(latent).shape == (3, 2)


class Towers(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 5, 3)
        self.pool_a, self.pool_b = nn.AdaptiveAvgPool2d(1), nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        return self.pool_a(self.a(x)).flatten(1).sum(1) + self.pool_b(self.b(x)).flatten(1).sum(1)


def test_a_layer_may_be_named():
    module = Towers()
    for layer in ("b", "pool_b"):
        network = gp.from_torch(module, layer=layer, preprocess=SMALL)
        assert network.feature == layer
        assert network.encode(INPUTS)[layer].shape == (3, 14, 14, 5)
        assert network.classify is None
    inner = gp.from_torch(net(), layer="block.0", preprocess=SMALL)
    assert list(inner.encode(INPUTS)) == ["stem", "block.0"]
    assert inner.classify is None


def test_twins_are_copies_of_fresh_weights():
    module = net()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    network = gp.from_torch(module, preprocess=SMALL)
    state = torch.random.get_rng_state()

    def latent(network):
        return np.asarray(network.pool(network.encode(INPUTS)[network.feature]))

    one, again, other = (latent(network.untrained(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-3
    assert np.abs(one - latent(network)).max() > 1e-3
    assert network.untrained(1).name == "Net, untrained (seed 1)"
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_twin_says_what_it_keeps_and_may_be_made_anew():
    module = net()
    module.scale = nn.Parameter(torch.ones(3, 2))
    twin = gp.from_torch(module, preprocess=SMALL).untrained(0)
    assert "keeps 6 trained numbers, in 1 arrays" in twin.notes[-1]
    assert "(scale)" in twin.notes[-1]

    def make():
        return Net()

    made = gp.from_torch(net(), preprocess=SMALL, make=make).untrained(5)
    torch.manual_seed(5)
    wanted = answers(Net().eval())
    latent = made.pool(made.encode(INPUTS)[made.feature])
    np.testing.assert_allclose(made.classify(latent), wanted, atol=1e-5)


def test_half_precision_is_measured_in_float32():
    network = gp.from_torch(net().to(torch.bfloat16), preprocess=SMALL)
    maps = network.encode(INPUTS)
    assert all(value.dtype == np.float32 for value in maps.values())


class Raises(nn.Module):
    def forward(self, x):
        raise OSError("out of order\nand more")


BAD_MODULES = {
    "no module": (lambda: lambda x: x, {}, "must be a torch.nn.Module; got a function"),
    "no pooling": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()),
        {},
        "averages no map over space .* 16x16 pixels",
    ),
    "squeezing alone": (lambda: Squeeze(3), {}, "averages no map over space"),
    "several poolings": (Towers, {}, "pools 2 times, in pool_a, pool_b: name the module"),
    "no such layer": (net, {"layer": "lost"}, "has no module 'lost'. Did you mean last"),
    "a layer without a map": (net, {"layer": "head"}, "'head' neither gives nor takes a map"),
    "no such head": (net, {"head": "heat"}, "`head`: the network has no module 'heat'"),
    "a head of another width": (net, {"head": "block"}, "`head` does not take 8 channels"),
    "a JAX head of another width": (
        net,
        {"head": lambda z: z @ jnp.ones((4, 2))},
        "`classify` fails on",
    ),
    "one that raises": (Raises, {}, "fails on inputs .2, 3, 16, 16.: OSError: out of order$"),
    "another number of channels": (
        lambda: nn.Conv2d(1, 4, 3),
        {},
        r"fails on inputs \[2, 3, 16, 16\]: RuntimeError",
    ),
    "NaN": (
        lambda: net(pool=lambda x: (x * torch.nan).mean((2, 3))),
        {},
        "its answers are not finite",
    ),
}


@pytest.mark.parametrize("kind", BAD_MODULES)
def test_bad_modules_are_refused_in_one_line(kind):
    make, options, message = BAD_MODULES[kind]
    refused(message, gp.from_torch, make(), preprocess=SMALL, **options)


def test_pytorch_is_not_part_of_jax_functions():
    network = gp.from_torch(net(), preprocess=SMALL)
    refused("cannot be part of a JAX function", jax.jit(network.encode), jnp.asarray(INPUTS))


def test_a_module_of_a_user_is_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_users_module.py").write_text(
        "from torch import nn\n"
        "def make(): return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1))\n"
    )
    network = networks.open("python:a_users_module:make", layer="0", preprocess=SMALL)
    assert (network.name, network.feature) == ("make", "0")


# The same network through two doors


def weights_and_module(folder):
    """A ResNet-18 by the file of its weights, and by the module that saved it."""
    torch.manual_seed(0)
    module = ResNet((2, 2, 2, 2), (8, 16, 32, 64), "zeros", "torchvision", "fc", 7).eval()
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_(0, 0.2)
                part.running_var.uniform_(0.5, 2.0)
                part.weight.uniform_(0.5, 1.5)
    torch.save(module.state_dict(), folder / "w.pth")
    size = Preprocess(size=(64, 64))
    ours = gp.from_weights(folder / "w.pth", "resnet18", preprocess=size)
    return ours, gp.from_torch(module, preprocess=size)


def test_pytorch_and_our_own_network_of_the_same_weights_are_equal(tmp_path):
    ours, theirs = weights_and_module(tmp_path)
    inputs = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype(np.float32)
    found = [net.pool(net.encode(inputs)[net.feature]) for net in (ours, theirs)]
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-4)
    logits = [net.classify(latent) for net, latent in zip((ours, theirs), found, strict=True)]
    np.testing.assert_allclose(*logits, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_an_audit_concludes_the_same_of_weights_and_of_the_module(tmp_path):
    own, others = verdicts_of(*weights_and_module(tmp_path))
    assert own == others
    assert len(own) >= 4


# Networks by name


class Library:
    """timm, as far as `from_timm` calls it."""

    def __init__(self):
        self.data = self

    def list_models(self):
        return ["net", "strange"]

    def list_pretrained(self):
        return ["net.published"]

    def create_model(self, name, pretrained, **options):
        if options or pretrained or name == "strange":
            raise TypeError(f"unexpected {options}")
        return Net()

    def resolve_model_data_config(self, module):
        return {
            "input_size": (3, 16, 16),
            "mean": (0.5, 0.5, 0.5),
            "std": (0.2, 0.2, 0.2),
            "interpolation": "bicubic",
        }


@pytest.fixture
def timm(monkeypatch):
    monkeypatch.setattr(libraries, "_library", lambda name: Library())


@pytest.mark.parametrize("prefix", ["", "module.", "model.module.", "_orig_mod."])
def test_checkpoints_of_timm_are_read_wherever_scripts_put_them(prefix, timm, tmp_path):
    module = net(3)
    state = {f"{prefix}{name}": value for name, value in module.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "w.pth")
    network = networks.open("timm:net", checkpoint=tmp_path / "w.pth")
    assert network.preprocess == Preprocess((16, 16), (0.5,) * 3, (0.2,) * 3, "bicubic")
    assert "Weights of w.pth." in network.notes
    latent = network.pool(network.encode(INPUTS)[network.feature])
    np.testing.assert_allclose(network.classify(latent), answers(module), atol=1e-5)
    twin = network.untrained(0)
    assert np.abs(twin.pool(twin.encode(INPUTS)[twin.feature]) - latent).max() > 1e-3


def test_networks_of_timm_that_cannot_be_had_are_refused_in_one_line(timm, tmp_path):
    refused("weights of timm:net are not on this machine.*--checkpoint FILE", gp.from_timm, "net")
    refused("timm has no network 'nat'. Did you mean net", gp.from_timm, "nat")
    refused("timm:net: TypeError: unexpected", gp.from_timm, "net", num_classes=3)
    state = net().state_dict()
    state["last.bias"] = torch.zeros(9)
    state["stem.0.bias"] = torch.full((4,), torch.nan)
    del state["head.bias"]
    torch.save(state | {"more.weight": torch.zeros(1)}, tmp_path / "w.pth")
    message = (
        r"w.pth does not fit: 1 missing: head.bias; 1 unexpected: more.weight; "
        r"1 misshapen: last.bias \(9,\), not \(8,\); 1 not finite: stem.0.bias"
    )
    refused(message, gp.from_timm, "net", checkpoint=tmp_path / "w.pth")


def test_a_library_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    refused("torchvision cannot be imported .*halted", gp.from_torchvision, "resnet18")


# Heads and shapes


def test_the_gradient_of_a_head_without_one_is_not_promised():
    classify, differentiable = heads.to_jax(np.cos, 3)
    assert not differentiable
    np.testing.assert_allclose(classify(jnp.zeros((2, 3))), np.ones((2, 3)))
    refused("`head` must give logits", heads.to_jax, lambda z: z[0], 3)


# ONNX


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    """The export of `net()`, of any number of inputs."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("onnx")

    def export(name, module, **options):
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the older exporter, which needs no other package
            example = torch.zeros(1, 3, 16, 16)
            names = {"input_names": ["x"], "output_names": ["y"]}
            torch.onnx.export(module, example, folder / name, dynamo=False, **names, **options)
        return folder / name

    return export


@pytest.mark.parametrize("axes", [{"x": {0: "batch"}}, None])
def test_pytorch_and_its_export_are_equal(axes, onnx_file):
    module = net(head=nn.Sequential(nn.Linear(8, 9), nn.Hardswish(), nn.Linear(9, 5)))
    path = onnx_file("net.onnx", module, dynamic_axes=axes)
    theirs, ours = gp.from_onnx(path), gp.from_torch(module, preprocess=SMALL)
    assert theirs.preprocess == SMALL
    assert theirs.untrained is None
    assert not theirs.differentiable
    maps = theirs.encode(INPUTS)
    assert [value.shape for value in maps.values()] == [
        (3, 16, 16, 4),
        (3, 8, 8, 6),
        (3, 4, 4, 8),
    ]
    found = theirs.pool(maps[theirs.feature])
    wanted = ours.pool(ours.encode(INPUTS)[ours.feature])
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    np.testing.assert_allclose(theirs.classify(found), ours.classify(wanted), atol=1e-5)


@pytest.mark.slow
def test_an_audit_concludes_the_same_of_pytorch_and_of_its_export(onnx_file):
    module = net()
    path = onnx_file("audited.onnx", module, dynamic_axes={"x": {0: "batch"}})
    exported, original = verdicts_of(gp.from_onnx(path), gp.from_torch(module, preprocess=SMALL))
    assert exported == original


def test_nodes_of_onnx_may_be_named(onnx_file):
    path = onnx_file("net.onnx", net())
    network = gp.from_onnx(path)
    assert network.differentiable
    assert network.classify is not None
    same = networks.open(f"onnx:{path}", layer=network.feature)
    np.testing.assert_array_equal(
        same.encode(INPUTS)[same.feature], network.encode(INPUTS)[network.feature]
    )
    assert same.classify is not None
    stem = gp.from_onnx(path, node=next(iter(network.encode(INPUTS))))
    assert stem.encode(INPUTS)[stem.feature].shape == (3, 16, 16, 4)
    assert stem.classify is None


def test_bad_onnx_files_are_refused_in_one_line(onnx_file, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    refused("there is no file .*none.onnx", gp.from_onnx, tmp_path / "none.onnx")
    refused("bad.onnx is no readable ONNX file", gp.from_onnx, tmp_path / "bad.onnx")
    path = onnx_file("net.onnx", net())
    refused("the file has no 'pol'", gp.from_onnx, path, node="pol")
    refused("'y' gives no map, but", gp.from_onnx, path, node="y")
    flat = onnx_file("flat.onnx", nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten()))
    refused("averages no map over space; name a node", gp.from_onnx, flat)
    large = Preprocess(size=(32, 32))
    refused("fails on inputs", gp.from_onnx, path, preprocess=large)
