"""Encoders of a user's own: trained on canvases with every head, measured, ranked, audited."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import gpool_jax as gp
from gpool_jax import models
from gpool_jax.cli import main as cli
from gpool_jax.config import plain
from gpool_jax.errors import InputError
from gpool_jax.experiments.position import training as position
from gpool_jax.models import own
from tests.helpers import TINY_COMPARISON, tiny

MODULE = """
from pathlib import Path
from flax import linen as nn

Path("imported").touch()

class Net(nn.Module):
    features: int
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, train=False):
        early = nn.relu(nn.Conv(8, (3, 3), strides=2)(x))
        x = nn.Conv(self.features, (3, 3), strides=2)(early)
        x = nn.BatchNorm(use_running_average=not train, axis_name=self.axis_name)(x)
        return {"pre_gap": nn.relu(x), "early": early}

class Inside(nn.Module):
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, train=False):
        return Net(8, self.axis_name)(x, train)["pre_gap"]

def nested(axis_name=None):
    return Inside(axis_name)

def identity():
    return nn.Sequential([lambda x: x])

def sequential():
    # A list: such a module has no hash.
    return nn.Sequential([nn.Conv(8, (3, 3), strides=2), lambda x: nn.relu(x)])

def make(width=1.0, axis_name=None):
    return Net(round(16 * width), axis_name)

def no_width():
    return nn.Conv(4, (3, 3))

def no_module():
    return 3

def fails():
    return 1 / 0

def shrinks():
    return nn.Conv(4, (70, 70), padding="VALID")

def unnamed():
    class Unnamed(nn.Module):
        @nn.compact
        def __call__(self, x):
            return {"a": nn.Conv(4, (3, 3))(x), "b": nn.Conv(5, (3, 3))(x)}
    return Unnamed()

def no_map():
    return nn.Sequential([nn.Conv(4, (3, 3)), lambda x: x.mean((1, 2))])

