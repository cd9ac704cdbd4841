"""PyTorch's names for the parts of a DeepLab: torchvision's, and the reference's base code's.

All functions take names that went through `torch_weights.normalise_names`.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from gpool_jax.errors import InputError
from gpool_jax.models.factory import RESNETS
from gpool_jax.models.resnet import BasicBlock, Bottleneck
from gpool_jax.models.segmenter import DEFAULT_RATES
from gpool_jax.models.weight_files import few

# The output stride leaves no trace in the weights.
_OUTPUT_STRIDE = {"base code": 16, "torchvision": 8}
# The second head, which torchvision uses in training only.
AUXILIARY = "aux_classifier."
_TITLES = {"deeplabv3": "DeepLabv3", "deeplabv3plus": "DeepLabv3+"}


def find_layout(names: Mapping[str, Any]) -> tuple[str, str]:
    """Recognise the layout, "base code" or "torchvision", and the head, one of `ARCHITECTURES`.

    Raises:
      InputError: if no head is recognised.
    """
    for start, found in (
        ("classifier.aspp.", ("base code", "deeplabv3plus")),
        ("classifier.classifier.0.convs.", ("base code", "deeplabv3")),
        ("classifier.0.convs.", ("torchvision", "deeplabv3")),
    ):
        if any(name.startswith(start) for name in names):
            return found
    raise InputError(
        "`weights`: no DeepLab head among the names (looked for classifier.aspp, "
        f"classifier.classifier.0.convs, classifier.0.convs); the names "
        f"are {few(sorted(names), 4)}."
    )


def head_name(modules: list[str], layout: str, plus: bool) -> str:
    """Translate the path of a `DeepLabHead` layer: ["branch2", "conv"] is `...convs.2.0`.

    `modules` is the path without "norm" and the leaf, `layout` comes from `find_layout`, and `plus`
    says whether the network is a DeepLabv3+.
    """
    if layout == "torchvision":
        pyramid, last = "classifier.0", "classifier"
    else:
        pyramid = "classifier.aspp" if plus else "classifier.classifier.0"
        last = "classifier.classifier"
    # In DeepLabv3, `last` starts with the pyramid itself.
    first = 0 if plus else 1
    name, *rest = modules
    norm = int(rest == ["bn"])
    translated = {
        "classifier": f"{last}.{first + 3}",
        "fuse": f"{last}.{first + norm}",
        "low": f"classifier.project.{norm}",
        "project": f"{pyramid}.project.{norm}",
        "pool": f"{pyramid}.convs.4.{1 + norm}",  # .0 is the pooling
    }
    return translated.get(name, f"{pyramid}.convs.{name.removeprefix('branch')}.{norm}")


def describe(names: Mapping[str, Any]) -> dict[str, Any]:
    """Read off which network the weights belong to; see `models.describe_segmenter`."""
    layout, architecture = find_layout(names)
    encoder = _find_encoder(names)
    last = head_name(["classifier"], layout, architecture == "deeplabv3plus") + ".weight"
    shapes = {}
    for name in ("backbone.conv1.weight", last):
        shapes[name] = np.shape(names.get(name, ()))
        if len(shapes[name]) != 4:
            raise InputError(f"`weights`: {name}, a convolution's kernel, is not among the names.")
    first = shapes["backbone.conv1.weight"]
    output_stride = _OUTPUT_STRIDE[layout]
    found = {
        "name": f"{architecture}_{encoder}",
        "num_outputs": int(shapes[last][0]),
        "width": first[0] / 64,
        "stem": "conv3" if first[-1] == 3 else "conv7_pool",
        "layout": layout,
        "output_stride": output_stride,
        "rates": DEFAULT_RATES[output_stride],
        "ignored": sorted(name for name in names if name.startswith(AUXILIARY)),
    }
    return found | {"summary": _summary(found)}


def _summary(found: Mapping[str, Any]) -> str:
    architecture, encoder = found["name"].split("_")
    parts = [
        f"{_TITLES[architecture]} with {encoder.replace('resnet', 'ResNet-')} in the names of "
        f"{found['layout'].replace('base', 'the base')}: {found['num_outputs']} classes, width "
        f"{found['width']:g}",
        f"output stride {found['output_stride']} and rates "
        f"{', '.join(map(str, found['rates']))} are its defaults, which the weights do not tell",
    ]
    if found["ignored"]:
        parts.append(f"{len(found['ignored'])} arrays of aux_classifier are not used")
    return "; ".join(parts) + "."


def _find_encoder(names: Mapping[str, Any]) -> str:
    """Recognise the depth by the number of blocks and their kind."""
    blocks: dict[int, set[int]] = {}
    for name in names:
        match = re.match(r"backbone\.layer(\d{1,3})\.(\d{1,3})\.", name)
        if match:
            blocks.setdefault(int(match[1]), set()).add(int(match[2]))
    sizes = tuple(len(blocks[stage]) for stage in sorted(blocks))
    kind = Bottleneck if "backbone.layer1.0.conv3.weight" in names else BasicBlock
    for encoder, form in RESNETS.items():
        if form == (kind, sizes):
            return encoder
    seen = f"{kind.__name__} x {', '.join(map(str, sizes))}" if sizes else "no backbone.layer1"
    raise InputError(
        f"`weights`: the encoder is none of {', '.join(RESNETS)}; the names hold {seen}."
    )
