"""DeepLab: PyTorch's answers, what dilates, dropout, and passes that start in the middle."""

import functools
import importlib.util
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import traverse_util

from gpool_jax import models, ops
from gpool_jax.errors import InputError
from gpool_jax.models.deeplab import drop_values
from gpool_jax.models.resnet import ResNet
from tests.golden import cases
from tests.golden.cases import make_array

GOLDEN = np.load(Path(__file__).parent / "golden" / "deeplab.npz")

KEY = jax.random.key(0)
SIZE = (49, 57)  # at output stride 16 a map of 4 x 4, at 8 one of 7 x 8
RATES = (1, 2, 3)  # of which every tap meets such a map
# Per stage, for short compilations; a dilated stage's first block differs from the others.
FEW_BLOCKS = (1, 1, 2, 2)
HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="torch is not installed")


def create(name="deeplabv3_resnet18", *, width=1 / 16, rates=RATES, **options):
    return models.create_segmenter(name, num_outputs=5, width=width, rates=rates, **options)


def compile_fast(fn, *args):
    """Under jit, but compiled in a hurry: these networks are small."""
    options = {"xla_backend_optimization_level": 0}
    return jax.jit(fn).lower(*args).compile(compiler_options=options)


def compiled(fn, *args):
    return compile_fast(fn, *args)(*args)


def draw_images(size=SIZE, batch=2):
    return np.random.default_rng(1).normal(size=(batch, *size, 3)).astype(np.float32)


def draw_variables(model, x):
    """As `init` makes them, but with every statistic off its default, and in no time."""
    flat = traverse_util.flatten_dict(jax.eval_shape(model.init, KEY, x), sep=".")
    ours = {"var": "running_var", "mean": "running_mean", "scale": "weight", "kernel": "weight"}
    out = {}
    for name, leaf in flat.items():
        *path, last = name.split(".")
        shape = leaf.shape[::-1] if last == "kernel" else leaf.shape  # fan-in stands behind
        values = make_array(".".join([*path, ours.get(last, last)]), shape)
        out[name] = values.T if last == "kernel" else values
    return traverse_util.unflatten_dict(out, sep=".")


# PyTorch


def torch_network(
    name, *, width, output_stride=16, rates=RATES, mode="zeros", outputs=5, sizes=None
):
    from benchmarks.torch_deeplab import DeepLab

    architecture, encoder = name.split("_")
    return DeepLab(
        encoder.removeprefix("resnet"),
        architecture == "deeplabv3plus",
        outputs,
        width=width,
        output_stride=output_stride,
        rates=rates,
        mode=mode,
        sizes=sizes,
    )


