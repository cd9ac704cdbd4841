"""`open`: from the words of a command line to a network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpool_jax.errors import InputError, first_line
from gpool_jax.imports import PREFIX, find_function
from gpool_jax.networks.libraries import from_timm, from_torchvision
from gpool_jax.networks.network import Network, Preprocess
from gpool_jax.networks.onnx_graphs import from_onnx
from gpool_jax.networks.ours import from_weights
from gpool_jax.networks.torch_modules import from_torch

# What may be given beside each kind of words, in the words of the command line.
_TAKES = {
    "timm": ("checkpoint", "layer"),
    "torchvision": ("checkpoint", "layer"),
    "onnx": ("layer",),
    "python": ("layer",),
    "": ("model",),
}


def open(
    words: str,
    *,
    model: str | None = None,
    checkpoint: str | Path | None = None,
    layer: str | None = None,
    preprocess: Preprocess | None = None,
    warn: Callable[[str], None] = print,
) -> Network:
    """Open the network that is meant by words of a command line; see also `from_run`.

    Args:
      words: "timm:NAME", "torchvision:NAME", "onnx:FILE", "python:MODULE:FUNCTION" (called without
        arguments, it gives a `Network` or a `torch.nn.Module`), or FILE, of weights.
      model: the name of FILE's network, one of `models.MODELS`.
      checkpoint: a file of the weights of a network of timm or torchvision.
      layer: the module that gives the pooled map, or for ONNX the node; None: find it.
      preprocess: the inputs that it expects; None: what the network tells, or what is usual.
      warn: takes notes on files.

    Raises:
      InputError: if there is no such network, or it cannot be used.
    """
    kind, colon, rest = words.partition(":")
    if not colon or kind not in _TAKES:
        kind, rest = "", words
    given = {"model": model, "checkpoint": checkpoint, "layer": layer}
    for option, value in given.items():
        if value is not None and option not in _TAKES[kind]:
            raise InputError(f"`--{option}` does not belong to {words}; got {value}.")
    if not rest:
        raise InputError(f"`network`: {words} names nothing; say {kind}:NAME.")
    if kind == "timm":
        return from_timm(rest, checkpoint=checkpoint, layer=layer, preprocess=preprocess)
    if kind == "torchvision":
        return from_torchvision(rest, checkpoint=checkpoint, layer=layer, preprocess=preprocess)
    if kind == "onnx":
        return from_onnx(rest, node=layer, preprocess=preprocess)
    if kind == "python":
        return _from_python(rest, layer, preprocess)
    if not Path(words).exists():
        kinds = "timm:NAME, torchvision:NAME, onnx:FILE or python:MODULE:FUNCTION"
        raise InputError(
            f"`network`: there is no {words}; give the folder of a run, a file of weights, {kinds}."
        )
    if model is None:
        raise InputError(f"`--model` must name the network of {words}, e.g. resnet18; got none.")
    return from_weights(words, model, preprocess=preprocess, warn=warn)


def _from_python(words: str, layer: str | None, preprocess: Preprocess | None) -> Network:
    """Call a function of a user's module, which is looked for in the current folder too."""
    make = find_function(f"{PREFIX}{words}", field="network")
    try:
        made: Any = make()
    except InputError:
        raise
    except Exception as error:  # anything may be wrong in it
        raise InputError(f"`network`: {words}() fails: {first_line(error)}") from error
    if isinstance(made, Network):
        if layer is not None or preprocess is not None:
            raise InputError(
                f"`network`: {words}() gives a Network, whose layer and inputs it says."
            )
        return made
    if not hasattr(made, "named_modules"):
        raise InputError(
            f"`network`: {words}() must give a Network (gpool_jax.from_*) or a torch.nn.Module; "
            f"got a {type(made).__name__}."
        )
    return from_torch(made, layer=layer, preprocess=preprocess, name=words.partition(":")[2])
