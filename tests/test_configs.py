"""Every file in configs/: loads, traces at full size, and takes one real step when cut down."""

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpool_jax import cli
from gpool_jax import config_values as configs
from gpool_jax.config import (
    KINDS,
    ComparisonConfig,
    DataConfig,
    InvarianceComparisonConfig,
    InvarianceConfig,
    PositionConfig,
)
from gpool_jax.data.sources import Dataset
from gpool_jax.data.splits import Split
from gpool_jax.errors import InputError
from gpool_jax.experiments import (
    comparison,
    invariance,
    invariance_comparison,
    invariance_measure,
    position,
)
from tests.helpers import TINY

FILES = sorted((Path(__file__).parent.parent / "configs").glob("*.py"))
IDS = [path.stem for path in FILES]


def synthetic(side: int, channels: int) -> Dataset:
    rng = np.random.default_rng(0)

    def split(count):
        images = rng.integers(0, 256, (count, side, side, channels), np.uint8)
        return Split(images, np.arange(count, dtype=np.int32) % 10)

    return Dataset(
        "synthetic", split(96), split(16), split(16), 10, (0.5,) * channels, (0.25,) * channels
    )


def single_configs(path) -> list[PositionConfig | InvarianceConfig]:
    """The networks that a file trains, at one seed."""
    config = cli._load_config(path, tuple(KINDS.values()))
    if isinstance(config, ComparisonConfig):
        return list(comparison.sub_configs(dataclasses.replace(config, num_seeds=1)).values())
    if isinstance(config, InvarianceComparisonConfig):
        return list(invariance_comparison.arm_configs(config).values())
    return [config]


def experiment_of(config):
    return invariance if isinstance(config, InvarianceConfig) else position


def loss_of(setup):
    if isinstance(setup.config, InvarianceConfig):
        return invariance.make_loss_fn(setup, None)
    return position.make_loss_fn(setup, setup.model)


def test_there_are_configs():
    assert len(FILES) >= 20


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_header_gives_command_purpose_and_time(path):
    header = path.read_text()
    assert f"configs/{path.name} " in header or path.name == "demo.py"
    for part in ("Shows:", "Expected time:"):
        assert part in header
    assert "@" not in header


@functools.cache
def trace(config: PositionConfig | InvarianceConfig, side: int, channels: int) -> dict:
    """The loss of a full batch, traced: shapes only, and once for configs that agree."""
    setup = experiment_of(config).prepare(config, dataset=synthetic(side, channels))
    state = jax.eval_shape(setup.init_state)
    batch = {
        "images": jax.ShapeDtypeStruct((48, side, side, channels), jnp.uint8),
        "labels": jax.ShapeDtypeStruct((48,), jnp.int32),
        "position": jax.ShapeDtypeStruct((48,), jnp.int32),
        "step": jax.ShapeDtypeStruct((), jnp.int32),
    }
    key = jax.eval_shape(lambda: jax.random.key(0))
    loss, aux = jax.eval_shape(loss_of(setup), state.params, state.batch_stats, batch, key)
    assert loss.shape == ()
    assert jax.tree.map(jnp.shape, aux["batch_stats"]) == jax.tree.map(jnp.shape, state.batch_stats)
    return aux["metrics"]


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_traces_at_full_size_for_every_n(path):
    for config in single_configs(path):
        side, channels = (16, 1) if config.data.source == "digits" else (32, 3)
        if config.data.stream:
            side, channels = config.data.side, 3
        # What the traced program depends on, and nothing else.
        if isinstance(config, InvarianceConfig):
            off = dataclasses.replace(config.probe, enabled=False)
            bare = InvarianceConfig(model=config.model, shift=config.shift, probe=off)
            names = set(trace(bare, side, channels))
            assert names >= {"loss", "accuracy", "cross_entropy"}
            assert ("invariance" in names) == (config.shift.views > 1)
            continue
        for n in (3, 5, 7):
            bare = PositionConfig(task=config.task, n=n, model=config.model)
            assert set(trace(bare, side, channels)) == {"loss", "accuracy"}


