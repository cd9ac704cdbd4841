"""Images as JPEG or PNG bytes: decoding, and packing a set into one small .npz.

    python -m gpool_jax.data.images.encoded --dir TFDS_DIR --name cifar10 --out cifar10.npz

writes all of CIFAR-10 in about 50 MB, to be carried to a machine that has
neither TensorFlow Datasets nor a network.
"""

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpool_jax.errors import InputError


def decode_image(encoded: bytes | Path, name: str, side: int | None = None) -> np.ndarray:
    """Decode one image to uint8 [H, W, 3].

    Args:
      encoded: the file's bytes, or its path.
      name: how to call it in an error.
      side: resize to this side (bilinear, antialiased).

    Raises:
      InputError: naming the image, if it is broken.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded) as file:
            image = file.convert("RGB")
            if side is not None:
                image = image.resize((side, side), Image.Resampling.BILINEAR)
            return np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"`data`: {name} is a broken image: {error}.") from None


def stack(images: Sequence[np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Stack decoded images to uint8 [N, H, W, 3].

    Raises:
      InputError: naming the first image whose size differs from the first one's.
    """
    for image, name in zip(images, names, strict=True):
        if image.shape != images[0].shape:
            raise InputError(
                f"`data`: {name} is {image.shape[1]}x{image.shape[0]} pixels, {names[0]} is "
                f"{images[0].shape[1]}x{images[0].shape[0]}; all must have one size (`data.side` "
                "resizes folders and encoded npz)."
            )
    return np.stack(images)


def decode_vector(
    encoded: np.ndarray, offsets: np.ndarray, name: str, side: int | None = None
) -> np.ndarray:
    """Decode images from one vector of concatenated bytes.

    Args:
      encoded: uint8 [total].
      offsets: int [N + 1]; image i is `encoded[offsets[i]:offsets[i + 1]]`.
      name: of the array, for errors.
      side: resize to this side.

    Returns:
      uint8 [N, H, W, 3].
    """
    edges = np.asarray(offsets)
    monotone = edges.ndim == 1 and edges.size >= 2 and np.issubdtype(edges.dtype, np.integer)
    if not monotone or edges[0] != 0 or edges[-1] != encoded.size or np.any(np.diff(edges) <= 0):
        raise InputError(
            f"`data.path`: {name}_offsets must rise from 0 to the {encoded.size} bytes of {name}, "
            "one more entry than images."
        )
    raw = encoded.tobytes()
    names = [f"{name}[{i}]" for i in range(edges.size - 1)]
    images = [
        decode_image(raw[edges[i] : edges[i + 1]], names[i], side) for i in range(edges.size - 1)
    ]
    return stack(images, names)


def pack(items: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Concatenate encoded images; the inverse is `decode_vector`.

    Returns:
      uint8 [total] and int64 offsets [N + 1].
    """
    offsets = np.concatenate([[0], np.cumsum([len(item) for item in items])])
    return np.frombuffer(b"".join(items), np.uint8), offsets.astype(np.int64)


def main(name: str, dir: str, out: Path) -> None:
    """Pack a prepared TensorFlow Datasets image set into one .npz, bytes untouched.

    Args:
      name: of the data set, e.g. cifar10.
      dir: folder that holds prepared data sets.
      out: the .npz to write.
    """
    from gpool_jax.data.images.load import CIFAR_STATISTICS
    from gpool_jax.data.images.readers import tfds_source

    arrays: dict[str, Any] = {}
    for split in ("train", "test"):
        source = tfds_source(name, dir, split, decode=False)
        rows = source.__getitems__(range(len(source)))
        encoded = [bytes(row["image"]) for row in rows]
        arrays[f"images_{split}"], arrays[f"images_{split}_offsets"] = pack(encoded)
        arrays[f"labels_{split}"] = np.array([row["label"] for row in rows], np.int32)
    if name == "cifar10":
        # So that a run from this file is normalised as the reference is.
        arrays["mean"], arrays["std"] = (np.array(s) for s in CIFAR_STATISTICS)
    with out.open("wb") as file:  # a name of its own choice: `savez` would add .npz
        np.savez(file, **arrays)
    print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    import tyro

    try:
        tyro.cli(main)
    except (InputError, OSError) as error:
        print(f"gpool_jax.data.images.encoded: {error}", file=sys.stderr)
        sys.exit(2)
