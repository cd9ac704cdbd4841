"""Keep decoded arrays on disk, with a checksum, so that a data set is decoded once."""

import contextlib
import hashlib
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from gpool_jax import files
from gpool_jax.config import paths
from gpool_jax.data.disk import Warn
from gpool_jax.errors import RunError

_CHECKSUM = "sha256"
# Another one where the same files are decoded to other arrays than before.
_VERSION = 2
# An hour after the last change, nobody is still writing a file.
_LEFT_SECONDS = 3600.0


def cached(
    identity: str,
    decode: Callable[[], dict[str, np.ndarray]],
    cache_dir: str | None,
    warn: Warn,
) -> dict[str, np.ndarray]:
    """Return what `decode` returns, from disk if it was decoded before.

    Args:
      identity: names, sizes and dates of what the arrays are made from; another
        identity is another file.
      decode: makes the arrays.
      cache_dir: folder of the files; None for $GPOOL_CACHE_DIR or ~/.cache/gpool_jax.
      warn: receives one line if a cached file is damaged (it is then made again) or
        cannot be written (the run continues without it).

    Files have the rights that the user's umask gives.
    """
    given = cache_dir or os.environ.get("GPOOL_CACHE_DIR")
    folder = paths.expand(given) if given else paths.home_cache()
    if folder is None:
        warn("decoded arrays are not cached: there is no home folder; set $GPOOL_CACHE_DIR.")
        return decode()
    with contextlib.suppress(OSError):
        files.remove_leftovers(folder, older_than=_LEFT_SECONDS)
    name = hashlib.sha256(f"{_VERSION} {identity}".encode()).hexdigest()[:24]
    path = folder / f"{name}.npz"
    if os.path.isfile(path):
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {k: file[k] for k in file.files}
            if str(arrays.pop(_CHECKSUM)) == _digest(arrays):
                return arrays
            reason = "its checksum is wrong"
        except Exception as error:  # a damaged zip raises many kinds
            reason = type(error).__name__
        warn(f"cached file {path} is damaged ({reason}); decoding again.")
    arrays = decode()
    content: dict[str, Any] = arrays | {_CHECKSUM: np.array(_digest(arrays))}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with files.writing(path) as file:
            np.savez(file, **content)
    except (OSError, RunError) as error:
        warn(f"decoded arrays are not cached: {str(error).rstrip('.')}.")
    return arrays


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()
