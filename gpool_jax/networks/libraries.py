"""`from_timm` and `from_torchvision`: networks by name, with weights that are already here.

Nothing is downloaded: weights come from a file that is named, or from where the library
keeps those that it downloaded before.
"""

import importlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpool_jax import models
from gpool_jax.errors import InputError, first_line, nearest
from gpool_jax.models import weight_files
from gpool_jax.networks.network import INTERPOLATIONS, Network, Preprocess
from gpool_jax.networks.torch_modules import from_torch

# Parts of names that training scripts put before those of a network.
_LEADING = ("module", "_orig_mod", "model", "net", "network", "backbone", "encoder")


def from_timm(
    name: str,
    *,
    checkpoint: str | Path | None = None,
    layer: str | None = None,
    preprocess: Preprocess | None = None,
    **options: Any,
) -> Network:
    """Make one of timm's networks; its inputs are those of the library's own data config.

    Args:
      name: as `timm.create_model` takes it, such as "resnet50.a1_in1k".
      checkpoint: a file of weights; None: those that timm downloaded before.
      layer: see `from_torch`.
      preprocess: the inputs that it expects; None: as timm says.
      **options: of `timm.create_model`, such as `num_classes`.

    Raises:
      InputError: if timm, the network or its weights are not there, or do not fit.
    """
    timm = _library("timm")
    known = timm.list_models() + timm.list_pretrained()

    def make() -> Any:
        return timm.create_model(name, pretrained=False, **options)

    module = _build("timm", name, known, make)
    if checkpoint is None:
        checkpoint = _timm_copy(module)
        if checkpoint is None:
            raise InputError(_how_to_give("timm", name))
    notes = _load(module, checkpoint)
    config = timm.data.resolve_model_data_config(module)
    how = config["interpolation"]
    return from_torch(
        module,
        layer=layer,
        preprocess=preprocess
        or Preprocess(
            size=tuple(config["input_size"][1:]),
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
            interpolation=how if how in INTERPOLATIONS else "bilinear",
        ),
        name=name,
        make=make,
        notes=notes,
    )


def _timm_copy(module: Any) -> str | None:
    """The file in which timm's hub keeps the weights of a network, if it does."""
    config = getattr(module, "pretrained_cfg", None) or {}
    if not config.get("hf_hub_id"):
        return None
    hub = importlib.import_module("huggingface_hub")
    for file in ("model.safetensors", "pytorch_model.bin"):
        found = hub.try_to_load_from_cache(config["hf_hub_id"], file)
        if isinstance(found, str):
            return found
    return None


def from_torchvision(
    name: str,
    *,
    weights: str | None = None,
    checkpoint: str | Path | None = None,
    layer: str | None = None,
    preprocess: Preprocess | None = None,
    **options: Any,
) -> Network:
    """Make one of torchvision's networks; its inputs are those of its weights' own transforms.

    Args:
      name: as `torchvision.models.get_model` takes it, such as "resnet50".
      weights: which published weights, such as "IMAGENET1K_V1"; None: the default ones.
      checkpoint: a file of weights; None: those that torchvision downloaded before.
      layer: see `from_torch`.
      preprocess: the inputs that it expects; None: as the published weights' are.
      **options: of `torchvision.models.get_model`, such as `num_classes`.

    Raises:
      InputError: if torchvision, the network or its weights are not there, or do not fit.
    """
    library = _library("torchvision").models

    def make() -> Any:
        return library.get_model(name, weights=None, **options)

    module = _build("torchvision", name, library.list_models(module=library), make)
    published = library.get_model_weights(name)
    if weights is not None and weights not in published.__members__:
        allowed = ", ".join(published.__members__)
        raise InputError(f"`weights` of {name} must be one of {allowed}; got {weights!r}.")
    chosen = published[weights] if weights else published.DEFAULT
    if checkpoint is None:
        import torch

        copy = Path(torch.hub.get_dir()) / "checkpoints" / os.path.basename(chosen.url)
        if not copy.exists():
            raise InputError(_how_to_give("torchvision", name))
        checkpoint = copy
    notes = _load(module, checkpoint)
    transforms = chosen.transforms()
    side = transforms.crop_size[0]
    return from_torch(
        module,
        layer=layer,
        preprocess=preprocess
        or Preprocess(
            size=(side, side),
            mean=tuple(transforms.mean),
            std=tuple(transforms.std),
            interpolation=transforms.interpolation.value,
        ),
        name=name,
        make=make,
        notes=notes,
    )


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception as error:  # a build for another PyTorch raises other kinds
        raise InputError(
            f"`network`: {name} cannot be imported ({first_line(error)}); install "
            "this package with its extra [timm], such as pip install '.[timm]' in a checkout."
        ) from error


def _build(library: str, name: str, known: list[str], make: Callable[[], Any]) -> Any:
    """Make the module, on a GPU if PyTorch has one."""
    import torch

    if name not in known:
        raise InputError(f"`network`: {library} has no network {name!r}.{nearest(name, known)}")
    try:
        module = make()
    except Exception as error:  # anything may be wrong with options
        raise InputError(f"`network`: {library}:{name}: {first_line(error)}") from error
    return module.to("cuda" if torch.cuda.is_available() else "cpu")


def _how_to_give(library: str, name: str) -> str:
    return (
        f"`network`: the weights of {library}:{name} are not on this machine, and nothing is "
        "downloaded; give a file of them with --checkpoint FILE (checkpoint=)."
    )


def _load(module: Any, path: str | Path) -> tuple[str, ...]:
    """Put a file's weights into a module, wherever scripts have put them; returns notes.

    Raises:
      InputError: one message that counts and names missing, unexpected and misshapen arrays.
    """
    import torch

    weights = models.read_weights(path)
    wanted = module.state_dict()
    found = {_strip(name, wanted): value for name, value in weights.arrays.items()}
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}
    both = set(wanted) & set(found)
    problems = {
        "missing": sorted(set(wanted) - set(found) - counters),
        "unexpected": sorted(set(found) - set(wanted)),
        "misshapen": [
            f"{name} {np.shape(found[name])}, not {tuple(wanted[name].shape)}"
            for name in sorted(both)
            if np.shape(found[name]) != tuple(wanted[name].shape)
        ],
        "not finite": sorted(name for name in both if not np.isfinite(found[name]).all()),
    }
    wrong = [
        f"{len(names):,} {kind}: {weight_files.few(names, limit=90)}"
        for kind, names in problems.items()
        if names
    ]
    if wrong:
        raise InputError(f"`checkpoint`: {weights.file} does not fit: {'; '.join(wrong)}.")
    arrays = {name: torch.tensor(found[name]) for name in both}
    module.load_state_dict(arrays, strict=False)
    return (*weights.notes, f"Weights of {weights.file}.")


def _strip(name: str, wanted: Mapping[str, Any]) -> str:
    """A name without the leading parts that wrappers add, as far as the network has none such."""
    parts = name.split(".")
    while ".".join(parts) not in wanted and len(parts) > 2 and parts[0] in _LEADING:
        parts = parts[1:]
    short = ".".join(parts)
    return short if short in wanted else name
