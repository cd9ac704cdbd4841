"""Networks on maps that share their background do what they do on whole canvases."""

import functools
import operator

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpool_jax import models, ops
from gpool_jax.experiments.position import exhaustive
from gpool_jax.experiments.position import training as position
from gpool_jax.models.cost import count_flops
from gpool_jax.models.factory import Classifier
from gpool_jax.models.heads import LinearHead
from gpool_jax.models.resnet import Bottleneck, ResNet
from gpool_jax.ops import SharedBackground, shared_background
from tests import fusions
from tests.helpers import slow_but_first, tiny

KEY = jax.random.key(0)


def stimulus(n, side, batch=8):
    """Images, and cells: corners, edges and the centre first."""
    cells = [0, n // 2, n * n // 2, n * n - 1, n - 1, n * n - 2, n, n + 1]
    images = jax.random.normal(KEY, (batch, side, side, 3))
    return images, jnp.resize(jnp.array(cells), batch)


def small(*, permute_at="gap", **options):
    """Two stages of one block: quick to compile."""
    net = ResNet((1, 1), (4, 6), **options)
    return Classifier(net, LinearHead(5), permute_at=permute_at)


def initialise(model, n, side, channels=3):
    """Variables whose statistics, scales and biases are not the initial 0 and 1."""
    variables = jax.jit(model.init)(KEY, jnp.zeros((1, n * side, n * side, channels)))
    noise = np.random.default_rng(0)

    def vary(path, leaf):
        if path[-1].key == "kernel":
            return leaf
        return leaf * noise.uniform(0.7, 1.4, leaf.shape) + noise.uniform(0.0, 0.3, leaf.shape)

    varied = jax.tree_util.tree_map_with_path(vary, variables)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), varied)


def make_loss(model, put, cell, n, train, permutation=None):
    """A loss that every feature has a part in, and all that the network gives."""

    def loss_fn(params, batch_stats, images):
        (logits, features), updates = model.apply(
            {"params": params, "batch_stats": batch_stats},
            put(images, cell, n),
            train=train,
            permutation=permutation,
            mutable=["batch_stats"],
        )
        loss = logits.var()
        for i, feature in enumerate(jax.tree.leaves(features)):
            weights = jnp.asarray(np.random.default_rng(i).normal(size=feature.shape))
            loss += (feature * weights.astype(feature.dtype)).sum() / feature.size**0.5
        return loss, {"logits": logits, "features": features, "updates": updates}

    return loss_fn


def run(model, variables, put, images, cell, n, *, train, permutation=None, fused=False):
    """Outputs and gradients; `fused`: as a user's are compiled, so that equal work is equal."""
    loss_fn = make_loss(model, put, cell, n, train, permutation)
    args = (variables["params"], variables["batch_stats"], images)
    options = fusions.WITH if fused else None
    step = jax.jit(jax.value_and_grad(loss_fn, has_aux=True), compiler_options=options)
    (_, out), grads = step(*args)
    return out | {"grads": grads}


def assert_same(found, expected, tolerance):
    """Leaf by leaf, within a share of the leaf's largest value."""
    chex.assert_trees_all_equal_shapes_and_dtypes(found, expected)

    def close(path, a, b):
        a, b = (np.asarray(leaf, np.float64) for leaf in (a, b))
        # In float32, what batch statistics send back cancels: less of it is left exact.
        factor = 10 if path[0] == jax.tree_util.DictKey("grads") and tolerance == 1e-5 else 1
        bound = factor * tolerance * max(np.abs(b).max(), 1e-8)
        np.testing.assert_allclose(a, b, rtol=0, atol=bound, err_msg=str(path))

    jax.tree_util.tree_map_with_path(close, found, expected)


def test_composed_windows_are_the_placed_images():
    for n in (1, 2, 3):
        images, cell = stimulus(n, 4)
        cell = cell % n**2
        np.testing.assert_array_equal(
            ops.compose(ops.place_shared(images, cell, n)), ops.place(images, cell, n)
        )


