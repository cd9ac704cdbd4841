"""Networks of this package, from variables or from a file of PyTorch's weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from gpool_jax import models
from gpool_jax.data.statistics import CIFAR_STATISTICS, IMAGENET_STATISTICS
from gpool_jax.errors import InputError
from gpool_jax.models import Classifier
from gpool_jax.models.heads import LinearHead
from gpool_jax.networks.functions import POOLED, from_function
from gpool_jax.networks.network import Network, Preprocess

_STATISTICS = {"CIFAR": CIFAR_STATISTICS, "ImageNet": IMAGENET_STATISTICS}


def from_model(
    model: Classifier,
    variables: Any,
    *,
    preprocess: Preprocess,
    name: str,
    notes: tuple[str, ...] = (),
) -> Network:
    """Make a network of one of `models.create` and its variables, with or without a head's.

    A head that does not read the pooled vector (GAPNet's) gives no answers, and a note says so.

    Raises:
      InputError: if its inputs are too small for it.
    """
    for side in preprocess.size:
        models.check_input_side(model, side, "`size`: the input")
    has_head = "head" in variables["params"]
    if has_head and not isinstance(model.head, LinearHead):
        notes = (*notes, "Its head reads the map, not the pooled vector: answers are not measured.")
        has_head = False
    last = f"stage{len(model.backbone.stage_sizes)}"

    def encode(variables: Any, inputs: jax.Array) -> dict[str, jax.Array]:
        maps: Any = model.apply(variables, inputs, method=lambda module, x: module.backbone(x))
        return {stage: value for stage, value in maps.items() if stage != last}

    def classify(variables: Any, latent: jax.Array) -> Any:
        return model.apply(variables, {"gap": latent}, method=Classifier.classify)

    def init(seed: int) -> Any:
        inputs = jnp.zeros(preprocess.shape(1), jnp.float32)
        return jax.jit(model.init)(jax.random.key(seed), inputs)

    return from_function(
        encode,
        params=variables,
        feature=POOLED,
        classify=classify if has_head else None,
        preprocess=preprocess,
        name=name,
        init=init,
        notes=notes,
    )


def from_weights(
    path: str | Path,
    name: str,
    *,
    preprocess: Preprocess | None = None,
    warn: Callable[[str], None] = print,
    **options: Any,
) -> Network:
    """Make one of this package's networks of a file of PyTorch's weights, with or without a head.

    Args:
      path: .safetensors, or a file of `torch.save` (needs the `[torch]` extra).
      name: one of `models.MODELS`.
      preprocess: the inputs that it expects; None: those usual for such a network.
      warn: takes notes on the file.
      **options: what weights do not tell: `padding`, `stem`, `antialias`, `antialias_layout`,
        `subsampling`, `dtype` of `models.create`.

    Raises:
      InputError: if the weights cannot be read or do not fit.
    """
    weights = models.read_weights(path)
    for note in weights.notes:
        warn(note)
    detected = models.describe(weights.arrays, needs_head=False)
    stem, antialias = options.get("stem"), options.get("antialias", 0)
    known = options | models.fit(name, detected, stem=stem, antialias=antialias)
    head, outputs = detected["head"], detected["num_outputs"]
    # Without a head, one that is never used.
    model = models.create(name, head=head or "linear", num_outputs=outputs or 2, **known)
    variables = models.from_torch(weights.arrays, model, (1, 64, 64, 3), with_head=head is not None)
    statistics = detected["statistics"]
    notes = [*weights.notes, f"Weights of {weights.file}: {_say(detected, known)}."]
    if preprocess is None:
        side = 224 if detected.get("stem") == "conv7_pool" else 32
        mean, std = _STATISTICS[statistics]
        preprocess = Preprocess((side, side), mean, std)
        notes.append(
            f"Assumed, as weights do not tell: inputs of {side}x{side} pixels and the mean and std "
            f"of {statistics}."
        )
    if len(preprocess.mean) != 3:
        raise InputError(
            f"`mean`: imported networks take 3 colour channels; got {preprocess.mean}."
        )
    return from_model(model, variables, preprocess=preprocess, name=name, notes=tuple(notes))


def _say(detected: dict[str, Any], known: dict[str, Any]) -> str:
    """What was read off weights, and what was assumed, in words."""
    head = detected["head"]
    words = [f"{head} head with {detected['num_outputs']} outputs" if head else "no head"]
    words += [f"{field.replace('_', ' ')} {value}" for field, value in known.items()]
    return ", ".join(words)
