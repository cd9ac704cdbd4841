"""One file per suite: what is timed, at which sizes, and who does it.

A suite has `cases(quick) -> list[Case]`, contenders at the same work, or
`rows(quick) -> list[Row]`, where what is measured is no race.
"""

import importlib
from types import ModuleType

SUITES = (
    "accuracy",
    "train",
    "evaluate",
    "rank",
    "attack",
    "audit",
    "input",
    "startup",
    "scaling",
)


def load(name: str) -> ModuleType:
    """The module of a suite."""
    return importlib.import_module(f"benchmarks.suites.{name}")