def test_images_that_are_not_square_are_placed_whole():
    images, cell = jnp.ones((2, 4, 6, 1)), jnp.array([0, 3])
    found = ops.place_shared(images, cell, 2)
    np.testing.assert_array_equal(found, ops.place(images, cell, 2))


def wide(n, side, before, after):
    """Maps as they stand amid a network, one image in every cell; windows hold junk outside."""
    rng, batch = np.random.default_rng(0), n * n
    size = before + side + after
    return SharedBackground(
        jnp.asarray(rng.normal(size=(1, n * side, n * side, 2)), jnp.float32),
        jnp.asarray(rng.normal(size=(batch, size, size, 2)), jnp.float32),
        jnp.arange(batch),
        n,
        before,
    )


@pytest.mark.parametrize(("before", "after"), [(0, 0), (1, 2), (4, 3)])
@pytest.mark.parametrize(("size", "stride"), [(7, 2), (3, 1), (3, 2), (1, 1), (1, 2)])
def test_windows_of_a_convolution_are_exact_and_hold_all_that_changes(size, stride, before, after):
    x = wide(4, 8, before, after)
    kernel = jnp.asarray(np.random.default_rng(1).normal(size=(size, size, 2, 3)), jnp.float32)

    @jax.jit
    def both(x):
        shared = ops.conv2d(x, kernel, stride=stride)
        return shared, ops.compose(shared), ops.conv2d(ops.compose(x), kernel, stride=stride)

    shared, found, expected = both(x)
    assert isinstance(shared, SharedBackground)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # No wider than what an image amid the canvas has an influence on.
    changed = np.abs(expected[5] - shared.background[0]).max(-1) > 1e-6
    assert changed.any(0).sum() == changed.any(1).sum() == shared.window.shape[1]


def test_sums_moments_and_subsamples_are_those_of_the_whole_maps():
    x, y = wide(3, 8, 1, 2), wide(3, 8, 4, 3)
    whole = [np.asarray(ops.compose(z)) for z in (x, y)]
    np.testing.assert_allclose(ops.compose(x + y), sum(whole), atol=1e-6)
    np.testing.assert_allclose(x + ops.compose(y), sum(whole), atol=1e-6)
    np.testing.assert_allclose(ops.compose(x) + y, sum(whole), atol=1e-6)
    for channel in (np.ones((1, 1, 1, 2), np.float32), jnp.full((1, 1, 1, 2), 3.0)):
        np.testing.assert_allclose(ops.compose(x + channel), whole[0] + channel, atol=1e-6)
    np.testing.assert_array_equal(ops.compose(ops.subsample(y, stride=2)), whole[1][:, ::2, ::2])
    mean, square = ops.moments(y)
    np.testing.assert_allclose(mean, whole[1].mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(square, (whole[1] ** 2).mean((0, 1, 2)), rtol=1e-5)


NETWORKS = {
    "resnet18": ({"name": "resnet18"}, 3, 16, True),
    "resnet18-eval": ({"name": "resnet18"}, 5, 16, False),
    "resnet50": ({"name": "resnet50"}, 5, 16, True),
    "cifar_resnet20": ({"name": "cifar_resnet20", "width": 1 / 4}, 3, 16, True),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", NETWORKS)
def test_networks_answer_learn_and_keep_statistics_alike(case):
    """In float64, where a wrong pixel cannot hide among rounding errors."""
    options, n, side, train = NETWORKS[case]
    options = {"num_outputs": 9, "head": "gapnet", "width": 1 / 16} | options
    model = models.create(**options)
    variables = initialise(model, n, side)
    images, cell = stimulus(n, side)
    with jax.enable_x64(True):
        double = model.clone(
            backbone=model.backbone.clone(dtype=jnp.float64),
            head=model.head.clone(dtype=jnp.float64),
        )
        variables, images = jax.tree.map(lambda a: a.astype(jnp.float64), (variables, images))
        found, expected = (
            run(double, variables, put, images, cell, n, train=train)
            for put in (ops.place_shared, ops.place)
        )
        pooled = {
            k: (v.pop("logits"), v["features"].pop("gap"))
            for k, v in (("found", found), ("expected", expected))
        }
        assert_same(found, expected, 1e-6)
        assert_same(pooled["found"], pooled["expected"], 1e-6)


@pytest.mark.slow
def test_float32_agrees_and_bfloat16_is_as_near_to_it_as_on_whole_canvases():
    outs = {}
    for dtype in ("float32", "bfloat16"):
        model = small(stem="conv3", dtype=models.DTYPES[dtype])
        variables = initialise(model, 3, 16)
        for put in (ops.place_shared, ops.place):
            outs[dtype, put] = run(model, variables, put, *stimulus(3, 16), 3, train=True)
    exact = outs["float32", ops.place]
    assert_same(outs["float32", ops.place_shared], exact, 1e-5)
    found, expected = outs["bfloat16", ops.place_shared], outs["bfloat16", ops.place]
    chex.assert_trees_all_equal_shapes_and_dtypes(found, expected)
    # Gradients in bfloat16 are off by a tenth either way.
    for name, bound in (("logits", 1e-2), ("features", 1e-2), ("updates", 1e-2), ("grads", 0.2)):
        assert distance(found[name], exact[name]) < bound
        assert distance(found[name], exact[name]) < 2 * distance(expected[name], exact[name])


def distance(found, exact):
    """Norm of the difference, as a share of the norm."""
    a, b = (
        np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)])
        for tree in (found, exact)
    )
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def test_work_is_saved():
    """By the pixels of windows and maps: 0.45 of the work of the whole program at n = 5."""
    model = models.create("resnet18", num_outputs=25, head="linear", width=1 / 16)
    variables = jax.eval_shape(model.init, KEY, jnp.zeros((1, 160, 160, 3)))
    shapes = jax.eval_shape(lambda: stimulus(5, 32, batch=48))

    def forward(variables, images, cell, put):
        return model.apply(variables, put(images, cell, 5))[0]

    shared, whole = (
        count_flops(functools.partial(forward, put=put), variables, *shapes)
        for put in (ops.place_shared, ops.place)
    )
    assert 0.3 < shared / whole < 0.5


