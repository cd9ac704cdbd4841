"""Networks: named features, precision, padding, permutation, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpool_jax import models, ops
from gpool_jax.errors import InputError
from tests.helpers import slow_but_first

KEY = jax.random.key(0)


def create(name="resnet18", *, head="linear", width=1 / 16, **options):
    return models.create(name, num_outputs=9, head=head, width=width, **options)


def apply(model, variables, x, *, permutation=None, **static):
    """`model.apply` under jit: op by op it compiles for minutes."""
    run = jax.jit(lambda v, x, p: model.apply(v, x, permutation=p, **static))
    return run(variables, x, permutation)


def initialise(model, side=32, batch=2):
    x = jax.random.normal(KEY, (batch, side, side, 3))
    return jax.jit(model.init)(KEY, x), x


# Parameters of the published networks with 1,000 (torchvision) or 10 outputs.
PUBLISHED = {
    ("resnet18", 1000): 11_689_512,
    ("resnet34", 1000): 21_797_672,
    ("resnet50", 1000): 25_557_032,
    ("resnet101", 1000): 44_549_160,
    # He et al., table 6, count 0.27, 0.46, 0.66, 0.85 and 1.7 million.
    ("cifar_resnet20", 10): 269_722,
    ("cifar_resnet32", 10): 464_154,
    ("cifar_resnet44", 10): 658_586,
    ("cifar_resnet56", 10): 853_018,
    ("cifar_resnet110", 10): 1_727_962,
}


@pytest.mark.parametrize(("name", "outputs"), PUBLISHED)
def test_parameter_counts_are_the_published_ones(name, outputs):
    model = models.create(name, num_outputs=outputs, head="linear")
    shapes = jax.eval_shape(model.init, KEY, jnp.zeros((1, 64, 64, 3)))
    assert sum(p.size for p in jax.tree.leaves(shapes["params"])) == PUBLISHED[(name, outputs)]


@pytest.mark.parametrize("name", models.MODELS)
def test_features_are_named_and_strides_are_as_stated(name):
    model = create(name)
    stages = {"cifar_": 3, "vgg5": 4, "vgg": 5}
    count = next((v for k, v in stages.items() if name.startswith(k)), 4)
    x = jnp.zeros((2, 64, 64, 3))
    logits, features = jax.eval_shape(lambda: model.init_with_output(KEY, x)[0])
    expected = {"stem", "pre_gap", "gap", *(f"stage{i + 1}" for i in range(count))}
    assert set(features) == expected
    side = 64 // model.backbone.total_stride
    assert features["pre_gap"].shape == (2, side, side, model.backbone.channels["gap"])
    assert features["gap"].shape == (2, model.backbone.channels["gap"])
    assert logits.shape == (2, 9)


@pytest.mark.parametrize(
    ("stem", "side"), [("conv7", 16), ("conv7_pool", 8), ("conv3", 32), ("conv3_pool", 16)]
)
def test_stems(stem, side):
    shapes = jax.eval_shape(
        lambda: create(stem=stem).init_with_output(KEY, jnp.zeros((1, 32, 32, 3)))[0][1]
    )
    assert shapes["stem"].shape[1] == side


def test_the_latent_is_the_mean_of_the_last_map_for_every_head():
    for head in ("gapnet", "linear"):
        model = create("vgg5", head=head)
        variables, x = initialise(model)
        _, features = apply(model, variables, x)
        expected = np.asarray(features["pre_gap"], np.float64).mean((1, 2))
        np.testing.assert_allclose(features["gap"], expected, atol=1e-5)


def test_gapnet_pools_after_its_convolution():
    model = create("vgg5", head="gapnet")
    variables, x = initialise(model)
    logits, features = apply(model, variables, x)
    head = variables["params"]["head"]["pre_classifier"]
    maps = ops.conv2d(features["pre_gap"], head["kernel"]) + head["bias"][None, None, None]
    np.testing.assert_allclose(logits, np.asarray(maps).mean((1, 2)), atol=1e-5)
    with pytest.raises(ValueError, match="the head 'gapnet' pools last"):
        apply(model, variables, x, permutation=jnp.arange(model.num_permutable))


def test_permuting_the_latent_is_permuting_the_rows_of_the_linear_layer():
    model = create("vgg5", head="permutenet")
    variables, x = initialise(model)
    count = model.num_permutable
    permutation = ops.draw_permutation(KEY, count)
    logits, features = apply(model, variables, x, permutation=permutation)
    head = variables["params"]["head"]["classifier"]
    expected = features["gap"] @ head["kernel"][jnp.argsort(permutation)] + head["bias"][None]
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    again = apply(model, variables, features, permutation=permutation, method="classify")
    np.testing.assert_allclose(logits, again, atol=1e-6)
    kept, _ = apply(model, variables, x, permutation=jnp.arange(count))
    plain, _ = apply(model, variables, x)
    np.testing.assert_allclose(kept, plain, atol=1e-6)
    assert float(jnp.abs(logits - plain).max()) > 1e-4


@pytest.mark.parametrize("point", slow_but_first(["stage3", "stage2"]))
def test_permuting_before_a_stage_is_permuting_the_weights_that_read_it(point):
    model = create(head="gapnet", permute_at=point)
    variables, x = initialise(model)
    permutation = jnp.roll(jnp.arange(model.num_permutable)[::-1], 1)
    logits, _ = apply(model, variables, x, permutation=permutation)
    plain, _ = apply(model, variables, x)
    assert float(jnp.abs(logits - plain).max()) > 1e-5
    params = jax.tree.map(lambda leaf: leaf, variables["params"])
    block = params["backbone"][f"{point}_block0"]
    for layer in ("conv1", "shortcut_conv"):
        block[layer]["kernel"] = block[layer]["kernel"][:, :, jnp.argsort(permutation)]
    expected, _ = apply(model, variables | {"params": params}, x)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    each = jnp.stack([permutation] * 2)
    found, _ = apply(model, variables, x, permutation=each)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow
def test_bfloat16_computes_in_bfloat16_and_keeps_float32_where_it_matters():
    plain, half = create(), create(dtype="bfloat16")
    variables, x = initialise(plain)
    logits, features = apply(half, variables, x)
    assert features["stage1"].dtype == jnp.bfloat16
    assert features["gap"].dtype == logits.dtype == jnp.float32
    expected, _ = apply(plain, variables, x)
    np.testing.assert_allclose(logits, expected, atol=3e-2)
    made = jax.eval_shape(half.init, KEY, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype("float32")}


def test_batch_statistics_move_with_pytorchs_momentum():
    model = create()
    variables, x = initialise(model)
    _, updates = apply(model, variables, x, train=True, mutable=["batch_stats"])
    kernel = variables["params"]["backbone"]["conv1"]["kernel"]
    mean = np.asarray(ops.conv2d(x, kernel, stride=2)).mean((0, 1, 2))
    found = updates["batch_stats"]["backbone"]["bn1"]["norm"]["mean"]
    np.testing.assert_allclose(found, 0.1 * mean, atol=1e-6)


def test_initial_weights_have_pytorchs_default_range():
    model = create("vgg5", width=0.5, head="gapnet")
    variables, _ = initialise(model)
    kernel = np.asarray(variables["params"]["backbone"]["stage3_conv0"]["kernel"])
    bound = 1 / np.sqrt(np.prod(kernel.shape[:3]))
    assert 0.98 * bound < np.abs(kernel).max() <= bound * 1.0001
    np.testing.assert_allclose(kernel.std(), bound / np.sqrt(3), rtol=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "resnet19"}, r"`model.name` must be one of .*got 'resnet19'. Did you mean"),
        ({"head": "gap"}, r"`model.head` must be one of gapnet, .*Did you mean 'gapnet'"),
        ({"padding": "zero"}, r"`model.padding` must be one of .*Did you mean 'zeros'"),
        ({"stem": "conv5"}, r"`model.stem` must be one of"),
        ({"dtype": "float16"}, r"`model.dtype` must be one of"),
        ({"width": 0.0}, r"`model.width` must be in \(0, 64\]; got 0.0"),
        ({"permute_at": "stage9"}, r"`model.permute_at` must be one of stage1, .*gap"),
        ({"name": "vgg11", "stem": "conv3"}, r"`model.stem` is an option of resnet18..101 only"),
        ({"antialias_layout": "tim"}, r"`model.antialias_layout` must .*Did you mean 'timm'"),
        (
            {"name": "vgg11", "antialias": 3, "antialias_layout": "timm"},
            r"`model.antialias_layout` is an option of resnet18..101 only; got 'timm', vgg11",
        ),
        (
            {"padding": "circular", "antialias": 3, "antialias_layout": "zhang"},
            r"`model.padding` must be zeros with `model.antialias_layout` zhang, .*got 'circular'",
        ),
        ({"name": "vgg11", "permute_at": "stage1"}, r"`model.permute_at` must be one of stage2"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        create(**options)


def test_a_canvas_smaller_than_the_stride_is_refused():
    with pytest.raises(InputError, match=r"a canvas is 24 pixels wide; .* needs at least 32"):
        models.check_input_side(create("vgg11"), 24, "a canvas")
    with pytest.raises(InputError, match=r"padding 'reflect'\) needs at least 32"):
        models.check_input_side(create(padding="reflect"), 24, "a canvas")
    with pytest.raises(InputError, match="a canvas is 6400 pixels wide; at most 2048"):
        models.check_input_side(create(), 6400, "a canvas")
    models.check_input_side(create(), 16, "a canvas")
