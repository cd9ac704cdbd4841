"""Weights from PyTorch: every name of the network translated, every mismatch listed.

Each of our parameters asks for one name of the file, so that whatever is left over on either
side is a mismatch and is reported.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from gpool_jax import ops
from gpool_jax.errors import InputError
from gpool_jax.models import deeplab_weights, weight_files
from gpool_jax.models.factory import Classifier
from gpool_jax.models.segmenter import Segmenter
from gpool_jax.models.vgg import VGG
from gpool_jax.models.weight_files import few, show

# Parts of names that parallel and compiled networks add, and attributes that hold a network.
_WRAPPED_PARTS = ("module", "_orig_mod")
_SEGMENTER_PARTS = ("model", "net", "network")
_CLASSIFIER_PARTS = (*_SEGMENTER_PARTS, "backbone", "encoder")
_REFERENCE_HEADS = ("pre_classifier", "linear_location")
_LINEAR_HEADS = ("linear_location", "fc", "linear", "classifier")
# Filters of BlurPool, which some networks of timm and all of Zhang's keep beside their weights.
_FILTER = re.compile(r"(maxpool\.1|layer\d+\.\d+\.(?:(?P<timm>aa)|(?:conv\d|downsample)\.0))\.filt")
_BEHIND_FILTER = re.compile(r"(?P<place>layer\d+\.\d+\.(?:conv\d|downsample))\.(?P<index>\d)\.(.*)")
# Channels of the first convolution at width 1, where they are not 64.
_BASE_FEATURES = {"cifar": 16, "vgg5": 32}
_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


def normalise_names(
    state_dict: Mapping[str, Any], leading: tuple[str, ...] = _CLASSIFIER_PARTS
) -> dict[str, Any]:
    """Find the weights in a mapping and drop what wrappers put into their names.

    Dropped are counters, the parts "module" and "_orig_mod" (of parallel and compiled networks)
    anywhere in a name, and the parts in `leading` at its beginning.

    Raises:
      InputError: if two names become one.
    """
    _, arrays, _ = weight_files.choose(state_dict)
    names: dict[str, Any] = {}
    full: dict[str, str] = {}
    for name, value in arrays.items():
        parts = [part for part in name.split(".") if part not in _WRAPPED_PARTS]
        while len(parts) > 2 and parts[0] in leading:
            parts = parts[1:]
        short = ".".join(parts)
        if short.endswith("num_batches_tracked"):
            continue
        if short in names:
            both = f"{show(full[short])} and {show(name)}"
            raise InputError(f"`weights`: two arrays for {show(short)}: {both}; save one network.")
        names[short], full[short] = value, name
    # The reference's GAPNet file holds a linear layer that it never uses.
    if "pre_classifier.weight" in names:
        names = {k: v for k, v in names.items() if not k.startswith("linear_location.")}
    return names


def describe(state_dict: Mapping[str, Any], *, needs_head: bool = True) -> dict[str, Any]:
    """Read off what a checkpoint's names and shapes tell about its network.

    Returns:
      `head` ("gapnet" or "linear"; None if there is none), `num_outputs` (0 then),
      `statistics` ("CIFAR" for the reference's networks, else "ImageNet": what such networks'
      inputs are normalised with), and, where a
      first convolution is recognised, `stem_features` and `stem` ("conv7_pool" for torchvision
      names, "conv7" or "conv3" by the kernel; None for VGG); and `antialias` and
      `antialias_layout` where filters tell them.

    Raises:
      InputError: if no head is recognised, unless none is needed.
    """
    names, blur = _split_filters(normalise_names(state_dict))
    head = _head_name(names)
    has_head = f"{head}.weight" in names
    if needs_head and not has_head:
        raise InputError(
            "`weights`: no head among the names (looked for pre_classifier, "
            f"{', '.join(_LINEAR_HEADS)}); the names are {few(sorted(names), 4)}."
        )
    shape = np.shape(names[f"{head}.weight"]) if has_head else (0, 0)
    if len(shape) not in (2, 4):
        raise InputError(f"`weights`: {head}.weight must be of a layer; its shape is {shape}.")
    found: dict[str, Any] = blur | {
        "head": "gapnet" if head == "pre_classifier" else "linear" if has_head else None,
        "num_outputs": int(shape[0]),
        "statistics": "CIFAR" if has_head and head in _REFERENCE_HEADS else "ImageNet",
    }
    first = names.get("conv1.weight", names.get("features.0.weight"))
    if first is not None and np.ndim(first) == 4:
        found["stem_features"] = int(np.shape(first)[0])
        found["stem"] = None
        if "conv1.weight" in names:
            downsample = any(".downsample." in name for name in names)
            torchvision = "fc.weight" in names or (downsample and not has_head)
            size = np.shape(first)[-1]
            found["stem"] = "conv3" if size == 3 else "conv7_pool" if torchvision else "conv7"
    return found


def fit(name: str, detected: Mapping[str, Any], *, stem: str | None, antialias: int) -> dict:
    """Give the options of `models.create` that a checkpoint tells: see `describe`.

    Args:
      name: one of `models.MODELS`.
      detected: what `describe` found.
      stem: the stem that was asked for, which goes first; None: none.
      antialias: taps of BlurPool that were asked for, which go first; 0: none.

    Returns:
      `width` and `stem`, if there is a first convolution; `antialias` and `antialias_layout`, if
      there are filters.
    """
    found: dict[str, Any] = {}
    if "stem_features" in detected:
        base = next((b for start, b in _BASE_FEATURES.items() if name.startswith(start)), 64)
        found["width"] = detected["stem_features"] / base
        if name.startswith("resnet"):
            found["stem"] = stem or detected["stem"]
    if not antialias and "antialias" in detected:
        found |= {field: detected[field] for field in ("antialias", "antialias_layout")}
    return found


def _split_filters(names: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Take the filters of BlurPool out of the names, and read off them which BlurPool it is.

    Zhang's BlurPool is the first part of the layer it precedes, whose weights are renamed to
    those of a layer alone: "layer2.0.conv2.1.weight" becomes "layer2.0.conv2.weight".
    """
    filters = {name: match for name in names if (match := _FILTER.fullmatch(name))}
    if not filters:
        return dict(names), {}
    taps = {np.shape(names[name])[-1:] for name in filters}
    if len(taps) > 1 or () in taps:
        raise InputError(f"`weights`: filters of BlurPool differ in size: {few(sorted(filters))}.")
    plain = {}
    for name in names:
        if name in filters:
            continue
        match = _BEHIND_FILTER.fullmatch(name)
        if match and f"{match['place']}.0.filt" in filters:
            index = f".{int(match['index']) - 1}" if "downsample" in name else ""
            plain[f"{match['place']}{index}.{match[3]}"] = names[name]
        else:
            plain[name] = names[name]
    layout = "timm" if any(match["timm"] for match in filters.values()) else "zhang"
    return plain, {"antialias": int(taps.pop()[0]), "antialias_layout": layout}


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
    return deeplab_weights.describe(normalise_names(state_dict, _SEGMENTER_PARTS))