FALLBACKS = {
    "circular padding": ({"padding": "circular"}, False),
    "max-pool": ({"stem": "conv7_pool"}, False),
    "antialias": ({"antialias": 3}, False),
    "dilation": ({"output_stride": 2}, True),
    "subsample": ({"shortcut": "subsample", "block": Bottleneck}, True),
}


@pytest.mark.parametrize("case", slow_but_first(FALLBACKS, quick=2))
def test_every_kind_of_layer_is_computed_or_falls_back(case):
    options, shares = FALLBACKS[case]
    model = small(**options)
    assert model.shares_background == shares
    variables = initialise(model, 3, 16)
    args = (*stimulus(3, 16), 3)
    outs = [
        run(model, variables, put, *args, train=True, fused=not shares)
        for put in (ops.place_shared, ops.place)
    ]
    assert_same(*outs, 1e-5 if shares else 0.0)


@pytest.mark.slow
def test_a_vgg_falls_back():
    model = models.create("vgg5", num_outputs=9, head="gapnet", width=1 / 16)
    assert not model.shares_background
    variables = initialise(model, 3, 8)
    args = (*stimulus(3, 8), 3)
    outs = [
        run(model, variables, put, *args, train=True, fused=True)
        for put in (ops.place_shared, ops.place)
    ]
    assert_same(*outs, 0.0)


@pytest.mark.parametrize("per", slow_but_first(["batch", "example"]))
def test_channels_are_permuted_alike_before_a_stage(per):
    model = small(permute_at="stage2")
    variables = initialise(model, 3, 16)
    images, cell = stimulus(3, 16)
    if per == "batch":
        permutation = ops.draw_permutation(KEY, 4)
    else:
        permutation = ops.draw_permutations(KEY, jnp.arange(8), 4)
    outs = [
        run(model, variables, put, images, cell, 3, train=True, permutation=permutation)
        for put in (ops.place_shared, ops.place)
    ]
    assert_same(*outs, 1e-5)


