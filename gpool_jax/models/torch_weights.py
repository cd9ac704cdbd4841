"""Weights from PyTorch: every name of the network translated, every mismatch listed.

Each of our parameters asks for one name of the file, so that whatever is left over on either
side is a mismatch and is reported.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from gpool_jax.errors import InputError
from gpool_jax.models import deeplab_weights
from gpool_jax.models.factory import Classifier
from gpool_jax.models.segmenter import Segmenter
from gpool_jax.models.vgg import VGG

_WRAPPERS = ("net", "state_dict", "model_state")
_LINEAR_HEADS = ("linear_location", "fc", "linear", "classifier")
_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Read a file of weights as a flat mapping of name to array.

    Args:
      path: `.safetensors`, or `.pth`/`.pt` (needs the `[torch]` extra; loaded with
        `weights_only=True`, so that no code in the file runs).

    Raises:
      InputError: if the file is missing, corrupt or of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"`weights`: there is no file {path}.")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            return dict(load_file(path))
        except (SafetensorError, KeyError, ValueError) as error:
            raise InputError(
                f"`weights`: {path} is not a readable safetensors file: {error}."
            ) from None
    if path.suffix not in (".pth", ".pt"):
        raise InputError(f"`weights` must end in .safetensors, .pth or .pt; got {path.name}.")
    try:
        import torch
    except ImportError:
        raise InputError(
            f"`weights`: reading {path.name} needs PyTorch; pip install 'gpool_jax[torch]', or "
            "save the state dict as .safetensors."
        ) from None
    try:
        with torch.serialization.safe_globals(_numpy_scalar()):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a bad file
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"`weights`: {path} is not a readable checkpoint: {first}") from None
    tensors = {k: v for k, v in _unwrap(loaded).items() if isinstance(v, torch.Tensor)}
    return {name: tensor.detach().float().numpy() for name, tensor in tensors.items()}


def _numpy_scalar() -> list[Any]:
    """Globals that unpickle one NumPy number, as which training scripts save their best score."""
    scalar = np.float64(0).__reduce__()[0]

    def old_scalar(*args):
        return scalar(*args)

    # NumPy 1 had it in another module, and PyTorch compares names only.
    old_scalar.__module__ = "numpy.core.multiarray"
    old_scalar.__name__ = old_scalar.__qualname__ = "scalar"
    return [scalar, old_scalar, np.dtype, type(np.dtype(np.float64)), type(np.dtype(np.float32))]


def normalise_names(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Unwrap the mapping, drop `module.` prefixes and `num_batches_tracked`."""
    kept = {k: v for k, v in _unwrap(state_dict).items() if not k.endswith("num_batches_tracked")}
    names = {name.removeprefix("module."): value for name, value in kept.items()}
    # The reference's GAPNet file holds a linear layer that it never uses.
    if "pre_classifier.weight" in names:
        names = {k: v for k, v in names.items() if not k.startswith("linear_location.")}
    return names


