"""Encoders of a user's own: `register`, or the name "python:MODULE:FUNCTION"."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from gpool_jax.errors import InputError, first_line
from gpool_jax.imports import PREFIX, find_function

Builder = Callable[..., nn.Module]
# The side of the input on which an encoder's channels and stride are read off.
_SIDE = 64
_COLLECTIONS = {"params", "batch_stats"}

_registered: dict[str, Builder] = {}


def register(name: str, builder: Builder) -> None:
    """Make a Linen encoder known under a name, for `models.create` and every configuration.

    Args:
      name: a name that no network has yet; registered again, it is replaced.
      builder: returns the module, which is called as `module(x [B, H, W, C], train=...)` and
        returns the map [B, h, w, C'] that is pooled, or a dict of maps whose last one is. It may
        have arguments `width`, `padding`, `antialias`, `dtype` and `axis_name`, which then are
        those of `models.create`; batch statistics on several devices need `axis_name`.
    """
    _registered[name] = builder


def registered() -> tuple[str, ...]:
    """Names of the registered encoders."""
    return tuple(_registered)


def is_own(name: str) -> bool:
    """Tell whether a name is that of a user's encoder."""
    return name in _registered or name.startswith(PREFIX)


class OwnEncoder(nn.Module):
    """A user's module, called as this package's encoders are.

    Attributes:
      module: the user's.
      num_channels: channels of the map that is pooled.
      total_stride: input pixels per pixel of that map.
      takes_train: whether the module has an argument `train`.
      padding: that of the configuration; the module's own may differ.
    """

    module: nn.Module
    num_channels: int
    total_stride: int
    takes_train: bool
    padding: str = "zeros"
    stage_sizes: tuple[int, ...] = ()

    @property
    def channels(self) -> dict[str, int]:
        """Channel count where channels can be permuted: of the pooled vector."""
        return {"gap": self.num_channels}

    def __call__(
        self,
        x: jax.Array,
        *,
        start: str | None = None,
        train: bool = False,
        permute_at: str | None = None,
        permutation: jax.Array | None = None,
    ) -> dict[str, jax.Array]:
        """[B, H, W, C] -> the module's maps by name, the last of them as `pre_gap`.

        `start` "pre_gap" says that `x` is that map already.
        """
        if start == "pre_gap":
            return {"pre_gap": x}
        maps = self.module(x, train=train) if self.takes_train else self.module(x)
        return _name_maps(maps)


def _name_maps(maps: Any) -> dict[str, jax.Array]:
    named = dict(maps) if isinstance(maps, dict) else {"map": maps}
    *stages, last = named
    return {f"stage_{name}": named[name] for name in stages} | {"pre_gap": named[last]}


def make_encoder(name: str, options: dict[str, Any], defaults: dict[str, Any]) -> OwnEncoder:
    """Build the user's encoder of a name, and read its channels and stride off a small input.

    Args:
      name: a registered name, or "python:MODULE:FUNCTION".
      options: options of `models.create` for an encoder.
      defaults: their defaults; an option that the builder does not take must have its own.

    Raises:
      InputError: if there is no such builder, or its module cannot be used.
    """
    builder = _registered.get(name) or find_function(name, field="model.name")
    parameters = inspect.signature(builder).parameters
    every = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    given = {key: value for key, value in options.items() if every or key in parameters}
    for key, value in options.items():
        if key not in given and key != "axis_name" and value != defaults[key]:
            raise InputError(f"`model.{key}` is no argument of {name}; got {value!r}.")
    try:
        module = builder(**given)
    except Exception as error:  # anything may be wrong in it
        raise InputError(f"`model.name`: {name} fails: {first_line(error)}") from error
    if not isinstance(module, nn.Module):
        raise InputError(
            f"`model.name`: {name} must return a flax.linen.Module; got a {type(module).__name__}."
        )
    takes_train = "train" in inspect.signature(type(module).__call__).parameters
    encoder = OwnEncoder(module, 1, 1, takes_train, options["padding"])
    shape, has_statistics = _try(encoder, name)
    if has_statistics and "axis_name" not in given and jax.local_device_count() > 1:
        raise InputError(
            f"`model.name`: {name} has batch statistics and no argument `axis_name`: they would "
            f"differ between the {jax.local_device_count()} devices."
        )
    stride = max(1, round(_SIDE / shape[1]))
    return dataclasses.replace(encoder, num_channels=shape[3], total_stride=stride)


def _try(encoder: OwnEncoder, name: str) -> tuple[tuple[int, ...], bool]:
    """The shape of the pooled map of a small input, and whether there are batch statistics."""
    x = jax.ShapeDtypeStruct((2, _SIDE, _SIDE, 3), jnp.float32)
    # The axis of the devices is not there yet.
    local = encoder.clone(module=_without_axis(encoder.module))

    def train_once(x: jax.Array) -> Any:
        variables = local.init(jax.random.key(0), x)
        maps, _ = local.apply(variables, x, train=True, mutable=["batch_stats"])
        return maps, variables

    try:
        maps, variables = jax.eval_shape(train_once, x)
    except Exception as error:  # anything may be wrong in it
        raise InputError(
            f"`model.name`: {name} fails on {list(x.shape)}: {first_line(error)}"
        ) from error
    for stage, value in maps.items():
        shape = getattr(value, "shape", None)
        if shape is None or len(shape) != 4 or shape[0] != 2:
            raise InputError(
                f"`model.name`: {name} must return maps [B, h, w, C]; {stage} is "
                f"{type(value).__name__ if shape is None else list(shape)}."
            )
    if further := sorted(set(variables) - _COLLECTIONS):
        raise InputError(
            f"`model.name`: {name} has variables {', '.join(further)}; only params and batch_stats "
            "are trained and kept."
        )
    return maps["pre_gap"].shape, "batch_stats" in variables


def _without_axis(module: nn.Module) -> nn.Module:
    names = {field.name for field in dataclasses.fields(module)}
    return module.clone(axis_name=None) if "axis_name" in names else module