def from_torch(
    state_dict: Mapping[str, Any],
    model: Classifier | Segmenter,
    input_shape: tuple[int, ...],
    *,
    with_head: bool = True,
) -> dict[str, Any]:
    """Translate a PyTorch state dict into the variables of a network.

    Reads the reference's ResNet and VGG, torchvision's ResNet and the common CIFAR ResNets; for a
    `Segmenter`, the DeepLabs of torchvision (without their auxiliary head) and of the reference's
    base code; wrapped or not, with or without `module.`.

    Args:
      state_dict: name to NumPy or JAX array or PyTorch tensor.
      model: from `models.create` or `models.create_segmenter`.
      input_shape: (B, H, W, C) of the network's input.
      with_head: whether the head's weights are there too, and wanted.

    Returns:
      `params` and `batch_stats`, of float32 arrays, for `model.apply`.

    Raises:
      InputError: one message that counts and names missing, unexpected and misshapen arrays; or
        that names an array that is not finite.
    """
    segments = isinstance(model, Segmenter)
    names = normalise_names(state_dict, _SEGMENTER_PARTS if segments else _CLASSIFIER_PARTS)
    abstract = jax.eval_shape(
        model.init, jax.random.key(0), jax.ShapeDtypeStruct(input_shape, jnp.float32)
    )
    flat = traverse_util.flatten_dict(abstract)
    if not with_head:
        flat = {path: shape for path, shape in flat.items() if path[1] != "head"}
    if isinstance(model, Segmenter):
        layout, _ = deeplab_weights.find_layout(names)
        names = {k: v for k, v in names.items() if not k.startswith(deeplab_weights.AUXILIARY)}
        plus = model.head.low_features is not None
        wanted = {path: _segmenter_name(path, layout, plus) for path in flat}
    else:
        names, blur = _split_filters(names)
        for field, value in blur.items():
            if (got := getattr(model.backbone, field, None)) != value:
                raise InputError(
                    f"`model.{field}` must be {value}, as the filters of these weights say; got "
                    f"{got}."
                )
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
    """Give each path the array whose name it asks for, or say what does not fit."""
    missing = sorted(set(wanted.values()) - set(names))
    unexpected = sorted(set(names) - set(wanted.values()))
    misshapen, out, used = [], {}, {}
    for path, name in wanted.items():
        if name not in names:
            continue
        value = weight_files.to_array(name, names[name])
        if path[-1] == "kernel":
            value = value.transpose((2, 3, 1, 0) if value.ndim == 4 else None)
        if value.shape != flat[path].shape:
            misshapen.append(f"{name} {value.shape}, not {flat[path].shape}")
            continue
        out[path], used[name] = jnp.asarray(value), value
    problems = []
    for kind, items in {"missing": missing, "unexpected": unexpected}.items():
        problems += [f"{len(items):,} {kind}: {few(items)}"] if items else []
    if misshapen:
        problems.append(f"{len(misshapen):,} misshapen (in our order): {few(misshapen, 2, 90)}")
    if problems:
        raise InputError("`weights` do not fit this network; " + "; ".join(problems) + ".")
    if bad := ops.first_nonfinite(used):
        raise InputError(f"`weights`: {show(bad)} has values that are not finite (NaN, infinity).")
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
