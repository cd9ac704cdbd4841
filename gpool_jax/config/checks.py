"""Configs as values: checked, made plain for JSON and back, compared."""

import dataclasses
import types
import typing
from typing import Any, Literal

from gpool_jax.config import (
    KINDS,
    AnyConfig,
    AttackConfig,
    ComparisonConfig,
    ConsistencyConfig,
    InvarianceComparisonConfig,
    InvarianceConfig,
    PositionConfig,
    ProbeConfig,
    RankConfig,
    SegmentationConfig,
    ShiftConfig,
    TrainConfig,
)
from gpool_jax.errors import InputError


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)


# Counts that may be 0; every other whole number of a section is at least 1.
_MAY_BE_ZERO = (
    "data.workers",
    "train.steps_per_dispatch",
    "train.warmup_steps",
    "shift.max_shift",
    "shift.warmup_steps",
    "consistency.num_pairs",
    "model.antialias",
    "attack.random_draws",
    "attack.matched_draws",
    "attack.overlays",
    "eval.overlays",
)


def check(config: AnyConfig) -> None:
    """Check every number that needs no data and no network to be checked.

    Raises:
      InputError: naming the field, the bad value and what is allowed.
    """
    _check_types(config, "")
    _require(0 <= config.seed < 2**31, f"`seed` must be in [0, 2**31); got {config.seed}.")
    for section, values in vars(config).items():
        if not dataclasses.is_dataclass(values):
            continue
        for name, value in vars(values).items():
            field = f"{section}.{name}"
            least = 0 if field in _MAY_BE_ZERO else 1
            if type(value) is int:
                _require(value >= least, f"`{field}` must be at least {least}; got {value}.")
    for value in config.data.std or ():
        _require(value > 0, f"`data.std` must be positive; got {value}.")
    _check_train(config.train)
    if isinstance(config, PositionConfig | SegmentationConfig):
        _check_rank(config.rank)
        _check_attack(config.attack)
    if isinstance(config, SegmentationConfig):
        _check_segmentation(config)
    else:
        _check_classification(config)


def _check_classification(config: Any) -> None:
    _require(config.n >= 2, f"`n` must be at least 2; got {config.n}.")
    scale = config.data.min_scale
    _require(0 < scale <= 1, f"`data.min_scale` must be in (0, 1]; got {scale}.")
    _check_probe(config.probe)
    if isinstance(config, ComparisonConfig):
        _require(len(config.heads) > 0, "`heads` must name at least one head; got none.")
        _require(len(config.tasks) > 0, "`tasks` must name at least one task; got none.")
    else:
        _check_consistency(config.consistency)
    if isinstance(config, InvarianceConfig | InvarianceComparisonConfig):
        _check_shift(config.shift)
    if isinstance(config, InvarianceComparisonConfig):
        _require(len(config.arms) > 0, "`arms` must name at least one arm; got none.")
        _require(
            len(set(config.arms)) == len(config.arms), f"`arms` names an arm twice: {config.arms}."
        )
        _require(
            len(set(config.weights)) == len(config.weights),
            f"`weights` names a weight twice: {config.weights}.",
        )
        _require(
            config.shift.weight > 0 or not any("augshift" in arm for arm in config.arms),
            "`shift.weight` must be positive for the augshift arms; got 0.",
        )
        _require(
            config.model.antialias > 0 or not any("blurpool" in arm for arm in config.arms),
            "`model.antialias` must be 3 or 5 for the blurpool arms; got 0.",
        )
        _require(
            "augshift" not in config.arms or config.shift.weight not in config.weights,
            f"`weights` repeats the weight of the arm augshift: {config.shift.weight:g}.",
        )
        _require(
            config.consistency.enabled or config.probe.enabled,
            "`consistency.enabled` and `probe.enabled` are both off: nothing would be measured.",
        )
        for weight in config.weights:
            _require(0 <= weight < float("inf"), f"`weights` must be at least 0; got {weight}.")
    if isinstance(config, ComparisonConfig | InvarianceComparisonConfig):
        _require(config.num_seeds >= 1, f"`num_seeds` must be at least 1; got {config.num_seeds}.")


def _check_train(train: TrainConfig) -> None:
    _require(
        0 < train.learning_rate < float("inf"),
        f"`train.learning_rate` must be positive and finite; got {train.learning_rate}.",
    )
    for name in ("b1", "b2", "momentum", "label_smoothing", "ema_decay"):
        value = getattr(train, name)
        inside = value is None or 0 <= value < 1
        _require(inside, f"`train.{name}` must be in [0, 1); got {value}.")
    _require(
        0 <= train.backbone_rate < float("inf"),
        f"`train.backbone_rate` must be at least 0; got {train.backbone_rate}.",
    )
    _require(
        train.weight_decay >= 0,
        f"`train.weight_decay` must be at least 0; got {train.weight_decay}.",
    )
    for step in train.milestones:
        _require(
            0 < step <= train.steps,
            f"`train.milestones` must be in [1, train.steps = {train.steps}]; got {step}.",
        )


def _check_probe(probe: ProbeConfig) -> None:
    _require(probe.folds >= 3, f"`probe.folds` must be at least 3; got {probe.folds}.")
    for kind in probe.kinds:
        _require(
            kind in ("ridge", "logistic", "mlp"),
            f"`probe.kinds` must be among ridge, logistic, mlp; got {kind!r}.",
        )


