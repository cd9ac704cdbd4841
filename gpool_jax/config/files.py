"""Config files: found by path or by name, loaded, and listed."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from gpool_jax.errors import InputError, nearest, shown

# Those that come with the package.
_FOLDER = Path(__file__).parent.parent / "configs"


def load(name: str | Path, kinds: tuple[type, ...]) -> Any:
    """Load a config of one of these kinds, from a Python file or by its name in `catalog`.

    `configs/NAME.py`, where there is no such file, is a name too.

    Raises:
      InputError: if there is none, or it cannot be loaded, or is of another kind.
    """
    path = Path(name)
    if path.is_file():
        module = _execute(path)
        config = getattr(module, "config", None)
        if config is None and hasattr(module, "configs"):
            raise InputError(
                f"`config`: {path} holds several; name one: {', '.join(module.configs)}."
            )
    else:
        known = catalog() if path.parent.name in ("", "configs") else {}
        if path.stem not in known:
            hint = nearest(path.stem, known) or " `gpool configs` lists those that have a name."
            raise InputError(f"`config`: there is no file {path}.{hint}")
        config = known[path.stem][1]
    if type(config) not in kinds:
        raise InputError(
            f"`config`: {name} must define `config`, one of "
            f"{', '.join(kind.__name__ for kind in kinds)}; got {type(config).__name__}."
        )
    return config


def catalog() -> dict[str, tuple[str, Any]]:
    """Every config that comes with the package: its name, what it is in one line, and itself."""
    found: dict[str, tuple[str, Any]] = {}
    for path in sorted(_FOLDER.glob("[!_]*.py")):
        module = _execute(path)
        if hasattr(module, "configs"):
            found |= module.configs
        else:
            found[path.stem] = ((module.__doc__ or "").partition("\n")[0], module.config)
    return found


def _execute(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"`config`: {path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # it is the user's code: any kind
        raise InputError(f"`config`: {path} cannot be loaded: {shown(error)}.") from None
    return module