@functools.cache
def torch_answers(name, padding="zeros", sizes=FEW_BLOCKS, **options):
    """The network's arrays, every statistic off its default, and its answers in evaluation."""
    import torch

    network = torch_network(name, width=4, mode=padding, sizes=sizes, **options).eval()
    # Only the last layer, which has 5 outputs, is to be drawn small as a head is.
    arrays = {
        k: torch.from_numpy(make_array(k if len(v) == 5 else f"net.{k}", tuple(v.shape)))
        for k, v in network.state_dict().items()
        if v.ndim  # num_batches_tracked has none
    }
    network.load_state_dict(arrays, strict=False)
    with torch.no_grad():
        out = network(torch.from_numpy(draw_images()).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return network, out.numpy()


def assert_same_answers(name, layout, padding="zeros", **options):
    network, expected = torch_answers(name, padding, **options)
    # The answers must depend on image and place for the comparison to mean anything.
    assert np.abs(expected[0] - expected[1]).max() > 1e-2
    assert expected.std(axis=(1, 2)).max() > 1e-2
    assert np.abs(expected).max() < 30
    model, x = create(name, padding=padding, **options), draw_images()
    model = model.clone(backbone=model.backbone.clone(stage_sizes=FEW_BLOCKS))
    arrays = {k: v.numpy() for k, v in network.named_arrays(layout).items()}
    variables = models.from_torch(arrays, model, x.shape)
    logits, _ = compiled(model.apply, variables, x)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


@needs_torch
@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("encoder", ["resnet18", "resnet50"])
@pytest.mark.parametrize(
    ("architecture", "layout"),
    [("deeplabv3", "torchvision"), ("deeplabv3plus", "base code")],
)
def test_answers_are_those_of_pytorch(architecture, layout, encoder, output_stride):
    name = f"{architecture}_{encoder}"
    assert_same_answers(name, layout, output_stride=output_stride)


@needs_torch
@pytest.mark.parametrize("padding", [p for p in ops.PADDING_MODES if p != "zeros"])
def test_the_head_follows_the_padding_mode(padding):
    name = "deeplabv3_resnet18"
    assert_same_answers(name, "base code", padding, output_stride=8)
    a, b = (torch_answers(name, p, output_stride=8)[1] for p in (padding, "zeros"))
    assert np.abs(a - b).max() > 1e-2


@needs_torch
def test_both_layouts_give_the_same_variables(tmp_path):
    import torch

    network, _ = torch_answers("deeplabv3_resnet18", sizes=None)
    model = create()
    torchvision = dict(network.named_arrays("torchvision"))
    torchvision["aux_classifier.0.weight"] = torch.zeros(4, 16, 3, 3)
    base = {f"module.{k}": v for k, v in network.named_arrays("base code").items()}
    # What the reference's base code saves: a NumPy number stands among the tensors.
    saved = {"cur_itrs": 3, "model_state": base, "best_score": np.float64(0.5)}
    torch.save(saved, tmp_path / "w.pth")
    read = models.read_state_dict(tmp_path / "w.pth")
    variables = [models.from_torch(w, model, (1, *SIZE, 3)) for w in (torchvision, read)]
    jax.tree.map(np.testing.assert_array_equal, *variables)


@pytest.mark.parametrize("name", cases.DEEPLABS)
def test_answers_are_those_that_pytorch_gave(name):
    """The golden arrays, for machines without PyTorch; the file tells which network it is."""
    layout, output_stride = cases.DEEPLABS[name]
    shapes = json.loads(str(GOLDEN["shapes"]))[name]
    weights = {k: cases.make_deeplab_array(k, tuple(shape)) for k, shape in shapes.items()}
    found = models.describe_segmenter(weights)
    assert (found["name"], found["layout"], found["num_outputs"]) == (name, layout, 5)
    assert found["width"] == 1 / 16
    model = create(name, output_stride=output_stride)
    x = cases.make_input()[:, :, :49, :57].transpose(0, 2, 3, 1)
    variables = models.from_torch(weights, model, x.shape)
    logits, _ = compiled(model.apply, variables, x)
    expected = GOLDEN[name]
    assert np.abs(expected[0] - expected[1]).max() > 1e-2
    np.testing.assert_allclose(np.asarray(logits)[:, ::4, ::4], expected, rtol=0, atol=1e-4)


def names_only(name, layout="base code", *, width=4, outputs=5):
    """The names and shapes of a file, without its values."""
    import torch

    with torch.device("meta"):
        network = torch_network(name, width=width, outputs=outputs)
    arrays = network.named_arrays(layout)
    return {k: np.broadcast_to(np.float32(0), tuple(v.shape)) for k, v in arrays.items()}


@needs_torch
@pytest.mark.parametrize("name", models.SEGMENTERS)
def test_describe_reads_the_network_off_the_names(name):
    layouts = {"base code": (16, (6, 12, 18)), "torchvision": (8, (12, 24, 36))}
    if name.startswith("deeplabv3plus"):
        del layouts["torchvision"]
    for layout, (output_stride, rates) in layouts.items():
        weights = names_only(name, layout, width=8, outputs=7)
        found = models.describe_segmenter({"model_state": weights})
        summary = found.pop("summary")
        assert found.pop("layout") == layout
        assert found.pop("ignored") == []
        assert found == {
            "name": name,
            "num_outputs": 7,
            "width": 0.125,
            "stem": "conv7_pool",
            "output_stride": output_stride,
            "rates": rates,
        }
        model = models.create_segmenter(**found)
        models.from_torch(weights, model, (1, *SIZE, 3))
    assert name.removeprefix("deeplabv3").strip("plus_").replace("resnet", "ResNet-") in summary
    assert "\n" not in summary


@needs_torch
def test_describe_says_what_it_ignores_and_what_the_weights_do_not_tell():
    weights = names_only("deeplabv3_resnet50", "torchvision")
    weights |= {f"aux_classifier.{i}.weight": np.zeros(1) for i in range(3)}
    found = models.describe_segmenter(weights)
    assert found["ignored"] == [f"aux_classifier.{i}.weight" for i in range(3)]
    assert found["summary"] == (
        "DeepLabv3 with ResNet-50 in the names of torchvision: 5 classes, width 0.0625; output "
        "stride 8 and rates 12, 24, 36 are its defaults, which the weights do not tell; 3 arrays "
        "of aux_classifier are not used."
    )


@needs_torch
def test_weights_that_are_no_known_deeplab_are_refused():
    weights = names_only("deeplabv3_resnet18")
    with pytest.raises(InputError, match="no DeepLab head among the names"):
        models.describe_segmenter({"fc.weight": np.zeros((2, 2))})
    with pytest.raises(InputError, match="no DeepLab head among the names"):
        models.from_torch({"fc.weight": np.zeros((2, 2))}, create(), (1, *SIZE, 3))
    with pytest.raises(InputError, match=r"the encoder is none of .* no backbone.layer1"):
        models.describe_segmenter({k: v for k, v in weights.items() if "layer" not in k})
    fewer = {k: v for k, v in weights.items() if "layer3.1" not in k}
    with pytest.raises(InputError, match=r"the names hold BasicBlock x 2, 2, 1, 2"):
        models.describe_segmenter(fewer)
    del weights["backbone.conv1.weight"]
    with pytest.raises(InputError, match=r"`weights`: backbone.conv1.weight, a convolution's"):
        models.describe_segmenter(weights)


@needs_torch
def test_every_mismatch_is_listed_in_one_error():
    weights = names_only("deeplabv3plus_resnet18")
    del weights["classifier.aspp.convs.4.2.bias"]
    del weights["backbone.layer4.0.downsample.0.weight"]
    weights["extra.weight"] = np.zeros(3)
    weights["classifier.project.0.weight"] = np.zeros((3, 9, 1, 1))
    with pytest.raises(InputError) as error:
        models.from_torch(weights, create("deeplabv3plus_resnet18"), (1, *SIZE, 3))
    for part in (
        "2 missing: backbone.layer4.0.downsample.0.weight, classifier.aspp.convs.4.2.bias;",
        "1 unexpected: extra.weight;",
        "classifier.project.0.weight (1, 1, 9, 3), not (1, 1, 4, 3).",
    ):
        assert part in str(error.value)
    other = names_only("deeplabv3_resnet18")
    with pytest.raises(InputError, match=r"missing: .*aspp.*unexpected: classifier.classifier.0"):
        models.from_torch(other, create("deeplabv3plus_resnet18"), (1, *SIZE, 3))


# The network


# torchvision's, 42,004,074 and 60,996,202, less the auxiliary head's 2,365,205.
@pytest.mark.parametrize(("depth", "count"), [(50, 39_638_869), (101, 58_630_997)])
def test_parameter_counts_are_torchvisions(depth, count):
    model = models.create_segmenter(f"deeplabv3_resnet{depth}", num_outputs=21)
    shapes = jax.eval_shape(model.init, KEY, jnp.zeros((1, 64, 64, 3)))
    assert sum(p.size for p in jax.tree.leaves(shapes["params"])) == count


@pytest.mark.parametrize(
    ("stem", "output_stride", "sides"),
    [
        ("conv7_pool", 16, (17, 9, 5, 5)),
        ("conv7_pool", 8, (17, 9, 9, 9)),
        ("conv7", 16, (33, 17, 9, 5)),
        ("conv7", 8, (33, 17, 9, 9)),
        ("conv3", 8, (65, 33, 17, 9)),
    ],
)
def test_the_output_stride_is_reached(stem, output_stride, sides):
    model = create(stem=stem, output_stride=output_stride)
    x = jnp.zeros((2, 65, 65, 3))
    logits, features = jax.eval_shape(lambda: model.init_with_output(KEY, x)[0])
    assert logits.shape == (2, 65, 65, 5)
    assert tuple(features[f"stage{i}"].shape[1] for i in range(1, 5)) == sides
    assert features["pre_gap"].shape == features["stage4"].shape
    assert set(features) == {"stem", "stage1", "stage2", "stage3", "stage4", "pre_gap", "gap"}
    assert model.backbone.total_stride == output_stride


@pytest.mark.parametrize("antialias", [0, 3])
def test_a_stage_that_dilates_does_not_blur(antialias):
    model = create("deeplabv3plus_resnet50", output_stride=8, antialias=antialias)
    x = jnp.zeros((1, *SIZE, 3))
    logits, features = jax.eval_shape(lambda: model.init_with_output(KEY, x)[0])
    assert features["pre_gap"].shape == (1, 7, 8, 128)
    assert logits.shape == (1, *SIZE, 5)


def test_bfloat16_keeps_float32_where_it_matters():
    model = create("deeplabv3plus_resnet18", dtype="bfloat16")
    x = jnp.zeros((1, *SIZE, 3))
    (logits, features), made = jax.eval_shape(lambda: model.init_with_output(KEY, x))
    assert features["pre_gap"].dtype == jnp.bfloat16
    assert features["gap"].dtype == logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "deeplabv3_resnet19"}, r"`model.name` must be one of .*Did you mean"),
        ({"name": "resnet18"}, r"`model.name` must be one of deeplabv3_resnet18, "),
        ({"output_stride": 32}, r"`model.output_stride` must be one of 8, 16; got 32"),
        ({"stem": "conv3"}, r"`model.output_stride`: stem 'conv3' .* give 1, 2, 4, 8; got 16"),
        ({"rates": (6, 12)}, r"`model.rates` must be three whole numbers above 0; got \(6, 12\)"),
        ({"rates": (6, 0, 12)}, r"`model.rates` must be three"),
        ({"dropout": 1.0}, r"`model.dropout` must be in \[0, 1\); got 1.0"),
        ({"padding": "zero"}, r"`model.padding` must be one of .*Did you mean 'zeros'"),
        ({"stem": "conv5"}, r"`model.stem` must be one of"),
        ({"width": 0.0}, r"`model.width` must be in \(0, 64\]; got 0.0"),
        ({"antialias": 6}, r"`model.antialias` must be one of 0, 2, 3, 4, 5"),
        ({"dtype": "float16"}, r"`model.dtype` must be one of"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        create(**options)


def test_a_cifar_resnet_cannot_reach_a_large_stride():
    net = ResNet((1, 1, 1), (2, 4, 8), stem="conv3", shortcut="subsample", output_stride=8)
    with pytest.raises(InputError, match=r"`model.output_stride`: .* 3 stages can give 1, 2, 4"):
        net.init(KEY, jnp.zeros((1, 32, 32, 3)))


# Training: dropout and running statistics


def test_dropout_drops_that_share_and_keeps_the_mean():
    keys = ops.example_keys(KEY, jnp.arange(3))
    dropped = np.asarray(drop_values(jnp.ones((3, 40, 40, 4)), keys, 0.25))
    np.testing.assert_allclose(np.unique(dropped), [0.0, 1 / 0.75], rtol=1e-6)
    # 6,400 draws an example: five standard errors of a share of a quarter are 0.027.
    np.testing.assert_allclose((dropped == 0).mean(axis=(1, 2, 3)), 0.25, atol=0.027)
    assert (dropped[0] != dropped[1]).mean() > 0.3
    assert (dropped[..., 0] != dropped[..., 1]).mean() > 0.3  # values, not whole pixels


def test_what_is_dropped_does_not_depend_on_how_the_batch_is_cut():
    x = jnp.ones((4, 3, 5, 2))
    keys = ops.example_keys(KEY, jnp.arange(4))
    whole = drop_values(x, keys, 0.5)
    parts = [drop_values(x[i : i + 2], keys[i : i + 2], 0.5) for i in (0, 2)]
    np.testing.assert_array_equal(whole, jnp.concatenate(parts))


@pytest.fixture(scope="module")
def trained():
    """A pass in training mode over one image four times, two of them with the same key."""
    model, x = (
        create("deeplabv3plus_resnet18", dropout=0.5),
        np.repeat(draw_images(batch=1), 4, axis=0),
    )
    variables = draw_variables(model, x)
    keys = ops.example_keys(KEY, jnp.array([0, 0, 1, 2]))

    def run(v, images, k):
        return model.apply(v, images, train=True, dropout_keys=k, mutable=["batch_stats"])

    return model, variables, x, compiled(run, variables, x, keys)


def test_each_example_drops_by_its_own_key(trained):
    _, _, _, ((logits, features), _) = trained
    np.testing.assert_array_equal(features["pre_gap"][0], features["pre_gap"][2])
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-5)
    for a, b in ((0, 2), (0, 3), (2, 3)):
        assert float(jnp.abs(logits[a] - logits[b]).max()) > 1e-2


