"""Encoders of a user's own: registered ones, and "python:MODULE:FUNCTION"."""

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
# The map that is pooled, among several.
_POOLED = "pre_gap"

# Builders by name; see `models.register`.
REGISTERED: dict[str, Builder] = {}


def is_own(name: str) -> bool:
    """Tell whether a name is that of a user's encoder."""
    return name in REGISTERED or name.startswith(PREFIX)


class OwnEncoder(nn.Module):
    """A user's module, called as this package's encoders are.

    Two are equal if they were built alike: a module need not be hashable.

    Attributes:
      source: the builder's name and its arguments.
      num_channels: channels of the map that is pooled.
      total_stride: input pixels per pixel of that map.
      padding: that of the configuration; the module's own may differ.
      module: the user's.
      takes_train: whether the module has an argument `train`.
    """

    source: str
    num_channels: int = 1
    total_stride: int = 1
    padding: str = "zeros"
    stage_sizes: tuple[int, ...] = ()
    module: Any = dataclasses.field(default=None, compare=False, hash=False)
    takes_train: bool = False

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
        """[B, H, W, C] -> the module's maps, under "stage_NAME", and `pre_gap`.

        `start` "pre_gap" says that `x` is that map already.
        """
        if start == _POOLED:
            return {_POOLED: x}
        maps = self.module(x, train=train) if self.takes_train else self.module(x)
        if not isinstance(maps, dict):
            return {_POOLED: maps}
        if _POOLED not in maps:
            raise InputError(f"among maps {', '.join(map(str, maps))} there must be {_POOLED!r}.")
        stages = {f"stage_{name}": value for name, value in maps.items() if name != _POOLED}
        return stages | {_POOLED: maps[_POOLED]}


def make_encoder(name: str, options: dict[str, Any], defaults: dict[str, Any]) -> OwnEncoder:
    """Build the user's encoder of a name, and read its channels and stride off a small input.

    Args:
      name: a registered name, or "python:MODULE:FUNCTION".
      options: options of `models.create` for an encoder.
      defaults: their defaults; an option that the builder does not take must have its own.

    Raises:
      InputError: if there is no such builder, or its module cannot be used.
    """
    builder = REGISTERED.get(name) or find_function(name, field="model.name")
    parameters = inspect.signature(builder).parameters
    every = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    given = {key: value for key, value in options.items() if every or key in parameters}
    for key, value in options.items():
        if key not in given and key != "axis_name" and value != defaults[key]:
            raise InputError(f"`model.{key}` is no argument of {name}; got {value!r}.")

    def build(**changes: Any) -> OwnEncoder:
        arguments = given | {key: value for key, value in changes.items() if key in given}
        try:
            module = builder(**arguments)
        except InputError:
            raise
        except Exception as error:  # anything may be wrong in it
            raise InputError(f"`model.name`: {name} fails: {first_line(error)}") from error
        if not isinstance(module, nn.Module):
            raise InputError(
                f"`model.name`: {name} must return a flax.linen.Module; got {module!r:.80}."
            )
        return OwnEncoder(
            source=f"{name} {sorted(arguments.items(), key=repr)}",
            padding=options["padding"],
            module=module,
            takes_train="train" in inspect.signature(type(module).__call__).parameters,
        )

    # The axis of the devices is not there yet.
    shape, has_statistics = _try(build(axis_name=None), name)
    on_several = options["axis_name"] is not None and jax.device_count() > 1
    if has_statistics and on_several and "axis_name" not in given:
        raise InputError(
            f"`model.name`: {name} has batch statistics and no argument `axis_name`: they would "
            f"differ between the {jax.device_count()} devices."
        )
    stride = max(1, round(_SIDE / shape[1]))
    return dataclasses.replace(build(), num_channels=shape[3], total_stride=stride)


def _try(encoder: OwnEncoder, name: str) -> tuple[tuple[int, ...], bool]:
    """The shape of the pooled map of a small input, and whether there are batch statistics."""
    x = jax.ShapeDtypeStruct((2, _SIDE, _SIDE, 3), jnp.float32)

    def train_once(x: jax.Array) -> Any:
        variables = encoder.init(jax.random.key(0), x)
        maps, _ = encoder.apply(variables, x, train=True, mutable=["batch_stats"])
        return maps, variables

    try:
        maps, variables = jax.eval_shape(train_once, x)
    except Exception as error:  # anything may be wrong in it
        raise InputError(
            f"`model.name`: {name} fails on {list(x.shape)}: {first_line(error)}"
        ) from error
    for stage, value in maps.items():
        shape = getattr(value, "shape", None)
        if shape is None or len(shape) != 4 or shape[0] != 2 or 0 in shape:
            raise InputError(
                f"`model.name`: {name} must return maps [B, h, w, C]; of inputs {list(x.shape)} "
                f"{stage} is {type(value).__name__ if shape is None else list(shape)}."
            )
    if further := sorted(set(variables) - _COLLECTIONS):
        raise InputError(
            f"`model.name`: {name} has variables {', '.join(further)}; only params and batch_stats "
            "are trained and kept."
        )
    return maps[_POOLED].shape, "batch_stats" in variables


def check_input(encoder: OwnEncoder, shape: tuple[int, ...]) -> None:
    """Raise if an encoder does not give, of inputs [1, H, W, C], as many channels as of others."""
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    try:
        maps, _ = jax.eval_shape(encoder.init_with_output, jax.random.key(0), x)
    except Exception as error:  # anything may be wrong in it
        raise InputError(f"`model.name` fails on {list(shape)}: {first_line(error)}") from error
    if maps[_POOLED].shape[3] != encoder.num_channels:
        raise InputError(
            f"`model.name` gives {encoder.num_channels} channels of images in 3 colours, and "
            f"{maps[_POOLED].shape[3]} of inputs {list(shape)}; it must give as many of any."
        )
