"""Configs as plain values: to JSON and back, field by field, and compared."""

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

from gpool_jax.config.kinds import KINDS, AnyConfig
from gpool_jax.errors import InputError, shown


def to_dict(config: Any) -> dict[str, Any]:
    """A config as plain JSON types, with the name of its class under `kind`."""
    return {"kind": type(config).__name__, **_plain(config)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return list(value) if isinstance(value, tuple) else value


def from_dict(values: dict[str, Any]) -> AnyConfig:
    """The inverse of `to_dict`; raises an `InputError` if the kind or a field is unknown."""
    if not isinstance(values, dict):
        raise InputError(f"a config must be a mapping; got {shown(values)}.")
    values = dict(values)
    kind = values.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f"`kind` must be one of {', '.join(KINDS)}; got {shown(kind)}.")
    return build(KINDS[kind], values)


def build(cls: type, values: dict[str, Any]) -> Any:
    """Make a config, or a section of one, of plain values; an `InputError` for an unknown field."""
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise InputError(f"unknown config field {', '.join(unknown)} of {cls.__name__}.")
    built = {}
    for name, value in values.items():
        if isinstance(value, dict) and dataclasses.is_dataclass(hints[name]):
            value = build(hints[name], value)
        built[name] = tuple(value) if isinstance(value, list) else value
    return cls(**built)


def leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every field of a config and of its sections, as (dotted name, value).

    >>> from gpool_jax.config import PositionConfig
    >>> dict(leaves(PositionConfig(n=5)))["n"]
    5
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, value


def differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Fields in which two plain configs differ, as `name: old -> new`.

    Configs of two kinds differ in their kind alone, since their fields do not compare.

    >>> differences({"n": 3, "model": {"width": 1.0}}, {"n": 5, "model": {"width": 1.0}})
    ['n: 3 -> 5']
    """
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if _same(old, new) else [f"{prefix}: {old!r} -> {new!r}"]
    found = []
    other_kind = "kind" in old and "kind" in new and old["kind"] != new["kind"]
    for name in ["kind"] if other_kind else sorted(set(old) | set(new)):
        dotted = f"{prefix}.{name}" if prefix else name
        found += differences(old.get(name), new.get(name), dotted)
    return found


def _same(old: Any, new: Any) -> bool:
    """Tell whether two plain values are equal; a number that is none equals itself here."""
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_same, old, new))
    return bool(old == new or (old != old and new != new))
