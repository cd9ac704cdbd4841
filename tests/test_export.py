"""Every train and evaluate program lowers for TPU and CUDA: the check a CPU can do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import Mesh, PartitionSpec

from gpool_jax.data import resident
from gpool_jax.experiments.measures import probing
from gpool_jax.experiments.position import exhaustive
from gpool_jax.experiments.position import training as position
from gpool_jax.ops import probe
from gpool_jax.train.optimizer import make_optimizer
from gpool_jax.train.step import make_train_step
from tests.helpers import tiny

REPLICATED, SPLIT = PartitionSpec(), PartitionSpec("data")


def lower(fn, in_specs, out_specs, arguments, platforms=("tpu", "cuda")) -> str:
    """The program for these platforms, over eight devices with real collectives."""
    mesh = Mesh(np.array(jax.devices()), ("data",))
    mapped = jax.shard_map(fn, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)
    exported = export.export(jax.jit(mapped), platforms=platforms)(*arguments)
    assert exported.nr_devices == 8
    assert set(exported.platforms) == set(platforms)
    return exported.mlir_module()


def abstract(tree):
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), tree)


def arguments(setup):
    state = jax.eval_shape(setup.init_state)
    split = setup.dataset.train
    data = abstract(setup.data_of(split))
    index = jax.ShapeDtypeStruct((16,), jnp.int32)
    return state, data, index


def step_of(setup):
    """The training step over a mapped axis, as `training.make_step` builds it."""

    def fetch(data, inputs):
        return data | resident.fetch(data["resident"], inputs)

    loss_fn = position.make_loss_fn(setup.design, "data")
    return make_train_step(loss_fn, make_optimizer(setup.config.train), fetch, "data")


@pytest.mark.parametrize(
    "model",
    [
        {"head": "permutenet", "dtype": "bfloat16"},
        {"head": "permutenet", "permute_at": "stage3", "permute_per": "example"},
        {"name": "cifar_resnet20", "head": "linear", "padding": "circular"},
        {"padding": "partial"},
        {"padding": "resize"},
    ],
    ids=str,
)
def test_train_step_lowers(model):
    setup = position.prepare(tiny(model=model))
    step = step_of(setup)
    state, data, index = arguments(setup)
    inputs = {"index": index, "position": index}
    text = lower(step, (REPLICATED, REPLICATED, SPLIT), REPLICATED, (state, data, inputs))
    assert "stablehlo.all_reduce" in text


def test_many_steps_in_one_dispatch_lower():
    setup = position.prepare(tiny())
    step = step_of(setup)

    def steps(state, data, inputs):
        return jax.lax.scan(lambda carry, x: step(carry, data, x), state, inputs)

    state, data, _ = arguments(setup)
    index = jax.ShapeDtypeStruct((50, 16), jnp.int32)
    specs = (REPLICATED, REPLICATED, PartitionSpec(None, "data"))
    text = lower(steps, specs, REPLICATED, (state, data, {"index": index, "position": index}))
    assert "stablehlo.while" in text


@pytest.mark.parametrize("kind", probe.KINDS)
def test_probes_lower(kind):
    x = jax.ShapeDtypeStruct((90, 8), jnp.float32)
    rows = jax.ShapeDtypeStruct((90,), jnp.int32)
    fit = functools.partial(probe.cross_validate, kinds=(kind,), num_classes=9, num_folds=3)
    key = jax.eval_shape(lambda: jax.random.key(0))
    exported = export.export(jax.jit(fit), platforms=("tpu", "cuda"))(key, x, rows, rows)
    assert [a.shape for a in exported.out_avals] == [(90,), (3,)]


@pytest.mark.parametrize(("platform", "convolutions"), [("tpu", 62), ("cuda", 62), ("cpu", 53)])
def test_accelerators_keep_every_convolution_and_cpus_all_but_those_of_1x1(platform, convolutions):
    # ResNet-18 and the head: 21 convolutions, three programs each but for the input's gradient.
    # On a CPU the three shortcuts are matrix products.
    setup = position.prepare(tiny(model={"name": "resnet18", "stem": "conv3", "width": 1.0}))
    step = step_of(setup)
    state, data, index = arguments(setup)
    inputs = {"index": index, "position": index}
    specs = (REPLICATED, REPLICATED, SPLIT)
    text = lower(step, specs, REPLICATED, (state, data, inputs), (platform,))
    assert text.count("stablehlo.convolution") == convolutions
    # Only a CPU is told to compute maps before what transposes them.
    assert ("inlineable" in text) == (platform == "cpu")


@pytest.mark.parametrize(
    "model",
    [{}, {"head": "permutenet"}, {"head": "linear", "permute_at": "stage2"}],
    ids=str,
)
def test_evaluation_and_validation_lower(model):
    setup = position.prepare(tiny(model=model))
    state, data, index = arguments(setup)
    inputs = {"index": index, "mask": jax.ShapeDtypeStruct((16,), jnp.bool_)}
    evaluate = exhaustive.make_evaluate_batch(setup.design)
    arguments_ = (state.variables, data, inputs)
    lower(evaluate, (REPLICATED, REPLICATED, SPLIT), SPLIT, arguments_)
    lower(
        position.make_validate_batch(setup.design),
        (REPLICATED, REPLICATED, SPLIT),
        SPLIT,
        arguments_,
    )
    stages = probing.resolve_stages(setup)
    pool = probing.make_pool_batch(setup.model.backbone, setup.config.n, stages)
    variables = {name: tree["backbone"] for name, tree in state.variables.items()}
    lower(pool, (REPLICATED, REPLICATED, SPLIT), SPLIT, (variables, data, inputs))
