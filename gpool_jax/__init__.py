"""How much position does a globally pooled vector carry, and in which channels?

>>> import gpool_jax as gp
>>> gp.PositionConfig(task="location").n
3
"""

import importlib

# Not from `typing`: `python -m gpool_jax` would take a typing.py of the working folder.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gpool_jax import models, ops
    from gpool_jax.config import (
        ComparisonConfig,
        InvarianceComparisonConfig,
        InvarianceConfig,
        PositionConfig,
        SegmentationConfig,
    )
    from gpool_jax.errors import InputError, RunError
    from gpool_jax.experiments import run

__version__ = "0.1.0"

__all__ = [
    "ComparisonConfig",
    "InputError",
    "InvarianceComparisonConfig",
    "InvarianceConfig",
    "PositionConfig",
    "RunError",
    "SegmentationConfig",
    "__version__",
    "models",
    "ops",
    "run",
]


def __getattr__(name: str) -> "Any":
    """Import a public name when it is first used, so that `import gpool_jax` is cheap."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in ("models", "ops"):
        return importlib.import_module(f"{__name__}.{name}")
    home = {"run": "experiments", "InputError": "errors", "RunError": "errors"}.get(name, "config")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return __all__
