"""A run as a file that JAX runs in a process without this package."""

import json
import subprocess
import sys

import numpy as np
import pytest

from gpool_jax import ops
from gpool_jax.cli import main as cli
from gpool_jax.experiments import driver, workdir
from gpool_jax.experiments.position import measure
from tests.helpers import TINY_COMPARISON, tiny

ALONE = """
import sys
sys.modules["gpool_jax"] = None
import numpy as np
from jax import export
program = export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
images = np.load(sys.argv[2])
found = program.call(images)
one = program.call(images[:1])
np.savez(sys.argv[3], one=one["logits"], **found)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    config = tiny(model={"head": "permutenet"}, train={"steps": 2}, probe={"enabled": False})
    driver.run(config, folder, warn=pytest.fail)
    return config, folder


@pytest.mark.slow
def test_another_process_answers_as_the_run_does(run, tmp_path, capsys):
    config, folder = run
    words = ["export", str(folder), "--workdir", str(tmp_path / "out"), "--platforms", "cpu", "tpu"]
    assert cli.main(words) == 0
    assert "images uint8 ['b', 24, 24, 1] to " in capsys.readouterr().out
    facts = json.loads((tmp_path / "out/network.json").read_text())
    assert facts["platforms"] == ["cpu", "tpu"]
    assert facts["outputs"] == {"latent": ["b", 32], "logits": ["b", 9]}

    images = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 1), np.uint8)
    np.save(tmp_path / "images.npy", images)
    paths = [tmp_path / "out/network.jax_export", tmp_path / "images.npy", tmp_path / "found.npz"]
    subprocess.run([sys.executable, "-c", ALONE, *paths], check=True)
    found = np.load(tmp_path / "found.npz")
    setup = measure.prepare(config, warn=pytest.fail)
    setup, snapshots = driver.load(setup, folder)
    inputs = ops.normalise(images, setup.dataset.mean, setup.dataset.std)
    logits, features = setup.model.apply(snapshots.best.variables, inputs)
    np.testing.assert_allclose(found["logits"], logits, atol=1e-5)
    np.testing.assert_allclose(found["latent"], features["gap"], atol=1e-5)
    np.testing.assert_allclose(found["one"], logits[:1], atol=1e-5)
    # The folder is the export's, which may be made again.
    assert cli.main(words) == 0
    assert cli.main(["rank", str(folder), "--workdir", str(tmp_path / "out")]) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "`run`: export needs the folder"),
        (["/none"], "/none is not the folder of a training run"),
        (
            ["{run}", "--platforms", "gpu"],
            "must be among cpu, cuda, rocm, tpu; got gpu",
        ),
        (["{run}", "--workdir", "{run}"], "is the folder of a training run"),
        (["{comparison}"], "holds a comparison; name the folder of one of its runs"),
        (["{own}"], "say --trust-code"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(run, tmp_path, capsys, words, message):
    own = tiny(model={"name": "python:nobodys:make", "head": "linear"})
    folders = {"run": run[1]}
    for name, config in (("comparison", TINY_COMPARISON), ("own", own)):
        folders[name] = tmp_path / name
        workdir.open_run(folders[name], config)
    assert cli.main(["export", *(word.format(**folders) for word in words)]) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
    assert not list(tmp_path.glob("**/network.json"))
