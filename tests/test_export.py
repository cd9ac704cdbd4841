"""Every train and evaluate program lowers for TPU and CUDA: the check a CPU can do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import Mesh, PartitionSpec

from gpool_jax.data import resident
from gpool_jax.experiments import exhaustive, position, probing
from gpool_jax.train.step import make_train_step
from tests.helpers import tiny

REPLICATED, SPLIT = PartitionSpec(), PartitionSpec("data")


def lower(fn, in_specs, out_specs, arguments) -> str:
    """The program for both platforms, over eight devices with real collectives."""
    mesh = Mesh(np.array(jax.devices()), ("data",))
    mapped = jax.shard_map(fn, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)
    exported = export.export(jax.jit(mapped), platforms=("tpu", "cuda"))(*arguments)
    assert exported.nr_devices == 8
    assert set(exported.platforms) == {"tpu", "cuda"}
    return exported.mlir_module()


def abstract(tree):
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), tree)


def arguments(setup):
    state = jax.eval_shape(setup.init_state)
    split = setup.dataset.train
    data = abstract({"images": split.images, "labels": split.labels})
    index = jax.ShapeDtypeStruct((16,), jnp.int32)
    return state, data, index


@pytest.mark.parametrize(
    "model",
    [
        {"name": "resnet18", "stem": "conv3", "width": 1.0},
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
    loss_fn = position.make_loss_fn(setup, setup.create_model("data"))
    step = make_train_step(loss_fn, setup.optimizer, resident.fetch, "data")
    state, data, index = arguments(setup)
    inputs = {"index": index, "position": index}
    text = lower(step, (REPLICATED, REPLICATED, SPLIT), REPLICATED, (state, data, inputs))
    assert "stablehlo.all_reduce" in text
    if model.get("width") == 1.0:
        # The matmul lowering is for CPU: accelerators keep every convolution, forward,
        # and both gradients but the input's.
        assert text.count("stablehlo.convolution") == 3 * 21 - 1


@pytest.mark.parametrize(
    "model",
    [{}, {"head": "permutenet"}, {"head": "linear", "permute_at": "stage2"}],
    ids=str,
)
def test_evaluation_lowers(model):
    setup = position.prepare(tiny(model=model))
    state, data, index = arguments(setup)
    inputs = {"index": index, "mask": jax.ShapeDtypeStruct((16,), jnp.bool_)}
    evaluate = exhaustive.make_evaluate_batch(setup)
    arguments_ = (state.variables, data, inputs)
    lower(evaluate, (REPLICATED, REPLICATED, SPLIT), SPLIT, arguments_)
    pool = probing.make_pool_batch(setup, probing.resolve_stages(setup))
    lower(pool, (REPLICATED, REPLICATED, SPLIT), SPLIT, arguments_)
