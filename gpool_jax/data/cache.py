"""Keep decoded arrays on disk, with a checksum, so that a data set is decoded once."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_CHECKSUM = "sha256"


def cached(
    identity: str,
    decode: Callable[[], dict[str, np.ndarray]],
    cache_dir: str | None,
    warn: Callable[[str], None],
) -> dict[str, np.ndarray]:
    """Return what `decode` returns, from disk if it was decoded before.

    Args:
      identity: names, sizes and dates of what the arrays are made from; another
        identity is another file.
      decode: makes the arrays.
      cache_dir: folder of the files; None for $GPOOL_CACHE_DIR or ~/.cache/gpool_jax.
      warn: receives one line if a cached file is damaged (it is then made again) or
        cannot be written (the run continues without it).
    """
    folder = Path(cache_dir or os.environ.get("GPOOL_CACHE_DIR") or "~/.cache/gpool_jax")
    folder = folder.expanduser()
    path = folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:24]}.npz"
    if path.is_file():
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
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Written aside and renamed: a killed run leaves no half file behind.
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".tmp", delete=False) as file:
            content: dict[str, Any] = arrays | {_CHECKSUM: np.array(_digest(arrays))}
            np.savez(file, **content)
        os.replace(file.name, path)
    except OSError as error:
        warn(f"decoded arrays are not cached: {error}.")
    return arrays


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()