def test_training_that_drops_needs_keys_and_evaluation_drops_nothing(trained):
    model, variables, x, _ = trained
    with pytest.raises(ValueError, match=r"`dropout_keys` must be given in training with dropout"):
        jax.eval_shape(lambda v: model.apply(v, x, train=True, mutable=["batch_stats"]), variables)
    free = create(dropout=0.0)
    jax.eval_shape(
        lambda v: free.apply(v, x, train=True, mutable=["batch_stats"]),
        jax.eval_shape(free.init, KEY, x),
    )
    keys = ops.example_keys(KEY, jnp.arange(4))
    logits, _ = compiled(lambda v, k: model.apply(v, x, dropout_keys=k), variables, keys)
    for other in logits[1:]:
        np.testing.assert_allclose(other, logits[0], atol=1e-5)


def test_statistics_move_slowly_in_the_encoder_and_as_ever_in_the_head(trained):
    _, variables, x, ((_, features), updates) = trained
    before, after = variables["batch_stats"], updates["batch_stats"]
    kernels = variables["params"]
    stem = ops.conv2d(x, kernels["backbone"]["conv1"]["kernel"], stride=2).mean((0, 1, 2))
    old, new = (s["backbone"]["bn1"]["norm"]["mean"] for s in (before, after))
    np.testing.assert_allclose(new, 0.99 * old + 0.01 * stem, atol=1e-5)
    assert float(jnp.abs(stem - old).max()) > 1e-2
    branch = ops.conv2d(features["pre_gap"], kernels["head"]["branch0"]["conv"]["kernel"])
    old, new = (s["head"]["branch0"]["bn"]["norm"]["mean"] for s in (before, after))
    np.testing.assert_allclose(new, 0.9 * old + 0.1 * branch.mean((0, 1, 2)), atol=1e-4)
    assert float(jnp.abs(new - old).max()) > 1e-2


