"""Encoders of a user's own: trained on canvases with every head, measured, ranked, audited."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import gpool_jax as gp
from gpool_jax import models
from gpool_jax.cli import main as cli
from gpool_jax.errors import InputError
from gpool_jax.models import own
from tests.helpers import tiny

MODULE = """
from flax import linen as nn

class Net(nn.Module):
    features: int
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, train=False):
        early = nn.relu(nn.Conv(8, (3, 3), strides=2)(x))
        x = nn.Conv(self.features, (3, 3), strides=2)(early)
        x = nn.BatchNorm(use_running_average=not train, axis_name=self.axis_name)(x)
        return {"early": early, "late": nn.relu(x)}

def make(width=1.0, axis_name=None):
    return Net(round(16 * width), axis_name)

def no_width():
    return nn.Conv(4, (3, 3))

def no_module():
    return 3

def fails():
    return 1 / 0

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


@pytest.mark.parametrize("head", ["gapnet", pytest.param("permutenet", marks=pytest.mark.slow)])
def test_it_is_trained_and_measured_with_every_head(head, home, capsys):
    (home / "config.py").write_text(CONFIG.format(head=head))
    assert cli.main(["train", "config.py", "--workdir", "run"]) == 0
    result = json.loads((home / "run/results.json").read_text())
    assert result["config"]["model"]["name"] == "python:own_module:make"
    assert {p["stage"] for p in result["probes"]} == {"gap"}
    # Its code is not run for a folder that may be anybody's.
    capsys.readouterr()
    for command in ("evaluate", "rank", "attack", "audit"):
        assert cli.main([command, "run", "--workdir", command]) == 2
        error = capsys.readouterr().err
        assert "`run`: the network of run is python:own_module:make" in error
        assert error.count("\n") == 1
    words = ["evaluate", "run", "--trust-code", "--probe.stages", "all", "--quiet"]
    assert cli.main(words) == 0
    again = json.loads((home / "run/evaluation/results.json").read_text())
    assert again["rows"] == result["rows"]
    assert {p["stage"] for p in again["probes"]} == {"stage_early", "gap"}
    net = gp.from_run("run", trust_code=True)
    assert set(net.encode(np.zeros((2, 24, 24, 1), np.float32))) == {"stage_early", "pre_gap"}


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
    monkeypatch.setattr(own, "_registered", {})
    with pytest.raises(InputError, match=r"`model.name` must be one of .*; got 'pointwise'"):
        create("pointwise")
    models.register("pointwise", lambda: nn.Conv(4, (1, 1)))
    assert create("pointwise").num_permutable == 4
    assert tiny(model={"name": "pointwise"}).model.name == "pointwise"


BAD = {
    "python:own_module:nothing": "has no function 'nothing'",
    "python:no_such_module:make": "No module named 'no_such_module'",
    "python:own_module": "must be python:MODULE:FUNCTION",
    "python:own_module:no_module": "must return a flax.linen.Module; got a int",
    "python:own_module:fails": "fails: ZeroDivisionError",
    "python:own_module:no_map": r"must return maps \[B, h, w, C\]; pre_gap is \[2, 4\]",
    "python:own_module:drops_out": "fails on",
    "python:own_module:remembers": "has variables cache",
    "python:own_module:normalises": "has batch statistics and no argument `axis_name`",
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_is_one_line(name, home):
    with pytest.raises(InputError, match=BAD[name]) as found:
        create(name)
    assert "`model.name`" in str(found.value)
    assert "\n" not in str(found.value)


def test_options_that_it_does_not_take_are_refused(home):
    with pytest.raises(InputError, match=r"`model.width` is no argument of .*no_width; got 0.5"):
        create("python:own_module:no_width", width=0.5)
    with pytest.raises(InputError, match="`model.stem`.*no options"):
        create("python:own_module:make", stem="conv7")
    assert create("python:own_module:no_width").num_permutable == 4
