"""Networks that JAX runs: one contract through every door, bad input in one line."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

import gpool_jax as gp
from gpool_jax import models, networks
from gpool_jax.errors import InputError
from gpool_jax.experiments import targets
from gpool_jax.experiments.saved import Snapshot, Snapshots
from gpool_jax.networks import Preprocess
from tests.helpers import tiny, tiny_pixels, verdicts_of

SMALL = Preprocess(size=(8, 8))
INPUTS = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype(np.float32)


class Tiny(nn.Module):
    """Names that sort otherwise than they are computed."""

    @nn.compact
    def __call__(self, x, train):
        for name, width in (("z", 4), ("y", 5), ("a", 6)):
            x = nn.relu(nn.Conv(width, (3, 3), strides=2 if name == "y" else 1, name=name)(x))
        self.sow("intermediates", "last", x)
        return nn.Dense(7, name="head")(x.mean((1, 2)))


MODULE = Tiny()
VARIABLES = MODULE.init(jax.random.key(0), INPUTS, train=False)


def tiny_flax(**options):
    options = {"feature": "last", "call": {"train": False}, "preprocess": SMALL} | options
    return gp.from_flax(MODULE, VARIABLES, **options)


def refused(message, make, *args, **options):
    """Check that a call is refused in one line that says so."""
    with pytest.raises(InputError, match=message) as caught:
        make(*args, **options)
    assert "\n" not in str(caught.value)


def test_stages_of_a_flax_module_come_in_the_order_of_computing():
    network = tiny_flax(head="head")
    maps = network.encode(INPUTS)
    assert {name: value.shape for name, value in maps.items()} == {
        "z": (3, 8, 8, 4),
        "last": (3, 4, 4, 6),
    }
    logits = network.classify(network.pool(maps["last"]))
    np.testing.assert_allclose(logits, MODULE.apply(VARIABLES, INPUTS, train=False), atol=1e-5)
    named = tiny_flax(stages=["y", "z"])
    assert list(named.encode(INPUTS)) == ["y", "z", "last"]


def module_and_function():
    """A Flax module, and the function that it is."""

    def encode(variables, inputs):
        _, state = MODULE.apply(variables, inputs, train=False, mutable=["intermediates"])
        return {"last": state["intermediates"]["last"][0]}

    def classify(variables, latent):
        return latent @ variables["params"]["head"]["kernel"]

    by_function = gp.from_function(
        encode, params=VARIABLES, classify=classify, preprocess=SMALL, name="tiny"
    )
    return tiny_flax(head="head"), by_function


def test_flax_and_its_function_give_the_same_latents():
    by_module, by_function = module_and_function()
    for one, other in ((by_function, by_module), (by_module, by_function)):
        latents = [net.pool(net.encode(INPUTS)["last"]) for net in (one, other)]
        np.testing.assert_allclose(*latents, atol=1e-6)
    assert by_function.name == "tiny"
    assert by_module.name == "Tiny"
    assert by_function.untrained is None


@pytest.mark.slow
def test_an_audit_concludes_the_same_of_flax_and_its_function():
    one, other = verdicts_of(*module_and_function())
    assert one == other


def test_twins_differ_by_seed_and_not_from_themselves():
    network = tiny_flax()

    def latent(network):
        return np.asarray(network.pool(network.encode(INPUTS)["last"]))

    one, again, other = (latent(network.untrained(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-3
    assert np.abs(one - latent(network)).max() > 1e-3
    twin = network.untrained(1)
    assert twin.name == "Tiny, untrained (seed 1)"
    np.testing.assert_array_equal(latent(twin.untrained(2)), other)


def test_a_network_is_traced_once_whatever_its_weights():
    traces = []

    def encode(params, inputs):
        traces.append(None)
        return inputs * params

    network = gp.from_function(encode, params=jnp.ones(()), init=jnp.float32, preprocess=SMALL)
    before = len(traces)
    for net in (network, network.untrained(3), network.untrained(4)):
        net.encode(INPUTS)
    assert len(traces) - before == 1
    np.testing.assert_allclose(network.untrained(4).encode(INPUTS)["pre_gap"], 4 * INPUTS)


def test_encoding_is_part_of_jax_functions():
    network = gp.from_function(lambda x: x**2, preprocess=SMALL)
    assert network.traceable
    slope = jax.grad(lambda x: network.encode(x)["pre_gap"].sum())(jnp.asarray(INPUTS))
    np.testing.assert_allclose(slope, 2 * INPUTS, atol=1e-6)


class TinyNnx(nnx.Module):
    def __init__(self, rngs):
        self.stages = nnx.List([nnx.Conv(3, 4, (3, 3), rngs=rngs), nnx.Dropout(0.5, rngs=rngs)])
        self.head = nnx.Linear(4, 5, rngs=rngs)

    def __call__(self, x):
        for part in self.stages:
            x = part(x)
        return self.head(x.mean((1, 2)))


@pytest.mark.skipif(not hasattr(nnx, "capture"), reason="this Flax captures no NNX outputs")
def test_nnx_modules_are_read_by_the_path_of_a_submodule():
    module = TinyNnx(nnx.Rngs(0))
    module.eval()
    network = gp.from_nnx(
        module, feature="stages/1", stages=["stages/0"], head="head", make=TinyNnx, preprocess=SMALL
    )
    maps = network.encode(INPUTS)
    assert list(maps) == ["stages/0", "stages/1"]
    latent = network.pool(maps["stages/1"])
    np.testing.assert_allclose(network.classify(latent), module(INPUTS), atol=1e-5)
    same, other = (network.untrained(seed).encode(INPUTS)["stages/1"] for seed in (0, 1))
    np.testing.assert_array_equal(same, maps["stages/1"])
    assert np.abs(other - same).max() > 1e-3
    refused("`feature` must be among .*stages/0", gp.from_nnx, module, feature="stages/2")


def test_functions_that_jax_cannot_trace_are_called():
    def encode(inputs):
        assert isinstance(inputs, np.ndarray | jax.Array)
        return {"first": np.asarray(inputs), "tokens": np.reshape(inputs, (len(inputs), 64, 3))}

    network = gp.from_function(encode, jit=False, preprocess=SMALL)
    assert (network.feature, network.traceable) == ("tokens", False)
    latent = network.pool(network.encode(INPUTS)["tokens"])
    np.testing.assert_allclose(latent, INPUTS.mean((1, 2)), atol=1e-6)


def test_what_the_pooled_map_is_read_with_may_be_chosen():
    tokens = gp.from_function(
        lambda x: x.reshape(len(x), 64, 3), pool=lambda t: t[:, 0], preprocess=SMALL
    )
    np.testing.assert_array_equal(tokens.pool(tokens.encode(INPUTS)["pre_gap"]), INPUTS[:, 0, 0])


BAD_FUNCTIONS = {
    "no dict": (lambda x: [x, x], {}, "must give a dict of stage to map .* got a?.*list"),
    "an empty dict": (lambda x: {}, {}, "must give a dict of stage to map"),
    "vectors": (lambda x: {"a": x.mean((1, 2))}, {}, r"stage 'a' must be a map .* \[2, 3\]"),
    "another batch": (lambda x: {"a": x[:1]}, {}, r"B = 2 inputs; got an array \[1, 8, 8, 3\]"),
    "a name that is no text": (lambda x: {1: x}, {}, "stage 1 must be"),
    "no such feature": (lambda x: {"a": x}, {"feature": "b"}, "must be one of a; got 'b'"),
    "a function that fails": (lambda x: x @ jnp.ones((4, 4)), {}, "`network` fails on .*8, 8, 3"),
    "a pool that gives maps": (lambda x: x, {"pool": lambda m: m}, "`pool` must turn .* one vec"),
    "a head of another width": (
        lambda x: x,
        {"classify": lambda z: z @ jnp.ones((4, 2))},
        r"`classify` fails on \[2, 3\]: TypeError",
    ),
    "a head without classes": (lambda x: x, {"classify": lambda z: z[:, 0]}, "logits .B, K"),
    "fresh weights of none": (lambda x: x, {"init": lambda seed: 0}, "`init` gives fresh `params`"),
}


@pytest.mark.parametrize("kind", BAD_FUNCTIONS)
def test_bad_functions_are_refused_in_one_line(kind):
    function, options, message = BAD_FUNCTIONS[kind]
    refused(message, gp.from_function, function, preprocess=SMALL, **options)


@pytest.mark.parametrize("jit", [True, False])
def test_what_a_failing_function_says_is_kept(jit):
    def fails(inputs):
        raise KeyError("layer5\nand more")

    refused("`network` fails on .*KeyError", gp.from_function, fails, jit=jit, preprocess=SMALL)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (INPUTS.transpose(0, 3, 1, 2), r"\[B, H, W, 3\]; got \[3, 3, 8, 8\] \(channels come last"),
        (INPUTS[..., :1], r"\[B, H, W, 3\]; got \[3, 8, 8, 1\]\."),
        (INPUTS[0], r"got \[8, 8, 3\]"),
        (np.zeros((1, 8, 8, 3), np.uint8), "normalised floating-point numbers; got uint8"),
        (INPUTS * np.nan, "map 'pre_gap' has values that are not finite"),
    ],
)
def test_bad_inputs_and_outputs_are_refused_in_one_line(inputs, message):
    network = gp.from_function(lambda x: x + 1, jit=False, preprocess=SMALL)
    refused(message, network.encode, inputs)


def test_bad_features_and_heads_of_flax_are_refused_in_one_line():
    refused("`feature` must be among z, y, a, last; got 'lst'.*last", tiny_flax, feature="lst")
    refused("`stages` must be among z, y", tiny_flax, stages=["x"])
    refused("no parameters 'Dense_0'; .* z, y, a, head|a, head, y, z", tiny_flax, head="Dense_0")
    refused("`head`: a is no linear layer", tiny_flax, head="a")
    refused("`network` fails on .*missing 1 required .*'train'", tiny_flax, call={})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": (0, 8)}, "`size` must be"),
        ({"size": (8, 8, 3)}, "`size` must be"),
        ({"mean": (0.5,)}, "as many numbers as there are colour"),
        ({"mean": (), "std": ()}, "as many numbers as there are colour"),
        ({"std": (0.1, 0.0, 0.1)}, "`std` positive"),
        ({"mean": (0.1, float("nan"), 0.1)}, "`mean` must be finite"),
        ({"interpolation": "cubic"}, "must be one of nearest, bilinear, bicubic"),
    ],
)
def test_bad_preprocessing_is_refused_in_one_line(change, message):
    refused(message, dataclasses.replace, SMALL, **change)


# Our own networks


def save(path, arrays):
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, path)
    return path


def cifar_weights():
    """Arrays of a CIFAR ResNet of 20 layers, narrow, under published names."""
    model = models.create("cifar_resnet20", num_outputs=4, head="linear", width=1 / 8)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    rng = np.random.default_rng(0)
    arrays = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        _, *parts, name = (key.key for key in path)
        parts = [p for p in parts if p not in ("backbone", "norm")]
        parts = ["linear" if p == "classifier" else p for p in parts if p != "head"]
        parts = [re.sub(r"stage(\d)_block(\d)", r"layer\1.\2", p) for p in parts]
        new = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
        shape = leaf.shape if len(leaf.shape) == 1 else leaf.shape[::-1]
        value = rng.uniform(0.5, 1.5, shape) if len(shape) == 1 else rng.normal(0, 0.3, shape)
        arrays[".".join([*parts, new.get(name, name)])] = value.astype(np.float32)
    return arrays


def test_weights_are_a_network_with_or_without_a_head(tmp_path):
    arrays = cifar_weights()
    whole = gp.from_weights(save(tmp_path / "w.safetensors", arrays), "cifar_resnet20")
    assert whole.preprocess.size == (32, 32)
    assert "linear head with 4 outputs, width 0.125" in whole.notes[0]
    assert "Assumed" in whole.notes[1]
    inputs = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    maps = whole.encode(inputs)
    assert list(maps) == ["stem", "stage1", "stage2", "pre_gap"]
    assert whole.logits(whole.pool(maps["pre_gap"])).shape == (2, 4)
    bare = {name: value for name, value in arrays.items() if not name.startswith("linear")}
    bare = gp.from_weights(save(tmp_path / "b.safetensors", bare), "cifar_resnet20")
    assert bare.classify is None
    assert "no head" in bare.notes[0]
    np.testing.assert_array_equal(bare.encode(inputs)["pre_gap"], maps["pre_gap"])
    refused("no head of cifar_resnet20 reads the pooled", bare.logits, maps["pre_gap"])


def test_weights_that_do_not_fit_are_refused_in_one_line(tmp_path):
    path = save(tmp_path / "w.safetensors", cifar_weights())
    refused("do not fit this network; .* missing", gp.from_weights, path, "cifar_resnet32")
    refused("must be one of resnet18.*Did you mean 'resnet18'", gp.from_weights, path, "resnet8")
    small = Preprocess(size=(2, 2))
    refused(
        "2 pixels wide; .* needs at least 4",
        gp.from_weights,
        path,
        "cifar_resnet20",
        preprocess=small,
    )


def test_a_head_that_reads_the_map_gives_no_answers():
    model = models.create("vgg5", num_outputs=2, head="gapnet", width=1 / 16)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    network = networks.from_model(model, variables, preprocess=SMALL, name="gapnet")
    assert network.classify is None
    assert "reads the map, not the pooled vector" in network.notes[-1]


def test_a_run_is_a_network_with_the_inputs_of_its_training(tmp_path, monkeypatch):
    config = tiny(model={"head": "permutenet"})
    variables = {}

    def load(setup, folder, warn):
        inputs = jnp.zeros(setup.input_shape)
        shapes = jax.eval_shape(setup.model.init, jax.random.key(0), inputs)
        rng = np.random.default_rng(0)
        variables.update(jax.tree.map(lambda s: rng.uniform(0.1, 1, s.shape) ** 2, shapes))
        return setup, Snapshots([Snapshot("best", 3, variables)], ["Picked by accuracy."])

    monkeypatch.setattr(targets.workdir, "read_config", lambda folder: config)
    monkeypatch.setattr(targets.driver, "load", load)
    network = targets.open_network(str(tmp_path))
    setup = targets.registry.experiment(config).prepare(config)
    assert network.preprocess.shape(1) == setup.input_shape
    assert network.preprocess.mean == setup.dataset.mean
    assert network.notes[-1] == "Picked by accuracy."
    inputs = np.random.default_rng(0).normal(size=(2, *setup.input_shape[1:])).astype(np.float32)
    logits, features = jax.jit(setup.model.apply)(variables, inputs)
    latent = network.pool(network.encode(inputs)["pre_gap"])
    np.testing.assert_allclose(latent, features["gap"], rtol=1e-4)
    np.testing.assert_allclose(network.classify(latent), logits, rtol=1e-4)
    refused("`--layer` does not belong to", targets.open_network, str(tmp_path), layer="x")


def test_a_run_without_one_pooled_network_is_refused(tmp_path, monkeypatch):
    refused("is not the folder of a training run", gp.from_run, tmp_path)
    monkeypatch.setattr(targets.workdir, "read_config", lambda folder: tiny_pixels())
    refused("is of a SegmentationConfig", gp.from_run, tmp_path)


# From words


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A current folder with a user's module."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "networks_of_a_user.py").write_text(
        "import gpool_jax as gp\n"
        "def make(): return gp.from_function(lambda x: x, name='mine')\n"
        "def number(): return 3\n"
        "def fail(): raise OSError('no weights')\n"
        "constant = 3\n"
    )
    (tmp_path / "networks_broken.py").write_text("1 / 0\n")
    (tmp_path / "w.safetensors").write_bytes(b"")
    return tmp_path


def test_a_function_of_a_user_is_called(home):
    assert networks.open("python:networks_of_a_user:make").name == "mine"


@pytest.mark.parametrize(
    ("words", "options", "message"),
    [
        ("python:networks_of_a_user:mak", {}, "has no function 'mak'. Did you mean make"),
        (
            "python:networks_of_a_user:constant",
            {},
            "is no function, but a int",
        ),
        ("python:networks_of_a_user:number", {}, "must give a Network .* got a int"),
        ("python:networks_of_a_user:fail", {}, r"fail\(\) fails: OSError: no weights"),
        ("python:networks_of_a_user:make", {"layer": "x"}, "gives a Network, whose layer"),
        ("python:networks_of_a_user", {}, "must be python:MODULE:FUNCTION"),
        ("python:networks_of_nobody:make", {}, "No module named 'networks_of_nobody'"),
        ("python:networks_broken:make", {}, "importing networks_broken fails: ZeroDivisionError"),
        ("timm:", {}, "timm: names nothing; say timm:NAME"),
        ("onnx:x.onnx", {"checkpoint": "y"}, "`--checkpoint` does not belong to onnx:x.onnx"),
        ("timm:resnet18", {"model": "y"}, "`--model` does not belong to timm:resnet18"),
        ("w.safetensors", {}, "`--model` must name the network of w.safetensors"),
        ("w.safetensors", {"model": "resnet18"}, "w.safetensors is empty"),
        ("nothing", {}, "there is no nothing; give the folder of a run, a file of weights, timm:"),
        ("tim:resnet18", {}, "there is no tim:resnet18; give"),
    ],
)
def test_bad_words_are_refused_in_one_line(words, options, message, home):
    refused(message, networks.open, words, **options)
