"""Eight devices do what one does, BatchNorm included."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gpool_jax.data import resident
from gpool_jax.data.split import ArraySplit
from gpool_jax.errors import InputError
from gpool_jax.experiments.position import training as position
from gpool_jax.train import compiler, parallel
from gpool_jax.train.step import make_train_step
from tests import fusions
from tests.helpers import fetch_of, slow_but_first, tiny

# One step at rate 1 moves the parameters by the gradient itself.
ONE_STEP, SGD = optax.sgd(1.0), optax.sgd(0.05, momentum=0.9)


@pytest.fixture(scope="module", autouse=True)
def exact_sums():
    """Compile with the fusions that a user has: without them sums of float32 are less exact."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "_CPU", compiler._CPU | fusions.WITH)
        compiler.compiler_options.cache_clear()
        yield
    compiler.compiler_options.cache_clear()


def one_device_steps(setup, state, inputs, optimizer=SGD):
    """The same step under `vmap` over a data axis of one: the whole batch at once."""
    loss_fn = position.make_loss_fn(setup.design, "one")
    step = make_train_step(loss_fn, optimizer, fetch_of(setup), "one")
    step = jax.vmap(step, in_axes=(None, None, 0), out_axes=None, axis_name="one")
    step = jax.jit(step, compiler_options=compiler.compiler_options())
    split = setup.dataset.train
    data = {"images": jnp.asarray(split.images), "labels": jnp.asarray(split.labels)}
    collected = []
    for k in range(len(inputs["index"])):
        state, metrics = step(state, data, {name: v[k][None] for name, v in inputs.items()})
        collected.append(metrics)
    return state, collected


def eight_device_steps(setup, state, inputs, per_dispatch, optimizer=SGD):
    loss_fn = position.make_loss_fn(setup.design, parallel.AXIS)
    step = make_train_step(loss_fn, optimizer, fetch_of(setup), parallel.AXIS)
    mapped = parallel.map_train_step(step)
    data = parallel.replicate(setup.dataset.train.resident())
    state = parallel.replicate(jax.tree.map(np.array, state))
    collected = []
    for k in range(0, len(inputs["index"]), per_dispatch):
        chunk = {name: v[k : k + per_dispatch] for name, v in inputs.items()}
        state, metrics = mapped(state, data, parallel.shard(chunk, axis=1))
        collected += [jax.tree.map(lambda m, i=i: m[i], metrics) for i in range(per_dispatch)]
    return state, collected


def start(**changes):
    setup = position.prepare(tiny(**changes))
    state = setup.init_state()
    state = state.replace(opt_state=SGD.init(state.params))
    split = setup.dataset.train
    inputs = resident.inputs_at(0, 4, num_examples=len(split), batch_size=16, seed=0)
    return setup, state, inputs


MODELS = [
    {"head": "gapnet"},
    pytest.param({"head": "permutenet"}, marks=pytest.mark.slow),
    pytest.param(
        {"head": "permutenet", "permute_per": "example", "permute_at": "stage3"},
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda m: "-".join(m.values()))
def test_a_step_of_eight_devices_equals_that_of_one(model):
    setup, state, inputs = start(model=model)
    first = {name: v[:1] for name, v in inputs.items()}
    fresh = state.replace(opt_state=ONE_STEP.init(state.params))
    one, metrics_one = one_device_steps(setup, fresh, first, ONE_STEP)
    eight, metrics_eight = eight_device_steps(setup, fresh, first, 1, ONE_STEP)
    chex.assert_trees_all_close(one.batch_stats, eight.batch_stats, atol=1e-5)
    chex.assert_trees_all_close(one.params, eight.params, atol=1e-5)
    chex.assert_trees_all_close(metrics_one, metrics_eight, rtol=1e-4)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), state.params, eight.params)
    assert max(jax.tree.leaves(moved)) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS, ids=lambda m: "-".join(m.values()))
def test_steps_of_eight_devices_equal_those_of_one(model):
    setup, state, inputs = start(model=model)
    one, _ = one_device_steps(setup, state, inputs)
    eight, _ = eight_device_steps(setup, state, inputs, 1)
    chex.assert_trees_all_close(one.params, eight.params, atol=2e-5)
    assert int(eight.step) == 4


