"""Every file in configs/: loads, traces at full size, and takes one real step when cut down."""

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpool_jax.config import (
    KINDS,
    AttackConfig,
    ComparisonConfig,
    DataConfig,
    InvarianceConfig,
    PositionConfig,
    RankConfig,
    SegmentationConfig,
    checks,
    files,
    plain,
)
from gpool_jax.data.images.load import Dataset
from gpool_jax.data.split import ArraySplit
from gpool_jax.errors import InputError
from gpool_jax.experiments import registry, training
from gpool_jax.experiments.segmentation import training as segmentation
from gpool_jax.models import factory
from gpool_jax.ops import shared_background
from gpool_jax.train import parallel
from gpool_jax.train.optimizer import make_optimizer
from tests.helpers import TINY, pixel_dataset

FOLDER = Path(__file__).parent.parent / "configs"
FILES = sorted(files.catalog())
IDS = FILES


def synthetic(side: int, channels: int) -> Dataset:
    rng = np.random.default_rng(0)

    def split(count):
        images = rng.integers(0, 256, (count, side, side, channels), np.uint8)
        return ArraySplit(images, np.arange(count, dtype=np.int32) % 10)

    return Dataset(
        name="synthetic",
        train=split(96),
        val=split(16),
        test=split(16),
        num_classes=10,
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
    )


def single_configs(path) -> list[PositionConfig | InvarianceConfig]:
    """The networks that a file trains, at one seed."""
    config = files.load(path, tuple(KINDS.values()))
    comparison = registry.comparison(config)
    if comparison is None:
        return [config]
    one_of_each = {"num_seeds": 1}
    if isinstance(config, ComparisonConfig):
        one_of_each |= {"ns": config.ns[:1], "paddings": config.paddings[:1]}
    return list(comparison.members(dataclasses.replace(config, **one_of_each)).values())


def loss_of(setup):
    recipe = registry.experiment(setup.config).recipe(setup)
    return recipe.make_loss_fn(setup.design, None)


def test_there_are_configs():
    assert len(FILES) >= 20


@pytest.mark.parametrize("path", sorted(FOLDER.glob("[!_]*.py")), ids=lambda p: p.stem)
def test_header_gives_command_purpose_and_time(path):
    header = path.read_text()
    assert f"configs/{path.name} " in header or path.name in ("demo.py", "cifar10.py", "table1.py")
    for part in ("    gpool ", "Shows:", "Expected time"):
        assert part in header
    assert "@" not in header


@functools.cache
def trace(config: PositionConfig | InvarianceConfig, side: int, channels: int) -> dict:
    """The loss of a full batch, traced: shapes only, and once for configs that agree."""
    setup = registry.experiment(config).prepare(config, dataset=synthetic(side, channels))
    state = jax.eval_shape(setup.init_state)
    batch = {
        "images": jax.ShapeDtypeStruct((48, side, side, channels), jnp.uint8),
        "labels": jax.ShapeDtypeStruct((48,), jnp.int32),
        "position": jax.ShapeDtypeStruct((48,), jnp.int32),
        "step": jax.ShapeDtypeStruct((), jnp.int32),
        **setup.constants,
    }
    key = jax.eval_shape(lambda: jax.random.key(0))
    loss, aux = jax.eval_shape(loss_of(setup), state.params, state.batch_stats, batch, key)
    assert loss.shape == ()
    assert jax.tree.map(jnp.shape, aux["batch_stats"]) == jax.tree.map(jnp.shape, state.batch_stats)
    return aux["metrics"]


def trace_pixels(config: SegmentationConfig) -> None:
    """The loss of a batch of crops at full size, traced."""
    size = config.data.crop or config.data.size
    stand_in = dataclasses.replace(config.data, stream=True)
    setup = segmentation.prepare(
        dataclasses.replace(config, data=stand_in), dataset=pixel_dataset(count=24)
    )
    state = jax.eval_shape(setup.init_state)
    batch = {
        "images": jax.ShapeDtypeStruct((8, *size, 3), jnp.uint8),
        "labels": jax.ShapeDtypeStruct((8, *size), jnp.uint8),
        "position": jax.ShapeDtypeStruct((8,), jnp.int32),
        **setup.constants,
    }
    key = jax.eval_shape(lambda: jax.random.key(0))
    loss, aux = jax.eval_shape(loss_of(setup), state.params, state.batch_stats, batch, key)
    assert loss.shape == ()
    assert set(aux["metrics"]) == {"loss", "accuracy"}


EVERY_N = [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (5, 7))]


@pytest.mark.parametrize("n", EVERY_N)
@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_traces_at_full_size_for_every_n(path, n):
    for config in single_configs(path):
        side, channels = (16, 1) if config.data.source == "digits" else (32, 3)
        if isinstance(config, SegmentationConfig):
            trace_pixels(config)
            continue
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
        # The task chooses the labels; how canvases are put together does not mind the width.
        model = config.model if n == 3 else dataclasses.replace(config.model, width=1.0)
        bare = PositionConfig(n=n, model=model)
        assert set(trace(bare, side, channels)) == {"loss", "accuracy"}