def _unwrap(state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(state_dict, Mapping):
        raise InputError("`weights`: the file holds no mapping of names to arrays.")
    for wrapper in _WRAPPERS:
        if isinstance(state_dict.get(wrapper), Mapping):
            return _unwrap(state_dict[wrapper])
    return state_dict


def describe(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Read off what a checkpoint's names and shapes tell about its network.

    Returns:
      `head` ("gapnet" or "linear"), `num_outputs`, and, where a first convolution is recognised,
      `stem_features` and `stem` ("conv7_pool" for torchvision names, "conv7" or "conv3" by the
      kernel; None for VGG).

    Raises:
      InputError: if no head is recognised.
    """
    names = normalise_names(state_dict)
    head = _head_name(names)
    if f"{head}.weight" not in names:
        raise InputError(
            "`weights`: no head among the names (looked for pre_classifier, "
            f"{', '.join(_LINEAR_HEADS)}); the first names are {', '.join(sorted(names)[:4])}."
        )
    found: dict[str, Any] = {
        "head": "gapnet" if head == "pre_classifier" else "linear",
        "num_outputs": int(np.shape(names[f"{head}.weight"])[0]),
    }
    first = names.get("conv1.weight", names.get("features.0.weight"))
    if first is not None and np.ndim(first) == 4:
        found["stem_features"] = int(np.shape(first)[0])
        found["stem"] = None
        if "conv1.weight" in names:
            torchvision = "fc.weight" in names
            size = np.shape(first)[-1]
            found["stem"] = "conv3" if size == 3 else "conv7_pool" if torchvision else "conv7"
    return found


def _head_name(names: Mapping[str, Any]) -> str:
    present = [h for h in ("pre_classifier", *_LINEAR_HEADS) if f"{h}.weight" in names]
    if len(present) > 1:
        raise InputError(f"`weights`: several heads in one file: {', '.join(present)}.")
    return present[0] if present else "linear_location"


def describe_segmenter(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Read off what a DeepLab checkpoint's names and shapes tell about its network.

    Returns:
      `name`, `num_outputs`, `width`, `stem`, `output_stride` and `rates` for `create_segmenter`
      (the last two are the layout's defaults, as the weights do not tell them); `layout` ("base
      code" or "torchvision"); `ignored`, names of the auxiliary head; and `summary`, all of it
      in one sentence.

    Raises:
      InputError: if the head or the encoder is not recognised.
    """
    return deeplab_weights.describe(normalise_names(state_dict))


def from_torch(
    state_dict: Mapping[str, Any], model: Classifier | Segmenter, input_shape: tuple[int, ...]
) -> dict[str, Any]:
    """Translate a PyTorch state dict into the variables of a network.

    Reads the reference's ResNet and VGG, torchvision's ResNet and the common CIFAR ResNets; for a
    `Segmenter`, the DeepLabs of torchvision (without their auxiliary head) and of the reference's
    base code; wrapped or not, with or without `module.`.

    Args:
      state_dict: name to array (anything `numpy.asarray` takes).
      model: from `models.create` or `models.create_segmenter`.
      input_shape: (B, H, W, C) of the network's input.

    Returns:
      `{"params": ..., "batch_stats": ...}` of float32 arrays for `model.apply`.

    Raises:
      InputError: one message that lists every missing, unexpected and misshapen name.
    """
    names = normalise_names(state_dict)
    abstract = jax.eval_shape(
        model.init, jax.random.key(0), jax.ShapeDtypeStruct(input_shape, jnp.float32)
    )
    flat = traverse_util.flatten_dict(abstract)
    if isinstance(model, Segmenter):
        layout, _ = deeplab_weights.find_layout(names)
        names = {k: v for k, v in names.items() if not k.startswith(deeplab_weights.AUXILIARY)}
        plus = model.head.low_features is not None
        wanted = {path: _segmenter_name(path, layout, plus) for path in flat}
    else:
        dialect = "downsample" if any(".downsample." in name for name in names) else "shortcut"
        head = _head_name(names)
        vgg_index = _vgg_index(model.backbone) if isinstance(model.backbone, VGG) else {}
        wanted = {path: _torch_name(path, dialect, head, vgg_index) for path in flat}
    return traverse_util.unflatten_dict(_collect(names, flat, wanted))


def _collect(
    names: Mapping[str, Any],
    flat: Mapping[tuple[str, ...], jax.ShapeDtypeStruct],
    wanted: Mapping[tuple[str, ...], str],
) -> dict[tuple[str, ...], jax.Array]:
    """Give each path the array whose name it asks for, or list everything that does not fit."""
    missing = sorted(set(wanted.values()) - set(names))
    unexpected = sorted(set(names) - set(wanted.values()))
    misshapen, out = [], {}
    for path, name in wanted.items():
        if name not in names:
            continue
        value = np.asarray(names[name], np.float32)
        if path[-1] == "kernel":
            value = value.transpose((2, 3, 1, 0) if value.ndim == 4 else None)
        if value.shape != flat[path].shape:
            misshapen.append(f"{name} (has {value.shape}, needs {flat[path].shape} in our order)")
            continue
        out[path] = jnp.asarray(value)
    found = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
    problems = [f"{kind}: {', '.join(items)}" for kind, items in found.items() if items]
    if problems:
        raise InputError("`weights` do not fit this network; " + "; ".join(problems) + ".")
    return out


def _segmenter_name(path: tuple[str, ...], layout: str, plus: bool) -> str:
    """Translate e.g. ("params", "head", "branch2", "conv", "kernel")."""
    _, part, *modules, leaf = path
    if part == "backbone":
        return "backbone." + _torch_name(path, "downsample", "", {})
    modules = [m for m in modules if m != "norm"]
    return f"{deeplab_weights.head_name(modules, layout, plus)}.{_LEAVES[leaf]}"


def _torch_name(path: tuple[str, ...], dialect: str, head: str, vgg_index: dict[str, int]) -> str:
    """Translate e.g. ("params", "backbone", "stage1_block0", "conv1", "kernel")."""
    _, part, *modules, leaf = path
    modules = [m for m in modules if m != "norm"]
    if part == "head":
        return f"{head}.{_LEAVES[leaf]}"
    translated = []
    for module in modules:
        block = re.fullmatch(r"stage(\d+)_block(\d+)", module)
        if block:
            translated.append(f"layer{block[1]}.{block[2]}")
        elif module in vgg_index:
            translated.append(f"features.{vgg_index[module]}")
        elif module.startswith("shortcut_"):
            translated.append(f"{dialect}.{0 if module == 'shortcut_conv' else 1}")
        else:
            translated.append(module)
    return ".".join([*translated, _LEAVES[leaf]])


def _vgg_index(backbone: VGG) -> dict[str, int]:
    """Find each layer's index in PyTorch's `features`: conv, bn, relu, ..., max-pool."""
    index, position = {}, 0
    for i, count in enumerate(backbone.stage_sizes):
        for j in range(count):
            index[f"stage{i + 1}_conv{j}"] = position
            index[f"stage{i + 1}_bn{j}"] = position + 1
            position += 3
        position += 1
    return index
