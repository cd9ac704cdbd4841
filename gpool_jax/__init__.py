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
        AuditConfig,
        ComparisonConfig,
        InvarianceComparisonConfig,
        InvarianceConfig,
        PositionConfig,
        SegmentationConfig,
    )
    from gpool_jax.errors import InputError, RunError
    from gpool_jax.experiments import run
    from gpool_jax.experiments.audit.page import audit
    from gpool_jax.experiments.targets import from_run
    from gpool_jax.networks import (
        Network,
        Preprocess,
        from_flax,
        from_function,
        from_nnx,
        from_onnx,
        from_timm,
        from_torch,
        from_torchvision,
        from_weights,
    )

__version__ = "0.2.0"

__all__ = [
    "AuditConfig",
    "ComparisonConfig",
    "InputError",
    "InvarianceComparisonConfig",
    "InvarianceConfig",
    "Network",
    "PositionConfig",
    "Preprocess",
    "RunError",
    "SegmentationConfig",
    "__version__",
    "audit",
    "from_flax",
    "from_function",
    "from_nnx",
    "from_onnx",
    "from_run",
    "from_timm",
    "from_torch",
    "from_torchvision",
    "from_weights",
    "models",
    "ops",
    "run",
]

_HOMES = {
    "InputError": "errors",
    "Network": "networks",
    "Preprocess": "networks",
    "RunError": "errors",
    "audit": "experiments.audit.page",
    "from_run": "experiments.targets",
    "run": "experiments",
}


def __getattr__(name: str) -> "Any":
    """Import a public name when it is first used, so that `import gpool_jax` is cheap."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in ("models", "ops"):
        return importlib.import_module(f"{__name__}.{name}")
    home = _HOMES.get(name, "networks" if name.startswith("from_") else "config")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return __all__