def test_steps_in_one_dispatch_equal_steps_one_by_one():
    setup, state, inputs = start()
    singly, metrics_singly = eight_device_steps(setup, state, inputs, 1)
    together, metrics_together = eight_device_steps(setup, state, inputs, 4)
    chex.assert_trees_all_close(singly.params, together.params, atol=1e-5)
    chex.assert_trees_all_close(metrics_singly, metrics_together, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("per_dispatch", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_both_mappings_give_the_same_steps(per_dispatch):
    setup, state, inputs = start(model={"head": "permutenet"})
    found = {}
    for mapping in parallel.MAPPINGS:
        with parallel.use(mapping):
            found[mapping] = eight_device_steps(setup, state, inputs, per_dispatch)
    (state_pmap, metrics_pmap), (state_shard_map, metrics_shard_map) = found.values()
    chex.assert_trees_all_close(state_pmap, state_shard_map, atol=1e-6, rtol=1e-6)
    chex.assert_trees_all_close(metrics_pmap, metrics_shard_map, rtol=1e-6)
    # The statistics are of the whole batch: no device's own mean would be near both.
    one, _ = one_device_steps(setup, state, inputs)
    chex.assert_trees_all_close(one.batch_stats, state_shard_map.batch_stats, atol=1e-5)


def test_both_mappings_give_the_same_answers():
    setup, state, _ = start()
    split = setup.dataset.val
    data = parallel.replicate(setup.data_of(split))
    inputs = parallel.shard({"index": np.arange(24, dtype=np.int32)})
    found = {}
    for mapping in parallel.MAPPINGS:
        with parallel.use(mapping):
            run = parallel.map_batch(position.make_validate_batch(setup.design))
        found[mapping] = parallel.unshard(run(state.variables, data, inputs))
    chex.assert_trees_all_close(found["pmap"], found["shard_map"], rtol=1e-6)
    # Row by row as without any mapping: a wrong order of devices would show.
    plain = position.make_validate_batch(setup.design)(
        state.variables, setup.data_of(split), {"index": np.arange(24, dtype=np.int32)}
    )
    np.testing.assert_allclose(found["shard_map"]["loss"], plain["loss"], rtol=1e-4)
    assert len(set(found["shard_map"]["loss"].tolist())) > 12


def test_a_mapping_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="one of pmap, shard_map; got 'vmap'"):
        with parallel.use("vmap"):
            pass


@pytest.mark.parametrize("mapping", slow_but_first(parallel.MAPPINGS))
def test_the_given_state_is_donated_and_the_data_are_not(mapping):
    setup, state, inputs = start()
    loss_fn = position.make_loss_fn(setup.design, parallel.AXIS)
    step = make_train_step(loss_fn, SGD, fetch_of(setup), parallel.AXIS)
    data = parallel.replicate(setup.dataset.train.resident())
    given = parallel.replicate(jax.tree.map(np.array, state))
    with parallel.use(mapping):
        mapped = parallel.map_train_step(step)
    mapped(given, data, parallel.shard({n: v[:1] for n, v in inputs.items()}, axis=1))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(given.params))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(data))


@pytest.mark.parametrize("mapping", parallel.MAPPINGS)
def test_the_state_comes_back_replicated_and_the_data_are_kept(mapping):
    setup, state, inputs = start()
    first = {name: v[:1] for name, v in inputs.items()}
    with parallel.use(mapping):
        state, _ = eight_device_steps(setup, state, first, 1)
    leaf = jax.tree.leaves(state.params)[0]
    shards = [np.asarray(s.data) for s in leaf.addressable_shards]
    assert len(shards) == 8
    assert all(np.array_equal(shards[0], s) for s in shards)


@pytest.mark.parametrize("mapping", parallel.MAPPINGS)
def test_the_step_is_compiled_once(mapping):
    chex.clear_trace_counter()
    setup, state, inputs = start()
    loss_fn = position.make_loss_fn(setup.design, parallel.AXIS)
    loss_fn = chex.assert_max_traces(loss_fn, n=1)
    step = make_train_step(loss_fn, SGD, fetch_of(setup), parallel.AXIS)
    with parallel.use(mapping):
        mapped = parallel.map_train_step(step)
    data = parallel.replicate(setup.dataset.train.resident())
    state = parallel.replicate(jax.tree.map(np.array, state))
    for k in range(3):
        chunk = {name: v[k : k + 1] for name, v in inputs.items()}
        state, _ = mapped(state, data, parallel.shard(chunk, axis=1))


def test_shard_and_unshard_are_inverse():
    tree = {"a": np.arange(48).reshape(16, 3)}
    chex.assert_trees_all_equal(parallel.unshard(parallel.shard(tree)), tree)


@pytest.mark.parametrize(
    ("batch_size", "message"),
    [
        (12, r"multiple of the 8 devices; got 12 \(the nearest are 8 and 16\)"),
        (5, r"got 5 \(the nearest are 8\)"),
        (800, "at most the 160 training images; got 800"),
    ],
)
def test_batches_that_cannot_be_made_are_refused(batch_size, message):
    with pytest.raises(InputError, match=message):
        position.prepare(tiny(train={"batch_size": batch_size}))


def test_every_epoch_visits_each_example_once_in_another_order():
    rows = resident.inputs_at(0, 20, num_examples=160, batch_size=16, seed=1)["index"]
    first, second = rows[:10].ravel(), rows[10:].ravel()
    np.testing.assert_array_equal(np.sort(first), np.arange(160))
    np.testing.assert_array_equal(np.sort(second), np.arange(160))
    assert not np.array_equal(first, second)
    later = resident.inputs_at(13, 2, num_examples=160, batch_size=16, seed=1)["index"]
    np.testing.assert_array_equal(later, rows[13:15])
    other = resident.inputs_at(0, 10, num_examples=160, batch_size=16, seed=2)["index"]
    assert not np.array_equal(other.ravel(), first)


def test_padded_batches_cover_every_row_once():
    batches = resident.padded_batches(10, 4)
    kept = np.concatenate([b["index"][b["mask"]] for b in batches])
    np.testing.assert_array_equal(kept, np.arange(10))
    assert {len(b["index"]) for b in batches} == {4}


@pytest.mark.parametrize("kind", ["images", "pixels"])
def test_the_devices_of_a_cpu_share_the_only_copy_of_the_data(kind):
    # One byte off: such an array would be copied once for every device.
    room = np.zeros(64 * 32 * 32 * 3 + 1, np.uint8)[1:].reshape(64, 32, 32, 3)
    if kind == "images":
        split = ArraySplit(room, np.zeros(64, np.int32))
    else:
        split = ArraySplit(room, room[..., 0], tuple(map(str, range(64))))
    held = parallel.replicate(split.take(np.arange(60)).resident() | {"all": split.images})
    assert len(held["all"].addressable_shards) == 8
    assert {s.data.unsafe_buffer_pointer() for s in held["all"].addressable_shards} == {
        split.images.ctypes.data
    }
    # Those of `take` have their own memory, which lives as long as the arrays do.
    assert len({s.data.unsafe_buffer_pointer() for s in held["images"].addressable_shards}) == 1