def _check_shift(shift: ShiftConfig) -> None:
    _require(
        0 <= shift.weight < float("inf"),
        f"`shift.weight` must be at least 0 and finite; got {shift.weight}.",
    )
    _require(
        shift.weight == 0 or shift.views >= 2,
        f"`shift.views` must be at least 2 for an invariance loss (shift.weight {shift.weight:g}); "
        f"got {shift.views}.",
    )


def _check_consistency(consistency: ConsistencyConfig) -> None:
    if not consistency.enabled:
        return
    _require(
        len(consistency.protocols) > 0, "`consistency.protocols` must name at least one; got none."
    )
    _require(
        consistency.num_pairs > 0 or consistency.max_shift >= consistency.grid_step,
        f"`consistency.grid_step` must be at most consistency.max_shift = {consistency.max_shift}; "
        f"got {consistency.grid_step}.",
    )


def _check_rank(rank: RankConfig) -> None:
    for name in ("methods", "regions", "splits", "overlap"):
        value = getattr(rank, name)
        _require(len(value) > 0, f"`rank.{name}` must name at least one; got none.")
        _require(len(set(value)) == len(value), f"`rank.{name}` names one twice: {value}.")
    for count in rank.overlap:
        _require(count >= 1, f"`rank.overlap` must be at least 1; got {count}.")
    _require(rank.grid >= 2, f"`rank.grid` must be at least 2; got {rank.grid}.")


def _check_attack(attack: AttackConfig) -> None:
    for name in ("methods", "fills", "splits"):
        value = getattr(attack, name)
        _require(len(value) > 0, f"`attack.{name}` must name at least one; got none.")
        _require(len(set(value)) == len(value), f"`attack.{name}` names one twice: {value}.")
    for count in attack.counts:
        _require(count >= 1, f"`attack.counts` must be at least 1; got {count}.")


def _check_segmentation(config: SegmentationConfig) -> None:
    data, loss = config.data, config.loss
    for name in ("size", "crop"):
        for value in getattr(data, name) or ():
            _require(value >= 1, f"`data.{name}` must be at least 1 pixel; got {value}.")
    _require(
        0 < data.min_scale <= data.max_scale < float("inf"),
        f"`data.min_scale` must be positive and at most data.max_scale = {data.max_scale}; got "
        f"{data.min_scale}.",
    )
    _require(0 <= data.jitter < 1, f"`data.jitter` must be in [0, 1); got {data.jitter}.")
    _require(
        0 <= loss.focal_gamma < float("inf"),
        f"`loss.focal_gamma` must be at least 0; got {loss.focal_gamma}.",
    )
    for weight in loss.class_weights or ():
        _require(weight >= 0, f"`loss.class_weights` must be at least 0; got {weight}.")


def _check_types(config: Any, prefix: str) -> None:
    """Check every field against its annotation: configs also come from files and Python."""
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, hint = getattr(config, field.name), hints[field.name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            _require(isinstance(value, hint), f"`{prefix}{field.name}` must be a {hint.__name__}.")
            _check_types(value, f"{prefix}{field.name}.")
            continue
        _require(
            _fits(value, hint), f"`{prefix}{field.name}` must be {_describe(hint)}; got {value!r}."
        )


def _describe(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return ", ".join(map(str, typing.get_args(hint)))
    if typing.get_origin(hint) is tuple:
        args = typing.get_args(hint)
        number = "several" if args[-1] is Ellipsis else str(len(args))
        return f"{number} of {_describe(args[0])}"
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return " or ".join(_describe(option) for option in typing.get_args(hint))
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


def to_dict(config: Any) -> dict[str, Any]:
    """A config as plain JSON types, with the name of its class under `kind`."""
    return {"kind": type(config).__name__, **_plain(config)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return list(value) if isinstance(value, tuple) else value


def from_dict(values: dict[str, Any]) -> AnyConfig:
    """The inverse of `to_dict`.

    Raises:
      InputError: if the kind or a field is unknown.
    """
    _require(isinstance(values, dict), f"a config must be a mapping; got {values!r}.")
    values = dict(values)
    kind = values.pop("kind", None)
    _require(kind in KINDS, f"`kind` must be one of {', '.join(KINDS)}; got {kind!r}.")
    return _build(KINDS[kind], values)


def _build(cls: type, values: dict[str, Any]) -> Any:
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    _require(not unknown, f"unknown config field {', '.join(unknown)} of {cls.__name__}.")
    built = {}
    for name, value in values.items():
        if isinstance(value, dict):
            value = _build(hints[name], value)
        built[name] = tuple(value) if isinstance(value, list) else value
    return cls(**built)


def differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Fields in which two plain configs differ, as `name: old -> new`.

    >>> differences({"n": 3, "model": {"width": 1.0}}, {"n": 5, "model": {"width": 1.0}})
    ['n: 3 -> 5']
    """
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [f"{prefix}: {old!r} -> {new!r}"]
    found = []
    for name in sorted(set(old) | set(new)):
        dotted = f"{prefix}.{name}" if prefix else name
        found += differences(old.get(name), new.get(name), dotted)
    return found
