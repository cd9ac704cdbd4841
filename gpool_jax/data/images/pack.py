"""Pack a prepared TensorFlow Datasets image set into one small .npz, its bytes untouched.

    python -m gpool_jax.data.images.pack --name cifar10 --dir TFDS_DIR --out cifar10.npz

writes all of CIFAR-10 in about 50 MB, to be carried to a machine that has
neither TensorFlow Datasets nor a network.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpool_jax.data.images.files import open_shards
from gpool_jax.data.images.locate import base_name, tfds_builder
from gpool_jax.data.statistics import CIFAR_STATISTICS
from gpool_jax.errors import InputError, RunError


def pack(items: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Concatenate encoded images: uint8 [total], int64 offsets [N + 1]; see `npz.unpack`."""
    offsets = np.concatenate([[0], np.cumsum([len(item) for item in items])])
    return np.frombuffer(b"".join(items), np.uint8), offsets.astype(np.int64)


def main(name: str, dir: str, out: Path) -> None:
    """Pack a prepared data set into one .npz.

    Args:
      name: name of the data set, e.g. cifar10.
      dir: folder that holds prepared data sets.
      out: .npz to write.
    """
    builder = tfds_builder(name, dir)
    arrays: dict[str, Any] = {}
    for split in ("train", "test"):
        files = open_shards(builder, split)
        encoded, labels = zip(*(files.read(row) for row in range(len(files))), strict=True)
        arrays[f"images_{split}"], arrays[f"images_{split}_offsets"] = pack(encoded)
        arrays[f"labels_{split}"] = np.array(labels, np.int32)
    if base_name(name) == "cifar10":
        # So that a run from this file is normalised as the reference is.
        arrays["mean"], arrays["std"] = (np.array(s) for s in CIFAR_STATISTICS)
    with out.open("wb") as file:  # `savez` would add .npz to a name without it
        np.savez(file, **arrays)
    print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    import tyro

    try:
        tyro.cli(main)
    except (InputError, RunError, OSError) as error:
        print(f"gpool_jax.data.images.pack: {error}", file=sys.stderr)
        sys.exit(2)