def cut_down(config: PositionConfig | InvarianceConfig) -> PositionConfig | InvarianceConfig:
    """The config with width, batch, images, steps and side cut, and nothing else."""
    if isinstance(config, SegmentationConfig):
        return cut_down_pixels(config)
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
            config.train,
            steps=1,
            batch_size=8,
            eval_every=1,
            num_val=8,
            milestones=(),
            warmup_steps=0,
        ),
        probe=dataclasses.replace(config.probe, enabled=False),
        **extra,
    )


def cut_down_pixels(config: SegmentationConfig) -> SegmentationConfig:
    """The same for pixels; the deep encoders, which are traced whole, give way to a shallow one."""
    name = config.model.name.replace("resnet50", "resnet18")
    return dataclasses.replace(
        config,
        data=dataclasses.replace(
            config.data,
            path=None,
            source="folder",
            size=None,
            crop=(16, 24),
            stream=False,
            workers=0,
        ),
        model=dataclasses.replace(
            config.model,
            name=name,
            width=1 / 64,
            output_stride=16,
            rates=(1, 2, 3),
            dtype="float32",
        ),
        train=dataclasses.replace(
            config.train, steps=1, batch_size=8, eval_every=1, num_val=8, warmup_steps=0
        ),
        rank=RankConfig(),
        attack=AttackConfig(),
    )


def program_of(config) -> tuple:
    """What the program of a step depends on, but for numbers in it and who is measured how.

    Of what remains, labels, augmentation and the weight of a loss, the last file of a kind
    has most; all are traced above.
    """
    model = config.model
    key = (type(config).__name__, model.name, model.stem, model.dtype, model.antialias)
    if isinstance(config, SegmentationConfig):
        return key
    views = config.shift.views if isinstance(config, InvarianceConfig) else 1
    return (*key, model.head, views)


PROGRAMS = {
    program_of(small): small for path in FILES for small in map(cut_down, single_configs(path))
}


# In the quick suite the network that compiles soonest.
QUICK = [key for key in PROGRAMS if key[1] == "vgg5"]
STEPPED = [pytest.param(key, marks=() if key in QUICK else pytest.mark.slow) for key in PROGRAMS]


def program_name(key: tuple) -> str:
    return "-".join(str(part) for part in key[1:] if part is not None)


def draw_state(setup):
    """A state as it is after some training, which takes no program to be made."""
    rng = np.random.default_rng(0)

    def draw(leaf):
        return rng.uniform(0.05, 0.15, leaf.shape).astype(leaf.dtype)

    shapes = jax.eval_shape(setup.init_state)
    params, stats = (jax.tree.map(draw, part) for part in (shapes.params, shapes.batch_stats))
    return shapes.replace(
        step=np.int32(0),
        key=np.zeros(shapes.key.shape, shapes.key.dtype),
        params=params,
        batch_stats=stats,
        opt_state=make_optimizer(setup.config.train).init(params),
    )


@pytest.mark.parametrize("program", STEPPED, ids=program_name)
def test_takes_one_real_step(program, monkeypatch):
    config = PROGRAMS[program]
    # A shared background compiles three times as long; at n = 5 and 7 it is stepped here.
    monkeypatch.setattr(shared_background, "LEAST_CANVAS_CPU", 64)
    # Every kind of block once: a stage repeats its second, and was traced at full depth.
    shallow = {name: (block, (1, 1, 1, 2)) for name, (block, _) in factory.RESNETS.items()}
    monkeypatch.setattr(factory, "RESNETS", shallow)
    experiment = registry.experiment(config)
    dataset = pixel_dataset() if isinstance(config, SegmentationConfig) else None
    setup = experiment.prepare(config, dataset=dataset)
    feed = training.make_feed(setup)
    step = training.make_step(setup, experiment.recipe(setup), feed)
    inputs = parallel.shard(feed.inputs_at(0, 1), axis=1)
    state = parallel.replicate(draw_state(setup))
    state, metrics = step(state, parallel.replicate(feed.data), inputs)
    feed.close()
    assert int(state.step) == 1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state.params, metrics)))


def test_of_each_kind_of_program_the_fullest_is_stepped():
    """A loss of invariance between augmented views, wherever a file has one."""
    shifts = [c.shift for c in PROGRAMS.values() if isinstance(c, InvarianceConfig)]
    assert len(shifts) >= 8
    assert all(s.augment and s.weight > 0 for s in shifts if s.views > 1)


