"""Checks of a config's values that need neither data nor network."""

import dataclasses
import math
import types
import typing
from collections.abc import Callable
from typing import Any, Literal

from gpool_jax.config import paths
from gpool_jax.config.audit import AuditConfig
from gpool_jax.config.kinds import CROSS_CHECKS, AnyConfig
from gpool_jax.config.measurements import ConsistencyConfig
from gpool_jax.config.plain import leaves
from gpool_jax.config.sections import DataConfig, PixelDataConfig, ShiftConfig, TrainConfig
from gpool_jax.errors import InputError, shown

_PROBES = ("ridge", "logistic", "mlp")
# What each value of a field may be, or each item where it holds several: a test, and words.
RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    name: (fits, allowed)
    for names, fits, allowed in (
        ("seed", lambda v: 0 <= v < 2**31, "in [0, 2**31)"),
        ("data.mean", lambda v: 0 <= v <= 1, "in [0, 1] (in units of 0..1, not 0..255)"),
        ("data.std", lambda v: 0 < v <= 1, "in (0, 1] (in units of 0..1, not 0..255)"),
        (
            "data.side data.eval_side data.resize data.size data.crop",
            lambda v: 1 <= v <= 8192,
            "in [1, 8192] pixels",
        ),
        ("folds", lambda v: 3 <= v <= 10, "in [3, 10]"),
        ("removed", lambda v: 0 < v <= 0.5, "in (0, 0.5]"),
        ("n ns rank.grid", lambda v: v >= 2, "at least 2"),
        ("probe.folds", lambda v: v >= 3, "at least 3"),
        ("probe.kinds", lambda v: v in _PROBES, f"among {', '.join(_PROBES)}"),
        (
            "train.learning_rate attack.caliper caliper",
            lambda v: 0 < v < float("inf"),
            "positive and finite",
        ),
        (
            "weights loss.focal_gamma loss.class_weights train.backbone_rate train.weight_decay "
            "shift.weight",
            lambda v: 0 <= v < float("inf"),
            "at least 0 and finite",
        ),
        (
            "data.jitter train.momentum train.label_smoothing train.ema_decay train.b1 train.b2",
            lambda v: 0 <= v < 1,
            "in [0, 1)",
        ),
        (
            "data.workers model.antialias train.warmup_steps train.steps_per_dispatch "
            "eval.overlays probe.untrained twins shift.max_shift shift.warmup_steps consistency.num_pairs "
            "attack.random_draws attack.matched_draws attack.overlays",
            lambda v: v >= 0,
            "at least 0",
        ),
    )
    for name in names.split()
}

# Fields that name at least one thing.
_LISTS = (
    "heads tasks arms rank.methods rank.regions rank.splits rank.overlap attack.methods "
    "attack.fills attack.splits"
).split()
# Fields of several that are numbers in their places; in all others, nothing stands twice.
_VECTORS = "data.mean data.std data.size data.crop model.rates loss.class_weights".split()
# Fields that name a file or a folder; data.dir may be an address, which tfds reads.
_PATHS = ("data.path", "data.cache_dir", "images")
# JAX counts in 32 bits.
_INT_BITS = 31


def check(config: AnyConfig | AuditConfig) -> None:
    """Check every value that needs no data and no network, or raise an `InputError`."""
    check_types(config)
    for name, value in leaves(config):
        _check_field(name, value)
    for section in vars(config).values():
        _check_together(section)
    if type(config) in CROSS_CHECKS:
        CROSS_CHECKS[type(config)](config)


def overrides_error(names: str) -> InputError:
    """The error for other values of fields that a finished run was trained with."""
    return InputError(
        "a finished run can be measured with other eval.*, probe.*, consistency.*, rank.*, "
        f"attack.* and data.dir, data.path or data.cluster only; got {names}."
    )


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)


def _check_field(name: str, value: Any) -> None:
    if name in _LISTS:
        _require(len(value) > 0, f"`{name}` must name at least one; got none.")
    if isinstance(value, tuple) and name not in _VECTORS:
        _require(len(set(value)) == len(value), f"`{name}` names one twice: {shown(value)}.")
    for item in value if isinstance(value, tuple) else (value,):
        _check_item(name, item)


def _check_item(name: str, item: Any) -> None:
    """Check a value, or one of several."""
    if type(item) is int:
        small = item.bit_length() <= _INT_BITS
        _require(small, f"`{name}` must be below 2**{_INT_BITS}; got {shown(item)}.")
    if isinstance(item, str):
        _require(item != "", f"`{name}` must not be empty; got ''.")
    if name in _PATHS and item is not None:
        paths.check(name, item)
    if name in RULES and item is not None:
        fits, allowed = RULES[name]
        _require(fits(item), f"`{name}` must be {allowed}; got {item!r}.")
    elif type(item) is int:
        _require(item >= 1, f"`{name}` must be at least 1; got {item}.")
    if type(item) is float:
        _require(math.isfinite(item), f"`{name}` must be finite; got {item}.")


def _check_together(part: Any) -> None:
    """Check fields of a section against each other."""
    match part:
        case DataConfig(min_scale=scale):
            _require(0 < scale <= 1, f"`data.min_scale` must be in (0, 1]; got {scale}.")
        case PixelDataConfig(min_scale=scale, max_scale=most):
            _require(
                0 < scale <= most < float("inf"),
                f"`data.min_scale` must be positive and at most data.max_scale = {most}; got "
                f"{scale}.",
            )
        case TrainConfig(steps=steps):
            for step in part.milestones:
                allowed = f"in [1, train.steps = {steps}]"
                _require(0 < step <= steps, f"`train.milestones` must be {allowed}; got {step}.")
            warmup = part.warmup_steps
            _require(
                warmup <= steps,
                f"`train.warmup_steps` must be at most train.steps = {steps}; got {warmup}.",
            )
        case ShiftConfig(views=views, weight=weight):
            _require(
                weight == 0 or views >= 2,
                f"`shift.views` must be at least 2 for an invariance loss (shift.weight "
                f"{weight:g}); got {views}.",
            )
        case ConsistencyConfig(enabled=True, max_shift=most, grid_step=step):
            listed = len(part.protocols) > 0
            _require(listed, "`consistency.protocols` must name at least one; got none.")
            _require(
                part.num_pairs > 0 or most >= step,
                f"`consistency.grid_step` must be at most consistency.max_shift = {most}; got "
                f"{step}.",
            )


def check_types(config: Any, prefix: str = "") -> None:
    """Check every field against its annotation: configs also come from files and Python."""
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        name, value, hint = prefix + field.name, getattr(config, field.name), hints[field.name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            check_types(value, f"{name}.")
        else:
            _require(_fits(value, hint), f"`{name}` must be {_describe(hint)}; got {shown(value)}.")


def _describe(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return ", ".join(map(str, args))
    if origin is tuple:
        number = "several" if args[-1] is Ellipsis else str(len(args))
        return f"{number} of {_describe(args[0])}"
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_describe(option) for option in args)
    return "None" if hint is type(None) else str(getattr(hint, "__name__", hint))


def _fits(value: Any, hint: Any) -> bool:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return value in args
    if origin is tuple:
        variable = args[-1] is Ellipsis
        fits = isinstance(value, tuple) and all(_fits(v, args[0]) for v in value)
        return fits and (variable or len(value) == len(args))
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, option) for option in args)
    if hint is float:
        return type(value) in (int, float)
    # A bool is an int to Python, not to a person.
    return type(value) is hint