def cut_down(config: PositionConfig | InvarianceConfig) -> PositionConfig | InvarianceConfig:
    """The config with width, batch, images, steps and side cut, and nothing else."""
    extra = {}
    if isinstance(config, PositionConfig):
        extra["eval"] = dataclasses.replace(config.eval, num_images=8, permutations=2, bootstrap=20)
    else:
        extra["consistency"] = dataclasses.replace(config.consistency, enabled=False)
        extra["shift"] = dataclasses.replace(config.shift, max_shift=3)
    return dataclasses.replace(
        config,
        # A deeper stride needs a larger digit.
        data=DataConfig(
            source="digits", side=48 if config.model.stem == "conv7_pool" else 16, num_train=32
        ),
        model=dataclasses.replace(config.model, width=1 / 64),
        train=dataclasses.replace(
            config.train, steps=1, batch_size=8, eval_every=1, num_val=8, milestones=()
        ),
        probe=dataclasses.replace(config.probe, enabled=False),
        **extra,
    )


# One of each kind of program: the files of a kind differ in what is cut here, and beyond
# GAPNet the task, which only chooses the labels (see test_position.py).
PROGRAMS = {}
for path, name in zip(FILES, IDS, strict=True):
    for sub in single_configs(path):
        if isinstance(sub, PositionConfig) and sub.model.head != "gapnet":
            sub = dataclasses.replace(sub, task="location")
        if isinstance(sub, InvarianceConfig):
            # A weight is a number to the program, not another program.
            one = dataclasses.replace(sub.shift, weight=float(sub.shift.weight > 0))
            sub = dataclasses.replace(sub, shift=one)
        PROGRAMS.setdefault(cut_down(sub), name)


def program_name(config) -> str:
    last = (
        config.task if isinstance(config, PositionConfig) else invariance_measure.arm_name(config)
    )
    return f"{config.model.name}-{config.model.head}-{last}"


@pytest.mark.parametrize("config", PROGRAMS, ids=program_name)
def test_takes_one_real_step(config, tmp_path):
    experiment = experiment_of(config)
    state = experiment.train(experiment.prepare(config), tmp_path / "run", warn=pytest.fail)
    assert int(state.step) == 1
    assert all(np.isfinite(p).all() for p in jax.tree.leaves(state.params))


def test_plain_dicts_and_back():
    for path in FILES:
        config = cli._load_config(path, tuple(KINDS.values()))
        assert configs.from_dict(configs.to_dict(config)) == config
    with pytest.raises(InputError, match="unknown config field colour of PositionConfig"):
        configs.from_dict({"kind": "PositionConfig", "colour": 1})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "locaton"}, "`task` must be location, recognition; got 'locaton'"),
        ({"model": {"permutation": "Fixed"}}, "`model.permutation` must be redrawn, fixed"),
        ({"train": {"batch_size": "48"}}, "`train.batch_size` must be int; got '48'"),
        ({"train": {"steps": 300.5}}, "`train.steps` must be int; got 300.5"),
        ({"train": {"milestones": (1.5,)}}, "`train.milestones` must be"),
        ({"train": {"ema_decay": 1.0}}, r"`train.ema_decay` must be in \[0, 1\)"),
        ({"train": {"weight_decay": -1.0}}, "`train.weight_decay` must be at least 0"),
        ({"data": {"std": (0.0,)}}, "`data.std` must be positive; got 0.0"),
        ({"n": 1}, "`n` must be at least 2; got 1"),
        ({"seed": -1}, r"`seed` must be in \[0, 2\*\*31\); got -1"),
        ({"train": {"batch_size": 0}}, "`train.batch_size` must be at least 1; got 0"),
        ({"train": {"steps": -4}}, "`train.steps` must be at least 1; got -4"),
        ({"train": {"learning_rate": 0.0}}, "`train.learning_rate` must be positive and finite"),
        ({"train": {"b1": 1.0}}, r"`train.b1` must be in \[0, 1\)"),
        ({"train": {"milestones": (9,)}}, r"`train.milestones` must be in .* 6\]; got 9"),
        ({"eval": {"permutations": 0}}, "`eval.permutations` must be at least 1"),
        ({"probe": {"folds": 2}}, "`probe.folds` must be at least 3; got 2"),
        ({"probe": {"kinds": ("svm",)}}, "`probe.kinds` must be among .*got 'svm'"),
    ],
)
def test_values_are_checked(changes, message):
    config = TINY
    for name, value in changes.items():
        if isinstance(value, dict):
            value = dataclasses.replace(getattr(config, name), **value)
        config = dataclasses.replace(config, **{name: value})
    with pytest.raises(InputError, match=message):
        configs.check(config)


def test_differences_are_named_by_their_dotted_field():
    other = dataclasses.replace(TINY, n=5, model=dataclasses.replace(TINY.model, head="linear"))
    found = configs.differences(configs.to_dict(TINY), configs.to_dict(other))
    assert found == ["model.head: 'gapnet' -> 'linear'", "n: 3 -> 5"]
