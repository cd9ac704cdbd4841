"""Files of weights from outside: read safely into names and arrays, or refused in one line."""

import argparse
import dataclasses
import pathlib
import pickle
import re
import stat
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from gpool_jax.errors import InputError

SUFFIXES = (".safetensors", ".pth", ".pt", ".pth.tar", ".th", ".ckpt", ".bin")
# Names under which training scripts keep the weights, the one to take first. A moving average
# comes before the parameters it averages: it is what such scripts evaluate and publish.
WRAPPERS = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema"),
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module"),
)
_HOW_TO_SAVE = "save the weights alone, with torch.save(network.state_dict(), FILE)"
_SAFETENSORS_TYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "F8_E4M3": jnp.float8_e4m3fn,
    "F8_E5M2": jnp.float8_e5m2,
    "BOOL": np.bool_,
    **{f"{kind}{bits}": f"{kind}{bits // 8}".lower() for kind in "IU" for bits in (8, 16, 32, 64)},
}


@dataclasses.dataclass(frozen=True)
class Weights:
    """The weights in a file.

    Attributes:
      arrays: float32 arrays by their names in the file.
      file: the file's name, safe to print.
      notes: which weights were taken, in sentences, where the file holds more than one set.
    """

    arrays: dict[str, np.ndarray]
    file: str
    notes: list[str]


def read_weights(path: str | Path) -> Weights:
    """Read a file of weights; nothing that the file holds is executed.

    Weights may lie under one of `WRAPPERS`, beside other things (an optimizer, an epoch,
    `argparse` options). Of several sets, the one named first in `WRAPPERS` is taken.

    Args:
      path: a file of safetensors, or of `torch.save` (needs the `[torch]` extra; loaded with
        `weights_only=True`), which its content tells; its name ends in one of `SUFFIXES`.

    Raises:
      InputError: if the file is missing, damaged, of another kind, or holds no weights.
    """
    path = Path(path)
    file = show(path.name)
    if not path.name.lower().endswith(SUFFIXES):
        raise InputError(f"`weights` must end in {', '.join(SUFFIXES)}; got {file}.")
    start = _read_start(path)
    if start[8:9] == b"{":
        loaded: Any = _read_safetensors(path)
    elif start.startswith((b"PK", b"\x80")):
        loaded = _read_torch(path)
    else:
        raise InputError(f"`weights`: {file} {_name_content(start)}.")
    taken, found, others = choose(loaded, file)
    notes = []
    if others:
        notes.append(
            f"Of {few([taken, *others], 4)} in {file}, the weights of {taken} were taken (a moving "
            "average comes first); to use others, save them alone."
        )
    arrays = {name: to_array(name, value) for name, value in found.items()}
    return Weights(arrays, file, notes)


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Read a file of weights as a flat mapping of name to float32 array; see `read_weights`."""
    return read_weights(path).arrays


def choose(held: Any, file: str = "the mapping") -> tuple[str, dict[str, Any], list[str]]:
    """Find the weights in what a file holds: their place, their arrays by name, other places.

    Raises:
      InputError: if there are no arrays, or their names are not text.
    """
    if not isinstance(held, Mapping):
        raise InputError(
            f"`weights`: {file} holds a {type(held).__name__}, not a mapping of names to arrays."
        )
    sets = list(_find_sets(held, (), ()))
    if not sets:
        top = few([show(key) for key in held]) or "none"
        raise InputError(
            f"`weights`: {file} holds no arrays, itself or in {', '.join(WRAPPERS)}; its top keys "
            f"are {top}."
        )
    (taken, arrays), *others = sets
    for name in arrays:
        if not isinstance(name, str):
            raise InputError(
                f"`weights`: names of arrays must be text; {file} has {show(repr(name))}."
            )
    return taken, arrays, [place for place, _ in others]


def _find_sets(
    held: Mapping[Any, Any], place: tuple[str, ...], above: tuple[int, ...]
) -> Iterator[tuple[str, dict[Any, Any]]]:
    """Every set of arrays under `WRAPPERS`, or else the mapping's own; `above` breaks circles."""
    above = (*above, id(held))
    inner = [name for name in WRAPPERS if isinstance(held.get(name), Mapping)]
    found = False
    for name in inner:
        if id(held[name]) not in above:
            for item in _find_sets(held[name], (*place, name), above):
                found = True
                yield item
    # A number without a dot in its name is a count or a score, not a parameter.
    own = {
        name: value
        for name, value in held.items()
        if hasattr(value, "dtype") and ("." in str(name) or value.ndim)
    }
    if own and not found:
        yield ".".join(place) or "the file itself", own


