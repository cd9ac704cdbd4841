"""Functions of a user's own, by the words "python:MODULE:FUNCTION"."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpool_jax.errors import InputError, first_line, nearest

PREFIX = "python:"


def find_function(words: str, *, field: str) -> Callable[..., Any]:
    """Import the function that "python:MODULE:FUNCTION" names; also from the current folder.

    Raises:
      InputError: with the field's name, if there is no such function.
    """
    home, _, name = words.removeprefix(PREFIX).partition(":")
    if not home or not name:
        raise InputError(f"`{field}` must be python:MODULE:FUNCTION; got {words}.")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        module = importlib.import_module(home)
    except ModuleNotFoundError as error:
        raise InputError(f"`{field}`: {words}: {error}.") from error
    except Exception as error:  # anything may be wrong in it
        raise InputError(f"`{field}`: importing {home} fails: {first_line(error)}") from error
    finally:
        if here in sys.path:
            sys.path.remove(here)
    function = getattr(module, name, None)
    if function is not None and not callable(function):
        kind = type(function).__name__
        raise InputError(f"`{field}`: {name} of {home} is no function, but a {kind}.")
    if function is None:
        hint = nearest(name, dir(module))
        raise InputError(f"`{field}`: {home} has no function {name!r}.{hint}")
    return function