# Passes that start in the middle


def classifier(name, head="linear", **options):
    return models.create(name, num_outputs=5, head=head, width=1 / 16, **options)


NETWORKS = {
    "resnet18": lambda: classifier("resnet18"),
    "resnet18_gapnet": lambda: classifier("resnet18", "gapnet", stem="conv7_pool", antialias=3),
    "cifar_resnet20": lambda: classifier("cifar_resnet20", "permutenet"),
    "vgg5": lambda: classifier("vgg5", "gapnet"),
    "vgg11": lambda: classifier("vgg11", padding="circular"),
    "deeplabv3": lambda: create(output_stride=8),
    "deeplabv3plus": lambda: create("deeplabv3plus_resnet18", output_stride=8),
}


def starts(model):
    stages = [f"stage{i + 1}" for i in range(len(model.backbone.stage_sizes))]
    pooled = ["gap"] if type(getattr(model, "head", None)).__name__ == "LinearHead" else []
    return ["stem", *stages, "pre_gap", *pooled]


def resume(model, variables, features, start):
    size = {"size": SIZE} if isinstance(model, models.Segmenter) else {}
    return model.apply(variables, features, start=start, method="resume", **size)


QUICK = ("cifar_resnet20", "vgg5", "deeplabv3plus")
EACH = [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in NETWORKS]


