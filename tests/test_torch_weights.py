"""Weights from PyTorch: the same answers, and every mismatch named."""

import importlib.util
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from gpool_jax import models
from gpool_jax.errors import InputError
from tests.golden import cases

GOLDEN = np.load(Path(__file__).parent / "golden" / "golden.npz")
SHAPES = json.loads(str(GOLDEN["shapes"]))
HAS_TORCH = importlib.util.find_spec("torch") is not None


def state_dict(name: str) -> dict[str, np.ndarray]:
    return {key: cases.make_array(key, tuple(shape)) for key, shape in SHAPES[name].items()}


def build(name: str, padding: str = "zeros", **changes):
    case = cases.CASES[name]
    options = case["create"] | {"num_outputs": case["num_outputs"], "padding": padding} | changes
    return models.create(**options)


def assert_same(found, expected):
    assert np.abs(expected).max() < 10
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def answers(name: str, padding: str, weights: dict) -> np.ndarray:
    image = cases.make_input().transpose(0, 2, 3, 1)
    model = build(name, padding)
    logits, _ = jax.jit(model.apply)(models.from_torch(weights, model, image.shape), image)
    return np.asarray(logits)


# In the quick suite every network, and every padding of the network that compiles soonest.
EVERY = [
    pytest.param(n, p, marks=pytest.mark.slow if n != "vgg11" and p != "zeros" else ())
    for n in cases.CASES
    for p in cases.PADDINGS
]


@pytest.mark.parametrize(("name", "padding"), EVERY)
def test_answers_are_those_of_pytorch(name, padding):
    expected = GOLDEN[f"{name}/{padding}"]
    # The answers must depend on the input for the comparison to mean anything.
    assert np.abs(expected[0] - expected[1]).max() > 1e-2
    assert_same(answers(name, padding, state_dict(name)), expected)


def test_padding_modes_give_different_answers():
    for name in cases.CASES:
        every = [GOLDEN[f"{name}/{padding}"] for padding in cases.PADDINGS]
        for i, a in enumerate(every):
            assert all(np.abs(a - b).max() > 1e-3 for b in every[:i]), name


@pytest.mark.skipif(not HAS_TORCH, reason="torch is not installed; the golden arrays stand in")
@pytest.mark.parametrize("name", cases.CASES)
def test_answers_are_those_of_pytorch_live(name):
    import torch

    from benchmarks import torch_networks

    torch.manual_seed(0)
    network = torch_networks.build(cases.CASES[name], "zeros")
    image = torch.from_numpy(cases.make_input())
    network(image)  # moves the running statistics off their defaults
    network.eval()
    with torch.no_grad():
        expected = network(image).numpy()
    weights = {f"module.{k}": v.numpy() for k, v in network.state_dict().items()}
    assert_same(answers(name, "zeros", {"net": weights}), expected)


@pytest.mark.skipif(not HAS_TORCH, reason="reading .pth needs torch")
def test_pth_and_safetensors_hold_the_same(tmp_path):
    import torch
    from safetensors.numpy import save_file

    weights = state_dict("vgg5_gapnet")
    save_file(weights, tmp_path / "w.safetensors")
    tensors = {f"module.{k}": torch.from_numpy(v) for k, v in weights.items()}
    torch.save({"net": tensors, "acc": 1.0, "epoch": 3}, tmp_path / "w.pth")
    a = models.read_state_dict(tmp_path / "w.safetensors")
    b = models.read_state_dict(tmp_path / "w.pth")
    model = build("vgg5_gapnet")
    shape = (1, 64, 64, 3)
    from_a, from_b = models.from_torch(a, model, shape), models.from_torch(b, model, shape)
    jax.tree.map(np.testing.assert_array_equal, from_a, from_b)


@pytest.mark.parametrize("wrapper", ["net", "state_dict", "model_state"])
def test_wrappers_prefixes_counters_and_the_unused_layer_are_seen_through(wrapper):
    weights = state_dict("reference_resnet18_gapnet")
    wrapped = {f"module.{k}": v for k, v in weights.items()}
    wrapped["module.bn1.num_batches_tracked"] = np.array(7)
    wrapped["module.linear_location.weight"] = np.zeros((9, 32))
    wrapped["module.linear_location.bias"] = np.zeros(9)
    model, shape = build("reference_resnet18_gapnet"), (1, 64, 64, 3)
    plain = models.from_torch(weights, model, shape)
    found = models.from_torch({wrapper: wrapped, "epoch": 2}, model, shape)
    jax.tree.map(np.testing.assert_array_equal, found, plain)


