"""Imported weights: the network that they are read into, and what the notes say about it."""

import types

import numpy as np
import pytest
from safetensors.numpy import save_file

from gpool_jax.config import DataConfig, ModelConfig, PositionConfig
from gpool_jax.data.images.load import Dataset
from gpool_jax.errors import InputError
from gpool_jax.experiments import weights
from tests.test_torch_weights import state_dict


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Read weights into a network, with no data but their shape and constants."""
    split = types.SimpleNamespace(image_shape=(64, 64, 3))
    statistics = {"mean": (0.1, 0.2, 0.3), "std": (0.25, 0.5, 1.0)}
    dataset = Dataset(name="x", train=split, val=split, test=split, num_classes=7, **statistics)
    monkeypatch.setattr(weights.sources, "load", lambda *args, **options: dataset)

    def load(arrays, name="resnet18", data=None, **model):
        save_file(arrays, tmp_path / "w.safetensors")
        config = PositionConfig(data=data or DataConfig(), model=ModelConfig(name=name, **model))
        return weights.load_classifier(config, tmp_path / "w.safetensors", pytest.fail)

    return load


TIMM = "no BlurPool (timm's resnetblur: --model.antialias 3 --model.antialias-layout timm)"
POOL = "a max-pool after the first convolution (otherwise --model.stem conv7)"


def test_the_notes_say_what_was_read_and_what_was_assumed(load):
    _, found = load(state_dict("torchvision_resnet18"))
    assert found.notes == [
        "Weights of w.safetensors: linear head with 7 outputs, width 0.0625, stem conv7_pool, no "
        "BlurPool; images are normalised with mean 0.485 0.456 0.406 and standard deviation 0.229 "
        "0.224 0.225 (ImageNet's, usual for them; --data.mean, --data.std).",
        f"Assumed, as weights do not tell: padding zeros; {POOL}; {TIMM}.",
    ]


def test_what_is_given_is_used_and_not_called_an_assumption_about_names(load):
    arrays = state_dict("torchvision_resnet18")
    given = {"stem": "conv7", "antialias": 3, "antialias_layout": "timm"}
    setup, found = load(arrays, **given)
    assert {name: getattr(setup.config.model, name) for name in given} == given
    assert "stem conv7, BlurPool of 3 taps (timm);" in found.notes[0]
    assert "max-pool" not in found.notes[1]
    assert "resnetblur" not in found.notes[1]
    # Taps alone are those of another network than timm's.
    _, found = load(arrays, antialias=3)
    assert "BlurPool of 3 taps (everywhere) (timm's resnetblur: " in found.notes[1]


def test_a_small_first_convolution_is_read_without_a_max_pool_and_the_notes_say_so(load):
    arrays = state_dict("torchvision_resnet18")
    arrays["conv1.weight"] = np.ascontiguousarray(arrays["conv1.weight"][:, :, 2:5, 2:5])
    setup, found = load(arrays)
    assert setup.config.model.stem == "conv3"
    expected = "no max-pool after the first convolution (otherwise --model.stem conv3_pool)"
    assert expected in found.notes[1]
    setup, _ = load(arrays, stem="conv3_pool")
    assert setup.config.model.stem == "conv3_pool"


def test_filters_choose_the_blurpool_unless_another_is_given(load):
    arrays = state_dict("torchvision_resnet18")
    arrays["layer2.0.aa.filt"] = np.ones((8, 1, 5, 5), np.float32)
    setup, found = load(arrays)
    assert (setup.config.model.antialias, setup.config.model.antialias_layout) == (5, "timm")
    assert "BlurPool" not in found.notes[1]
    with pytest.raises(InputError, match=r"`model.antialias` must be 5, as the filters .*got 3"):
        load(arrays, antialias=3)
    arrays["layer2.0.aa.filt"] = np.ones((8, 1, 7, 7), np.float32)
    with pytest.raises(InputError, match=r"`model.antialias` must be one of .* got 7"):
        load(arrays)


@pytest.mark.parametrize(
    ("saved", "mean"), [("reference_resnet18_gapnet", 0.4914), ("torchvision_resnet18", 0.485)]
)
def test_images_are_normalised_as_for_such_networks_whatever_the_data(load, saved, mean):
    setup, _ = load(state_dict(saved))
    assert setup.dataset.mean[0] == mean
    given = DataConfig(mean=(0.1, 0.2, 0.3), std=(0.25, 0.5, 1.0))
    setup, found = load(state_dict(saved), data=given)
    assert (setup.dataset.mean, setup.dataset.std) == (given.mean, given.std)
    assert found.notes[0].endswith("standard deviation 0.25 0.5 1 (as given).")


def test_other_networks_have_no_options_of_resnets_to_name(load):
    _, found = load(state_dict("vgg11"), name="vgg11")
    assert found.notes[1] == "Assumed, as weights do not tell: padding zeros; no BlurPool."