@pytest.mark.parametrize("name", EACH)
def test_a_pass_from_the_middle_ends_as_the_whole_does(name):
    model, x = NETWORKS[name](), draw_images()
    variables = draw_variables(model, x)
    logits, features = compiled(model.apply, variables, x)
    # What must not be read holds no number.
    nothing = {k: jnp.full_like(v, jnp.nan) for k, v in features.items()}
    needed = {"stage1"} if name == "deeplabv3plus" else set()
    given = {
        start: nothing | {k: features[k] for k in {start} | (needed if start != "stem" else set())}
        for start in starts(model)
    }
    altered = {start: f | {start: f[start] * 1.5} for start, f in given.items()}

    def resume_all(v, every):
        return {start: resume(model, v, f, start) for start, f in every.items()}

    run = compile_fast(resume_all, variables, given)
    for start, (value, later) in run(variables, given).items():
        np.testing.assert_allclose(value, logits, atol=1e-5, err_msg=start)
        np.testing.assert_allclose(later["gap"], features["gap"], atol=1e-5, err_msg=start)
    for start, (value, _) in run(variables, altered).items():
        assert np.abs(value - logits).max() > 1e-3, start


@pytest.mark.parametrize(
    "name", ["vgg5", *(pytest.param(n, marks=pytest.mark.slow) for n in ("resnet18", "vgg11"))]
)
def test_the_later_features_of_a_pass_from_the_middle_are_the_same(name):
    network, x = NETWORKS[name](), draw_images()
    model = network.backbone
    variables = draw_variables(model, x)
    features = compiled(model.apply, variables, x)
    order = [start for start in starts(network) if start != "gap"]
    assert set(features) == set(order)
    for start in order:
        later = compiled(
            lambda v, f, start=start: model.apply(v, f, start=start), variables, features[start]
        )
        assert set(later) == set(order[order.index(start) :])
        for key, value in later.items():
            bound = 1e-6 * max(float(np.abs(features[key]).max()), 10.0)
            np.testing.assert_allclose(value, features[key], atol=bound, err_msg=f"{start}: {key}")