def test_plain_dicts_and_back():
    for path in FILES:
        config = files.load(path, tuple(KINDS.values()))
        assert plain.from_dict(plain.to_dict(config)) == config
    with pytest.raises(InputError, match="unknown config field colour of PositionConfig"):
        plain.from_dict({"kind": "PositionConfig", "colour": 1})


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
        ({"data": {"std": (0.0,)}}, "`data.std` must be in \\(0, 1\\] .*; got 0.0"),
        ({"n": 1}, "`n` must be at least 2; got 1"),
        ({"seed": -1}, r"`seed` must be in \[0, 2\*\*31\); got -1"),
        ({"train": {"batch_size": 0}}, "`train.batch_size` must be at least 1; got 0"),
        ({"train": {"steps": -4}}, "`train.steps` must be at least 1; got -4"),
        ({"data": {"side": 100_000}}, r"`data.side` must be in \[1, 8192\] pixels; got 100000"),
        ({"data": {"path": ""}}, "`data.path` must not be empty; got ''"),
        ({"data": {"mean": (123.675, 0.1, 0.1)}}, r"`data.mean` must be in \[0, 1\] \(in units of"),
        ({"data": {"mean": (float("nan"),) * 3}}, r"`data.mean` must be in \[0, 1\] .*; got nan"),
        ({"data": {"std": (float("inf"),) * 3}}, r"`data.std` must be in \(0, 1\] .*; got inf"),
        ({"train": {"learning_rate": 0.0}}, "`train.learning_rate` must be positive and finite"),
        ({"train": {"b1": 1.0}}, r"`train.b1` must be in \[0, 1\)"),
        ({"train": {"milestones": (9,)}}, r"`train.milestones` must be in .* 6\]; got 9"),
        ({"eval": {"permutations": 0}}, "`eval.permutations` must be at least 1"),
        ({"probe": {"folds": 2}}, "`probe.folds` must be at least 3; got 2"),
        ({"probe": {"kinds": ("svm",)}}, "`probe.kinds` must be among .*got 'svm'"),
        ({"rank": {"methods": ()}}, "`rank.methods` must name at least one; got none"),
        ({"rank": {"regions": ("left", "left")}}, "`rank.regions` names one twice"),
        ({"rank": {"grid": 1}}, "`rank.grid` must be at least 2; got 1"),
        ({"rank": {"num_images": 0}}, "`rank.num_images` must be at least 1; got 0"),
        ({"rank": {"splits": ("vall",)}}, "`rank.splits` must be .*got \\('vall',\\)"),
        ({"attack": {"counts": (0,)}}, "`attack.counts` must be at least 1; got 0"),
        ({"attack": {"table_count": 0}}, "`attack.table_count` must be at least 1; got 0"),
        ({"attack": {"methods": ("gat",)}}, "`attack.methods` must be several of flip, .*'gat'"),
        ({"attack": {"fills": ("zeros",)}}, "`attack.fills` must be"),
        ({"train": {"backbone_rate": -1.0}}, "`train.backbone_rate` must be at least 0"),
    ],
)
def test_values_are_checked(changes, message):
    config = TINY
    for name, value in changes.items():
        if isinstance(value, dict):
            value = dataclasses.replace(getattr(config, name), **value)
        config = dataclasses.replace(config, **{name: value})
    with pytest.raises(InputError, match=message):
        checks.check(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"size": (180,)}}, "`data.size` must be 2 of int or None; got"),
        ({"data": {"crop": (0, 24)}}, "`data.crop` must be in \\[1, 8192\\] pixels; got 0"),
        ({"data": {"min_scale": 3.0}}, "`data.min_scale` must be positive and at most"),
        ({"data": {"jitter": 1.0}}, r"`data.jitter` must be in \[0, 1\); got 1.0"),
        ({"loss": {"focal_gamma": -1.0}}, "`loss.focal_gamma` must be at least 0"),
        ({"loss": {"class_weights": (1.0, -1.0)}}, "`loss.class_weights` must be at least 0"),
        ({"model": {"output_stride": 4}}, "`model.output_stride` must be 8, 16 or None; got 4"),
    ],
)
def test_values_of_segmentation_are_checked(changes, message):
    config = SegmentationConfig()
    for name, values in changes.items():
        section = dataclasses.replace(getattr(config, name), **values)
        config = dataclasses.replace(config, **{name: section})
    with pytest.raises(InputError, match=message):
        checks.check(config)


def test_class_weights_must_be_as_many_as_the_classes():
    loss = dataclasses.replace(SegmentationConfig().loss, class_weights=(1.0, 1.0))
    config = dataclasses.replace(SegmentationConfig(), loss=loss)
    with pytest.raises(InputError, match="`loss.class_weights` must be 3 numbers.*got 2"):
        segmentation.prepare(config, dataset=pixel_dataset())


def test_differences_are_named_by_their_dotted_field():
    other = dataclasses.replace(TINY, n=5, model=dataclasses.replace(TINY.model, head="linear"))
    found = plain.differences(plain.to_dict(TINY), plain.to_dict(other))
    assert found == ["model.head: 'gapnet' -> 'linear'", "n: 3 -> 5"]
