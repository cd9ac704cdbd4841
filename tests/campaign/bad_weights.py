"""Files of weights that are whole but for what their names say."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np


def write(folder: Path) -> None:
    """Write them all."""
    ones = np.ones(2, np.float32).tobytes()
    whole = safetensors(w=("F32", [2], ones))
    page = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>"
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 46830571\n"
    named = {"conv1.weight": ("F32", [64, 3, 7, 7], bytes(4 * 64 * 147))}
    fc = np.ones((10, 512), np.float32)
    for name, content in {
        "empty": b"",
        "text": b"Entry not found",
        "page": page,
        "pointer": pointer,
        "cut": whole[:-3],
        "header": b"\x10" + bytes(7) + b"{not json",
        "long_header": (2**60).to_bytes(8, "little") + b"{}",
        "none": safetensors(),
        "complex": safetensors(w=("C64", [1], bytes(8))),
        "other_names": safetensors(**{f"layer{i}": ("F32", [2], ones) for i in range(900)}),
        "scalar_head": safetensors(**named, **{"fc.weight": ("F32", [], bytes(4))}),
        "shapes": safetensors(**named, **{"fc.weight": ("F32", [10, 512], fc.tobytes())}),
        "nan": safetensors(**{"fc.weight": ("F32", [10, 512], (fc * np.nan).tobytes())}),
        "inf": safetensors(**{"fc.weight": ("F32", [10, 512], (fc * np.inf).tobytes())}),
    }.items():
        (folder / f"w_{name}.safetensors").write_bytes(content)
    (folder / "w_folder.safetensors").mkdir()
    (folder / "w.safetensors").write_bytes(whole)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.txt", "a")
    numpy = io.BytesIO()
    np.save(numpy, fc)
    for name, content in {
        "empty": b"",
        "text": b"Entry not found",
        "page": page,
        "pointer": pointer,
        "pickle": pickle.dumps({"w": [1.0]}),
        "numpy": numpy.getvalue(),
        "zip": archive.getvalue(),
    }.items():
        (folder / f"w_{name}.pth").write_bytes(content)


def safetensors(**entries: tuple[str, list[int], bytes]) -> bytes:
    """A file by hand, of any type: name to (type, shape, bytes)."""
    header, content = {}, b""
    for name, (dtype, shape, data) in entries.items():
        ends = [len(content), len(content) + len(data)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": ends}
        content += data
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content
