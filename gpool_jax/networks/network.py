"""A network as the measures see it: maps by stage, one of them pooled, and what answers."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax.data.statistics import IMAGENET_STATISTICS
from gpool_jax.errors import InputError, first_line

Maps = dict[str, jax.Array]
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """The inputs that a network expects.

    Attributes:
      size: (height, width) in pixels.
      mean: mean of each colour channel, in units of 0..1, that is subtracted; as many numbers as
        the network has input channels.
      std: standard deviation of each colour channel, that is divided by.
      interpolation: how images are resized, one of `INTERPOLATIONS`.

    Raises:
      InputError: if a value is not allowed.
    """

    size: tuple[int, int] = (224, 224)
    mean: tuple[float, ...] = IMAGENET_STATISTICS[0]
    std: tuple[float, ...] = IMAGENET_STATISTICS[1]
    interpolation: str = "bilinear"

    def __post_init__(self):
        """Refuse what no image can be brought to."""
        if len(self.size) != 2 or not all(0 < side <= 4096 for side in self.size):
            raise InputError(f"`size` must be (height, width) in pixels; got {self.size}.")
        if not self.mean or len(self.mean) != len(self.std):
            raise InputError(
                "`mean` and `std` must be as many numbers as there are colour channels; got "
                f"{self.mean} and {self.std}."
            )
        finite = all(map(math.isfinite, (*self.mean, *self.std)))
        if not finite or min(self.std) <= 0:
            raise InputError(
                f"`mean` must be finite and `std` positive; got {self.mean} and {self.std}."
            )
        if self.interpolation not in INTERPOLATIONS:
            raise InputError(
                f"`interpolation` must be one of {', '.join(INTERPOLATIONS)}; got "
                f"{self.interpolation!r}."
            )

    @property
    def channels(self) -> int:
        """Colour channels of the input."""
        return len(self.mean)

    def shape(self, batch: int) -> tuple[int, int, int, int]:
        """The shape of a batch of inputs, [B, H, W, C]."""
        return batch, *self.size, self.channels


def say_assumed(size: tuple[int, int]) -> str:
    """A note on inputs that neither the network nor its user describes."""
    return (
        f"Assumed, as the network does not tell: inputs of {size[0]}x{size[1]} pixels, normalised "
        "with ImageNet's mean and std."
    )


def mean_pool(maps: jax.Array) -> jax.Array:
    """Average over space or tokens in float32: [B, h, w, C] or [B, T, C] -> float32 [B, C]."""
    return jnp.mean(maps.astype(jnp.float32), axis=tuple(range(1, maps.ndim - 1)))


@dataclasses.dataclass(frozen=True)
class Network:
    """Anything with a map that is pooled.

    Made by `from_run`, `from_weights`, `from_function`, `from_flax`, `from_nnx`, `from_torch`,
    `from_timm`, `from_torchvision` and `from_onnx`.

    Attributes:
      name: the network's name, for titles.
      encode: float32 inputs [B, H, W, C], normalised as `preprocess` says, to its stages' maps
        [B, h, w, C'] (or tokens [B, T, C']) by name, in order, the pooled one last; JAX arrays.
        An `InputError` for inputs of another shape, or if the pooled map is not finite.
      feature: the stage that is pooled.
      pool: from that map to the latent float32 [B, C']; a JAX function.
      classify: from latents to float32 logits [B, K]; a JAX function, so that what follows the
        map can be compiled and mapped for every network; None if no head reads the latent.
      preprocess: what inputs must look like.
      untrained: a seed to the same network with fresh weights; None if there are no such.
      differentiable: whether JAX can differentiate `pool` and `classify`.
      traceable: whether `encode` is a JAX function too (compiled once; it can be differentiated).
      notes: what a reader of its results must know, in sentences.
    """

    name: str
    encode: Callable[[Any], Maps]
    feature: str
    preprocess: Preprocess
    pool: Callable[[jax.Array], jax.Array] = mean_pool
    classify: Callable[[jax.Array], jax.Array] | None = None
    untrained: Callable[[int], "Network"] | None = None
    differentiable: bool = True
    traceable: bool = True
    notes: tuple[str, ...] = ()

    def logits(self, latent: jax.Array) -> jax.Array:
        """Classify latents [B, C'], which must be possible: see `classify`."""
        if self.classify is None:
            raise InputError(f"`network`: no head of {self.name} reads the pooled vector.")
        return self.classify(latent)


def check_inputs(inputs: Any, preprocess: Preprocess) -> jax.Array:
    """Return inputs as float32 [B, H, W, C]; an `InputError` if they are anything else."""
    shape, wanted = np.shape(inputs), preprocess.channels
    if len(shape) != 4 or shape[-1] != wanted:
        hint = " (channels come last, not second)" if len(shape) == 4 and shape[1] == wanted else ""
        raise InputError(
            f"`inputs` must have the shape [B, H, W, {wanted}]; got {list(shape)}{hint}."
        )
    dtype = inputs.dtype if hasattr(inputs, "dtype") else np.asarray(inputs).dtype
    if not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(f"`inputs` must be normalised floating-point numbers; got {dtype}.")
    return jnp.asarray(inputs, jnp.float32)


def check_maps(maps: Any, feature: str | None, batch: int) -> str:
    """Check what `encode` gives, arrays or their shapes, and return the name of the pooled map.

    Raises:
      InputError: if it is not a dict of maps, or the feature is not among them.
    """
    if not isinstance(maps, Mapping) or not maps:
        raise InputError(
            f"`network` must give a dict of stage to map [B, h, w, C]; got {describe(maps)}."
        )
    for name, value in maps.items():
        shape = tuple(getattr(value, "shape", ()))
        if not isinstance(name, str) or len(shape) not in (3, 4) or shape[0] != batch:
            raise InputError(
                f"`network`: stage {name!r} must be a map [B, h, w, C] or tokens [B, T, C] of "
                f"B = {batch} inputs; got {describe(value)}."
            )
    feature = list(maps)[-1] if feature is None else feature
    if feature not in maps:
        raise InputError(f"`feature` must be one of {', '.join(maps)}; got {feature!r}.")
    return feature


def check_answers(network: Network, pooled: jax.ShapeDtypeStruct) -> Network:
    """Check, by shapes alone, what follows the pooled map; returns the network.

    Raises:
      InputError: if `pool` gives no [B, C], or `classify` does not take that or gives no [B, K].
    """
    latent = shape_of("pool", network.pool, pooled)
    if len(latent.shape) != 2 or latent.shape[0] != pooled.shape[0]:
        raise InputError(
            f"`pool` must turn {list(pooled.shape)} into one vector for each input; got "
            f"{list(latent.shape)}."
        )
    if network.classify is not None:
        logits = shape_of("classify", network.classify, latent)
        if len(logits.shape) != 2 or logits.shape[0] != latent.shape[0]:
            raise InputError(
                f"`classify` must turn latents {list(latent.shape)} into logits [B, K]; got "
                f"{list(logits.shape)}."
            )
    return network


def shape_of(field: str, function: Callable, *args: Any) -> Any:
    """Shapes of what a function of the user gives; an `InputError` if it raises."""
    shapes = [list(arg.shape) for arg in args if isinstance(arg, jax.ShapeDtypeStruct)]
    try:
        return jax.eval_shape(function, *args)
    except InputError:
        raise
    except Exception as error:  # anything may be wrong in it
        given = f" on {', '.join(map(str, shapes))}" if shapes else ""
        raise InputError(f"`{field}` fails{given}: {first_line(error)}") from error


def describe(value: Any) -> str:
    """A value's kind, with its shape if it has one."""
    shape = getattr(value, "shape", None)
    return type(value).__name__ if shape is None else f"an array {list(shape)}"


def checked(
    encode: Callable[[jax.Array], Maps], preprocess: Preprocess, feature: str
) -> Callable[[Any], Maps]:
    """Wrap an encoder so that it refuses inputs that do not fit, and outputs that are not finite.

    Inside compiled code, numbers are not known, and only shapes are checked.
    """

    def checking(inputs: Any) -> Maps:
        maps = encode(check_inputs(inputs, preprocess))
        pooled = maps[feature]
        if not isinstance(pooled, jax.core.Tracer) and not jnp.isfinite(pooled).all():
            raise InputError(
                f"`network`: the map {feature!r} has values that are not finite (NaN, infinity)."
            )
        return maps

    return checking