def to_array(name: str, value: Any) -> np.ndarray:
    """A NumPy array or dense PyTorch tensor as float32.

    Raises:
      InputError: if it is of another kind.
    """
    kind = ""
    if hasattr(value, "detach"):  # a PyTorch tensor, without importing PyTorch
        kinds = {
            "nested": value.is_nested,
            "quantized": value.is_quantized,
            "meta": value.is_meta,
            "sparse": "strided" not in str(value.layout),
            "complex": value.is_complex(),
        }
        kind = next((word for word, is_so in kinds.items() if is_so), "")
        value = value if kind else value.detach().cpu().float().numpy()
    elif np.iscomplexobj(value):
        kind = "complex"
    if not kind:
        try:
            with np.errstate(over="ignore"):  # infinite, which is then refused as such
                return np.asarray(value, np.float32)
        except (TypeError, ValueError):
            kind = str(value.dtype)
    raise InputError(
        f"`weights`: {show(name)} is a {kind} array; only dense arrays of real numbers with their "
        "values are read."
    )


def few(items: list[str], count: int = 3, limit: int = 44) -> str:
    """The first items and the number of others, "a, b, c and 9 more", `limit` letters each."""
    rest = f" and {len(items) - count:,} more" if len(items) > count else ""
    return ", ".join(show(item, limit) for item in items[:count]) + rest


def show(text: Any, limit: int = 60) -> str:
    """Text from a file on one line of a message: printable, and cut to `limit` characters."""
    text = str(text)
    if not text.isprintable():
        text = ascii(text)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _read_start(path: Path) -> bytes:
    """The first bytes of a file, if it is a file."""
    shown = show(path, 200)
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            with path.open("rb") as file:
                return file.read(512)
    except FileNotFoundError:
        raise InputError(f"`weights`: there is no file {shown}.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"`weights`: {shown} cannot be read: {reason}.") from None
    what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
    raise InputError(f"`weights`: {shown} is {what}; give a file of weights.")


def _name_content(start: bytes) -> str:
    """Say what a file is that holds no weights."""
    text = start.lstrip().lower()
    if not start:
        return "is empty"
    if text.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the weights: fetch them with `git lfs pull`"
    if text.startswith((b"<!doctype html", b"<html")):
        return "is an HTML page, not weights: download the file itself"
    if text.isascii():
        return f"is text, not weights; it begins {show(start[:40].decode())}"
    return "is neither a safetensors file nor one of torch.save"


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError, deserialize

    try:
        entries = deserialize(path.read_bytes())
    except (SafetensorError, ValueError) as error:
        raise InputError(
            f"`weights`: {show(path.name)} is not a readable safetensors file: {show(error, 120)}."
        ) from None
    arrays = {}
    for name, entry in entries:
        if entry["dtype"] not in _SAFETENSORS_TYPES:
            raise InputError(
                f"`weights`: {show(name)} has the type {entry['dtype']}; "
                f"{', '.join(_SAFETENSORS_TYPES)} are read."
            )
        dtype = np.dtype(_SAFETENSORS_TYPES[entry["dtype"]])
        arrays[name] = np.frombuffer(entry["data"], dtype).reshape(entry["shape"])
    return arrays


def _read_torch(path: Path) -> Any:
    """What `torch.save` wrote; PyTorch's own messages, which advise to run it, stay here."""
    file = show(path.name)
    try:
        import torch
    except ImportError:
        raise InputError(
            f"`weights`: reading {file} needs PyTorch, the extra [torch] of this package, or "
            "save the state dict as .safetensors."
        ) from None
    try:
        with (
            path.open("rb") as opened,  # of a path, PyTorch would look at the suffix
            warnings.catch_warnings(),
            torch.serialization.safe_globals(_harmless()),
        ):
            warnings.simplefilter("ignore")
            return torch.load(opened, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a bad file
        reason = _explain(error)
    raise InputError(f"`weights`: {file} {reason}.")


def _explain(error: Exception) -> str:
    """Why PyTorch could not load a file, in our words."""
    text = str(error)
    if "TorchScript" in text:
        return f"is a TorchScript program, which is not run here; {_HOW_TO_SAVE}"
    named = re.search(r"GLOBAL ([\w.]+)", text) or re.search(r"(?:class|type) '?([\w.]+)", text)
    if isinstance(error, pickle.UnpicklingError) and named:
        return (
            f"holds Python objects ({show(named[1])}) that only running its code would restore; "
            f"{_HOW_TO_SAVE}"
        )
    return f"is damaged, truncated or not written by torch.save ({type(error).__name__})"


def _harmless() -> list[Any]:
    """Classes that training scripts save beside weights; making one of them runs no code.

    The command line's options (`argparse`), paths among them, and NumPy numbers, such as the best
    score.
    """
    scalar = np.float64(0).__reduce__()[0]

    def old_scalar(*args):
        return scalar(*args)

    # NumPy 1 had it in another module, and PyTorch compares names only.
    old_scalar.__module__ = "numpy.core.multiarray"
    old_scalar.__name__ = old_scalar.__qualname__ = "scalar"
    types = [type(np.dtype(code)) for code in ("f8", "f4", "f2", "i8", "i4", "?")]
    paths = [pathlib.PosixPath, pathlib.PurePosixPath]
    return [argparse.Namespace, *paths, scalar, old_scalar, np.dtype, *types]