def drops_out():
    class Dropping(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            return nn.Dropout(0.5, deterministic=not train)(nn.Conv(4, (3, 3))(x))
    return Dropping()

def remembers():
    class Remembering(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.variable("cache", "seen", lambda: x.sum())
            return nn.Conv(4, (3, 3))(x)
    return Remembering()

def normalises():
    class Normalising(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            return nn.BatchNorm(use_running_average=not train)(nn.Conv(4, (3, 3))(x))
    return Normalising()
"""

CONFIG = """
from tests.helpers import tiny
config = tiny(model={{"name": "python:own_module:make", "head": "{head}", "width": 0.5}})
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The current folder, which holds a user's module."""
    (tmp_path / "own_module.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "own_module", raising=False)
    return tmp_path


def create(name, **options):
    return models.create(name, num_outputs=9, **({"head": "linear"} | options))


@pytest.mark.slow
@pytest.mark.parametrize("head", ["gapnet", "permutenet"])
def test_it_is_trained_and_measured_with_every_head(head, home, capsys):
    (home / "config.py").write_text(CONFIG.format(head=head))
    assert cli.main(["train", "config.py", "--workdir", "run"]) == 0
    result = json.loads((home / "run/results.json").read_text())
    assert result["config"]["model"]["name"] == "python:own_module:make"
    assert {p["stage"] for p in result["probes"]} == {"gap"}
    words = ["evaluate", "run", "--trust-code", "--probe.stages", "all", "--quiet"]
    assert cli.main(words) == 0
    again = json.loads((home / "run/evaluation/results.json").read_text())
    assert again["rows"] == result["rows"]
    assert {p["stage"] for p in again["probes"]} == {"stage_early", "gap"}
    for command in ("rank", "attack", "audit") if head == "gapnet" else ():
        small = ["--num-images", "12", "--twins", "0"] if command == "audit" else []
        small += ["--export-latents", "latents.npz"] if command == "audit" else []
        small += ["--attack.num-images", "8"] if command == "attack" else []
        words = [command, "run", "--workdir", command, "--trust-code", "--quiet", *small]
        assert cli.main(words) == 0, capsys.readouterr().err
    assert (home / "latents.npz").exists() == (head == "gapnet")
    net = gp.from_run("run", trust_code=True)
    assert set(net.encode(np.zeros((2, 24, 24, 1), np.float32))) == {"stage_early", "pre_gap"}


def test_it_is_trained_by_name(home):
    (home / "config.py").write_text(CONFIG.format(head="linear"))
    words = ["train", "config.py", "--workdir", "run", "--probe.no-enabled", "--quiet"]
    assert cli.main(words) == 0
    result = json.loads((home / "run/results.json").read_text())
    assert result["config"]["model"]["name"] == "python:own_module:make"
    net = gp.from_run("run", trust_code=True)
    assert set(net.encode(np.zeros((2, 24, 24, 1), np.float32))) == {"stage_early", "pre_gap"}


@pytest.mark.parametrize("head", ["permutenet", "comparison", "networks"])
def test_code_of_a_folder_that_may_be_anybodys_is_not_run(head, home, capsys):
    config = tiny(model={"name": "python:own_module:make", "head": "permutenet"})
    if head == "comparison":
        config = dataclasses.replace(TINY_COMPARISON, model=config.model)
    if head == "networks":
        config = dataclasses.replace(TINY_COMPARISON, networks=("vgg5", config.model.name))
    (home / "run").mkdir()
    (home / "run/config.json").write_text(json.dumps(plain.to_dict(config)))
    for command in ("evaluate", "rank", "attack", "audit"):
        assert cli.main([command, "run", "--workdir", command]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        if command != "audit" or head == "permutenet":  # of a comparison there is none
            assert "`run`: the network of run is python:own_module:make" in error
    with pytest.raises(InputError):
        gp.from_run("run")
    assert not (home / "imported").exists()


@pytest.mark.slow
def test_a_module_without_a_hash_is_trained_and_shares_its_programs(home):
    model = create("python:own_module:sequential")
    assert model == create("python:own_module:sequential")
    assert hash(model) == hash(create("python:own_module:sequential"))
    assert model != create("python:own_module:make")
    (home / "config.py").write_text(CONFIG.format(head="linear").replace("make", "sequential"))
    text = (home / "config.py").read_text().replace('"width": 0.5', '"width": 1.0')
    (home / "config.py").write_text(text)
    assert cli.main(["train", "config.py", "--workdir", "run", "--quiet"]) == 0


@pytest.mark.parametrize("name", ["make", "nested"])
def test_the_axis_of_the_devices_reaches_the_module(name, home):
    def axis(module):
        return module.axis_name

    with_axis = create(f"python:own_module:{name}", axis_name="data")
    without = create(f"python:own_module:{name}")
    assert (axis(with_axis.backbone.module), axis(without.backbone.module)) == ("data", None)


def test_its_channels_and_stride_are_those_of_its_map(home):
    model = create("python:own_module:make", width=0.5)
    assert model.num_permutable == 8
    assert (model.backbone.total_stride, model.backbone.takes_train) == (4, True)
    variables = model.init(jax.random.key(0), jnp.zeros((2, 24, 24, 1)))
    logits, features = model.apply(variables, jnp.ones((2, 24, 24, 1)))
    np.testing.assert_allclose(features["gap"], features["pre_gap"].mean((1, 2)), rtol=1e-6)
    # A permutation reaches the head, and nothing else.
    order = jnp.array([1, 0, *range(2, 8)])
    permuted, _ = model.apply(variables, jnp.ones((2, 24, 24, 1)), permutation=order)
    kernel = variables["params"]["head"]["classifier"]["kernel"]
    np.testing.assert_allclose(
        permuted - logits,
        (features["gap"][:, order] - features["gap"]) @ kernel,
        atol=1e-5,
    )
    resumed, _ = model.apply(variables, features, start="pre_gap", method=models.Classifier.resume)
    np.testing.assert_allclose(resumed, logits, rtol=1e-6)


def test_a_registered_one_is_known_by_its_name(monkeypatch):
    monkeypatch.setattr(own, "REGISTERED", {})
    with pytest.raises(InputError, match=r"`model.name` must be one of .*; got 'pointwise'"):
        create("pointwise")
    builder = lambda: nn.Conv(4, (1, 1))  # noqa: E731
    models.register("pointwise", builder)
    models.register("pointwise", builder)
    assert create("pointwise").num_permutable == 4
    for name in ("pointwise", "resnet18", "deeplabv3_resnet50", "python:a:b"):
        with pytest.raises(InputError, match=f"`name`: {name} is the name of another network"):
            models.register(name, lambda: nn.Conv(5, (1, 1)))
    with pytest.raises(InputError, match="`builder` must be a function; got a int"):
        models.register("three", 3)
    assert tiny(model={"name": "pointwise"}).model.name == "pointwise"


BAD = {
    "python:own_module:nothing": "has no function 'nothing'",
    "python:no_such_module:make": "No module named 'no_such_module'",
    "python:own_module": "must be python:MODULE:FUNCTION",
    "python:own_module:no_module": "must return a flax.linen.Module; got 3",
    "python:own_module:fails": "fails: ZeroDivisionError",
    "python:own_module:no_map": r"must return maps \[B, h, w, C\]; of .* pre_gap is \[2, 4\]",
    "python:own_module:drops_out": "fails on",
    "python:own_module:shrinks": r"of inputs \[2, 64, 64, 3\] pre_gap is \[2, 0, 0, 4\]",
    "python:own_module:unnamed": "among maps a, b there must be 'pre_gap'",
    "python:own_module:remembers": "has variables cache",
    "python:own_module:normalises": "has batch statistics and no argument `axis_name`",
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_is_one_line(name, home):
    with pytest.raises(InputError, match=BAD[name]) as found:
        create(name, axis_name="data")
    assert "`model.name`" in str(found.value)
    assert "\n" not in str(found.value)


def test_channels_must_not_depend_on_the_images(home):
    config = tiny(model={"name": "python:own_module:identity", "width": 1.0, "head": "linear"})
    with pytest.raises(InputError, match=r"gives 3 channels of images in 3 colours, and 1 of"):
        position.prepare(config)


def test_options_that_it_does_not_take_are_refused(home):
    refused = {"width": 0.5, "padding": "circular", "antialias": 3, "dtype": "bfloat16"}
    for key, value in refused.items():
        with pytest.raises(InputError, match=f"`model.{key}` is no argument of .*no_width; got"):
            create("python:own_module:no_width", **{key: value})
    with pytest.raises(InputError, match="`model.stem`.*no options"):
        create("python:own_module:make", stem="conv7")
    assert create("python:own_module:no_width").num_permutable == 4
    # On one device, or to be measured, statistics need no axis.
    assert create("python:own_module:normalises").num_permutable == 4