def test_every_mismatch_is_listed_in_one_error():
    weights = state_dict("reference_resnet18_permutenet")
    del weights["layer2.0.shortcut.1.running_var"]
    del weights["bn1.bias"]
    weights["extra.weight"] = np.zeros(3)
    weights["layer1.0.conv1.weight"] = np.zeros((5, 4, 3, 3))
    with pytest.raises(InputError) as error:
        models.from_torch(weights, build("reference_resnet18_permutenet"), (1, 64, 64, 3))
    for part in (
        "2 missing: bn1.bias, layer2.0.shortcut.1.running_var;",
        "1 unexpected: extra.weight;",
        "1 misshapen (in our order): layer1.0.conv1.weight (3, 3, 4, 5), not (3, 3, 4, 4).",
    ):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_weights_of_another_architecture_are_refused():
    with pytest.raises(InputError, match=r"do not fit.*\d+ missing: .*unexpected: ") as error:
        models.from_torch(state_dict("vgg11"), build("torchvision_resnet18"), (1, 64, 64, 3))
    assert "and 97 more" in str(error.value)
    long = {f"layer1.{i}.{'x' * 500}\n.weight": np.zeros((2, 2)) for i in range(3000)}
    wide = {
        k: np.zeros((*v.shape, 12345, 0)) for k, v in state_dict("torchvision_resnet50").items()
    }
    with pytest.raises(InputError, match=r"3,000 unexpected: .* and 2,997 more") as error:
        models.from_torch(long | wide, build("torchvision_resnet50"), (1, 64, 64, 3))
    assert len(str(error.value)) < 600
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("reference_resnet18_gapnet", ("gapnet", 9, 4, "conv7")),
        ("reference_resnet18_permutenet", ("linear", 9, 4, "conv7")),
        ("torchvision_resnet50", ("linear", 7, 2, "conv7_pool")),
        ("cifar_resnet20", ("linear", 10, 4, "conv3")),
        ("vgg11", ("linear", 10, 4, None)),
    ],
)
def test_describe_reads_the_network_off_the_names(name, expected):
    found = models.describe(state_dict(name))
    keys = ("head", "num_outputs", "stem_features", "stem")
    assert tuple(found[k] for k in keys) == expected


def test_names_lose_what_wrappers_put_into_them():
    weights = state_dict("torchvision_resnet18")
    model, shape = build("torchvision_resnet18"), (1, 64, 64, 3)
    plain = models.from_torch(weights, model, shape)
    for prefix in ("_orig_mod.module.", "module._orig_mod.", "model.", "model.backbone.module."):
        named = {f"{prefix}{name}": value for name, value in weights.items()}
        found = models.from_torch(named, model, shape)
        jax.tree.map(np.testing.assert_array_equal, found, plain)
    # The head beside the encoder, and a compiled encoder in a network that is not.
    named = {
        name if name.startswith("fc.") else f"encoder._orig_mod.{name}": value
        for name, value in weights.items()
    }
    found = models.from_torch(named, model, shape)
    jax.tree.map(np.testing.assert_array_equal, found, plain)
    message = r"two arrays for fc.bias: encoder.fc.bias and fc.bias; save one network"
    with pytest.raises(InputError, match=message):
        models.from_torch({"encoder.fc.bias": np.zeros(3)} | weights, model, shape)


def test_arrays_that_are_not_finite_are_refused_by_name():
    weights = state_dict("torchvision_resnet18")
    model, shape = build("torchvision_resnet18"), (1, 64, 64, 3)
    for bad in (np.nan, np.inf, 1e300):  # the last is too large for float32
        broken = weights["layer1.0.bn1.running_var"].astype(np.float64)
        broken[1] = bad
        with pytest.raises(InputError, match=r"layer1.0.bn1.running_var has values that are not"):
            models.from_torch(weights | {"layer1.0.bn1.running_var": broken}, model, shape)


def test_a_head_that_is_no_layer_is_refused():
    for shape in ((), (7,), (7, 1, 1)):
        with pytest.raises(InputError, match=r"fc.weight must be of a layer; its shape is \("):
            models.describe({"fc.weight": np.zeros(shape), "conv1.weight": np.zeros((4, 3, 7, 7))})
    with pytest.raises(InputError, match="no head among the names"):
        models.describe({"conv1.weight": np.zeros((4, 3, 3, 3))})


def test_filters_of_blurpool_tell_it():
    weights, shape = state_dict("torchvision_resnet18"), (1, 64, 64, 3)
    timm = weights | {"layer2.0.aa.filt": np.ones((8, 1, 3, 3)), "maxpool.1.filt": np.ones((3, 3))}
    found = models.describe(timm)
    assert (found["antialias"], found["antialias_layout"]) == (3, "timm")
    models.from_torch(
        timm, build("torchvision_resnet18", antialias=3, antialias_layout="timm"), shape
    )
    with pytest.raises(InputError, match=r"`model.antialias` must be 3, as the filters .*got 0"):
        models.from_torch(timm, build("torchvision_resnet18"), shape)
    assert "antialias" not in models.describe(weights)
    for bad in ((), (8, 1, 4, 4)):
        with pytest.raises(InputError, match="filters of BlurPool differ in size: layer2.0.aa"):
            models.describe(timm | {"layer3.0.aa.filt": np.ones(bad)})