@pytest.mark.slow
def test_four_devices_that_share_equal_one_that_does_not():
    n, devices = 3, 4
    images, cell = stimulus(n, 16, batch=32)
    model = small()
    variables = initialise(model, n, 16)

    def step(put, model, images, cell):
        def loss_fn(params):
            (logits, _), updates = model.apply(
                {"params": params, "batch_stats": variables["batch_stats"]},
                put(images, cell, n),
                train=True,
                mutable=["batch_stats"],
            )
            return ops.cross_entropy(logits, cell % 5).mean(), updates

        grads, updates = jax.grad(loss_fn, has_aux=True)(variables["params"])
        return {"grads": grads, "updates": updates}

    def on_device(images, cell):
        out = step(ops.place_shared, small(axis_name="data"), images, cell)
        return out | {"grads": jax.lax.pmean(out["grads"], "data")}

    expected = jax.jit(functools.partial(step, ops.place, model))(images, cell)
    share = [a.reshape(devices, -1, *a.shape[1:]) for a in (images, cell)]
    found = jax.pmap(on_device, axis_name="data", devices=jax.devices()[:devices])(*share)
    for device in (0, 3):
        own = jax.tree.map(operator.itemgetter(device), found)
        assert_same(own, expected, 1e-5)


@pytest.mark.parametrize(("name", "side", "shared"), [("resnet18", 24, True), ("vgg5", 24, False)])
def test_what_the_network_is_handed_follows_the_network(name, side, shared):
    setup = position.prepare(tiny(data={"side": side}, model={"name": name, "width": 1 / 16}))
    x = position.place(setup.design, *stimulus(3, side))
    assert isinstance(x, SharedBackground) == shared
    np.testing.assert_array_equal(ops.compose(x), ops.place(*stimulus(3, side), 3))


def test_sharing_pays_on_a_cpu_and_elsewhere_on_larger_canvases():
    assert ops.sharing_pays(3, 32, "cpu")
    assert not ops.sharing_pays(3, 8, "cpu")
    assert not ops.sharing_pays(1, 224, "cpu")
    assert not ops.sharing_pays(3, 32, "gpu")
    assert ops.sharing_pays(5, 32, "tpu")


def test_cells_that_a_stride_does_not_divide_are_computed_whole():
    x = wide(3, 5, 1, 1)
    kernel = jnp.asarray(np.random.default_rng(1).normal(size=(3, 3, 2, 3)), jnp.float32)
    found = ops.conv2d(x, kernel, stride=2)
    np.testing.assert_array_equal(found, ops.conv2d(ops.compose(x), kernel, stride=2))
    np.testing.assert_array_equal(ops.subsample(x, stride=2), ops.compose(x)[:, ::2, ::2])


@pytest.mark.slow
def test_the_exact_evaluation_answers_alike(monkeypatch):
    setup = position.prepare(
        tiny(data={"side": 24}, model={"name": "cifar_resnet20", "width": 1 / 4})
    )
    variables = initialise(setup.model, 3, 24, channels=1)
    data = setup.constants | {"resident": {"images": jnp.asarray(setup.dataset.test.images[:6])}}
    inputs = {"index": jnp.arange(4), "mask": jnp.array([True, True, True, False])}
    with monkeypatch.context() as patch:
        patch.setattr(shared_background, "LEAST_CANVAS_CPU", 1000)
        expected = jax.jit(exhaustive.make_evaluate_batch(setup.design))(variables, data, inputs)
    evaluate = exhaustive.make_evaluate_batch(setup.design)
    args = (variables, data, inputs)
    assert isinstance(position.place(setup.design, *stimulus(3, 24)), SharedBackground)
    found = jax.jit(evaluate)(*args)
    np.testing.assert_array_equal(found.pop("kept"), expected.pop("kept"))
    assert_same(found, expected, 1e-5)