@pytest.mark.parametrize(
    ("name", "start", "last"),
    [
        ("deeplabv3", "pre_gap", "stage4_block1"),
        pytest.param("deeplabv3plus", "stage1", "stage1_block1", marks=pytest.mark.slow),
        pytest.param("deeplabv3plus", "stage3", "stage3_block1", marks=pytest.mark.slow),
        pytest.param("resnet18", "stage2", "stage2_block1", marks=pytest.mark.slow),
    ],
)
def test_altering_a_channel_is_what_it_is_in_the_whole_pass(name, start, last):
    model, x = NETWORKS[name](), draw_images()
    variables = draw_variables(model, x)

    def alter(maps):
        return maps.at[..., 2].set(0.7)

    def intercept(call, args, kwargs, context):
        out = call(*args, **kwargs)
        return alter(out) if context.module.name == last else out

    def run(v, images):
        logits, features = model.apply(v, images)
        features[start] = alter(features[start])
        resumed, _ = resume(model, v, features, start)
        with nn.intercept_methods(intercept):
            whole, _ = model.apply(v, images)
        return logits, resumed, whole

    logits, resumed, whole = compiled(run, variables, x)
    np.testing.assert_allclose(resumed, whole, atol=1e-5)
    assert np.abs(logits - whole).max() > 1e-3


def test_starts_that_are_none_are_refused():
    features = {"stem": 0, "pre_gap": 0, "gap": 0}
    for model, start, message in (
        (NETWORKS["vgg5"](), "gap", "the head 'gapnet' pools last, it does not read 'gap'"),
        (NETWORKS["vgg5"](), "stage5", r"`start` must be one of stem, .*, pre_gap; got 'stage5'"),
        (NETWORKS["resnet18"](), "logits", r"`start` must be one of stem, .*got 'logits'"),
        (NETWORKS["deeplabv3"](), "gap", r"`start` must be one of stem, .*got 'gap'"),
    ):
        with pytest.raises(ValueError, match=message):
            resume(model, {}, features, start)
