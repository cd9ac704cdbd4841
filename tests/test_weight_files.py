"""Files of weights: what is saved in practice loads, and the rest is refused in one line."""

import argparse
import json
import os
import pathlib

import numpy as np
import pytest

from gpool_jax import models, ops
from gpool_jax.errors import InputError
from gpool_jax.models import weight_files

VALUES = np.array([[1.0, -2.0, 0.5]], np.float32)


def safetensors(**entries) -> bytes:
    """A file by hand, of any type: name to (type, shape, bytes)."""
    header, content = {}, b""
    for name, (dtype, shape, data) in entries.items():
        ends = [len(content), len(content) + len(data)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": ends}
        content += data
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content


WHOLE = safetensors(w=("F32", [2], bytes(8)))
PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 46830571\n"
BAD_CONTENT = {
    "an empty file": (b"", r"w\.\w+ is empty"),
    "a Git LFS pointer": (POINTER, r"is a Git LFS pointer, not the weights: .*git lfs pull"),
    "a page": (PAGE, "is an HTML page, not weights: download the file itself"),
    "a page after blank lines": (b"\n \n<HTML>", "is an HTML page"),
    "text": (b"Entry not found", "is text, not weights; it begins Entry not found"),
    "another format": (b"\x89HDF\r\n\x1a\n" + bytes(64), "is neither a safetensors file nor"),
    "a broken header": (b"\x10" + bytes(7) + b"{not json", "is not a readable safetensors file"),
    "a truncated file": (WHOLE[:-3], "is not a readable safetensors file"),
    "no arrays": (safetensors(), "holds no arrays.*its top keys are none"),
    "an unknown type": (safetensors(w=("F8_E8M0", [2], bytes(2))), "w has the type F8_E8M0; F64"),
    "complex numbers": (safetensors(w=("C64", [1], bytes(8))), "w has the type C64; F64, F32"),
}


def check_refused(path, message):
    with pytest.raises(InputError, match=message) as error:
        models.read_weights(path)
    text = str(error.value)
    assert text.startswith("`weights`")
    assert text.isprintable()  # on one line, and in any encoding
    assert len(text) < 600
    assert "weights_only" not in text


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("kind", BAD_CONTENT)
def test_bad_content_is_refused_in_one_line(kind, suffix, tmp_path):
    content, message = BAD_CONTENT[kind]
    (tmp_path / f"w{suffix}").write_bytes(content)
    check_refused(tmp_path / f"w{suffix}", message)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_bad_paths_are_refused_in_one_line(suffix, tmp_path):
    (tmp_path / f"folder{suffix}").mkdir()
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / "file").touch()
    for name, message in {
        "none": r"there is no file /.*none\.",
        "folder": "is a folder; give a file of weights",
        "pipe": "is no regular file",
        "file/w": "cannot be read: Not a directory",
        "w" * 300: r"www\.\.\. cannot be read: File name too long",
        "null\0": "cannot be read: embedded null byte",
        os.fsdecode(b"\xff"): r"there is no file .*\\udcff",
        "two\nlines": r"there is no file .*two\\nlines",
    }.items():
        check_refused(tmp_path / f"{name}{suffix}", message)


def test_other_suffixes_are_refused(tmp_path):
    (tmp_path / "w.npz").write_bytes(b"")
    check_refused(tmp_path / "w.npz", r"must end in \.safetensors, \.pth, .*\.bin; got w\.npz")


def test_a_name_that_is_not_utf8_is_read_and_shown(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.safetensors")
    path.write_bytes(WHOLE)
    weights = models.read_weights(path)
    assert weights.file == r"'\udcff.safetensors'"
    np.testing.assert_array_equal(weights.arrays["w"], np.zeros(2))


def test_every_type_of_number_in_safetensors_is_read(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(
        safetensors(
            a=("F64", [1], np.float64(1.5).tobytes()),
            b=("I64", [1], np.int64(-2).tobytes()),
            c=("F16", [1], np.float16(1.5).tobytes()),
            d=("BF16", [1], b"\xc0\x3f"),
            e=("F8_E4M3", [1], b"\x3c"),
            f=("F8_E5M2", [1], b"\x3e"),
            g=("U8", [1, 1], b"\x02"),
            h=("BOOL", [1], b"\x01"),
        )
    )
    found = models.read_state_dict(tmp_path / "w.safetensors")
    assert all(value.dtype == np.float32 for value in found.values())
    values = {name: value.item() for name, value in found.items()}
    assert values == dict.fromkeys("acdef", 1.5) | {"b": -2.0, "g": 2.0, "h": 1.0}


def test_the_first_leaf_that_is_not_finite_is_named():
    tree = {"a": np.arange(3), "b": {"c": [np.ones(2), np.array([1.0, -np.inf])]}, "d": np.nan}
    assert ops.first_nonfinite(tree) == "b/c/1"
    assert ops.first_nonfinite(tree | {"b": True}) == "d"
    assert ops.first_nonfinite({"a": np.arange(3)}) == ""


# Files of PyTorch


def call_me():
    """Called by a file that is loaded without care."""
    raise AssertionError("the file was run")


class Harmful:
    def __reduce__(self):
        return call_me, ()


def circular(_):
    held = {}
    held["net"] = held
    return held


def nested(torch):
    return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])


BAD_OBJECTS = {
    "whole numbers as names": (lambda t: {0: t.ones(2)}, "names of arrays must be text; .* has 0"),
    "whole numbers inside": (lambda t: {"net": {3: t.ones(2)}}, "must be text; .* has 3"),
    "a dict in itself": (circular, "holds no arrays"),
    "no arrays": (lambda t: {"epoch": 3, "two\nlines": 1}, r"top keys are epoch, 'two\\nlines'"),
    "many keys": (lambda t: {f"{i}" * 99: 1 for i in range(99)}, r"\.\.\. and 96 more"),
    "a tensor": (lambda t: t.ones(2), "holds a Tensor, not a mapping"),
    "a list": (lambda t: [t.ones(2)], "holds a list, not a mapping"),
    "a network": (lambda t: t.nn.Linear(2, 2), r"objects \(torch.nn.modules.linear.Linear\)"),
    "code": (lambda t: {"w": t.ones(2), "x": Harmful()}, r"objects \(.*call_me\) that only run"),
    "a sparse tensor": (lambda t: {"w": t.eye(2).to_sparse()}, "w is a sparse array"),
    # PyTorch's older format cannot hold one.
    "a nested tensor": (lambda t: {"w": nested(t)}, "w is a nested array|w.pth is damaged"),
    "a quantized tensor": (
        lambda t: {"w": t.quantize_per_tensor(t.ones(2), 0.1, 0, t.quint8)},
        "w is a quantized array",
    ),
    "a meta tensor": (lambda t: {"w": t.empty(2, device="meta")}, "w is a meta array"),
    "a complex tensor": (lambda t: {"w": t.ones(2) * 1j}, "w is a complex array"),
}


@pytest.mark.filterwarnings("ignore")  # of making such tensors, not of reading them
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", BAD_OBJECTS)
def test_bad_objects_are_refused_in_one_line(kind, zipped, tmp_path):
    torch = pytest.importorskip("torch")
    make, message = BAD_OBJECTS[kind]
    torch.save(make(torch), tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    check_refused(tmp_path / "w.pth", message)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_pth_is_refused_in_one_line(zipped, tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "w.pth"
    torch.save({"w": torch.ones(1000)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for size in (3, 20, len(whole) // 2, len(whole) - 9):
        path.write_bytes(whole[:size])
        check_refused(path, r"is damaged, truncated or not written by torch.save \(\w+\)\.")


@pytest.mark.filterwarnings("ignore")  # TorchScript is deprecated
def test_a_torchscript_program_is_refused_by_its_name(tmp_path):
    torch = pytest.importorskip("torch")
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "w.pt"))
    check_refused(tmp_path / "w.pt", "w.pt is a TorchScript program, which is not run here")


@pytest.mark.parametrize("suffix", weight_files.SUFFIXES)
def test_content_not_the_suffix_tells_the_format(suffix, tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.from_numpy(VALUES)}, tmp_path / f"w{suffix}")
    np.testing.assert_array_equal(models.read_state_dict(tmp_path / f"w{suffix}")["w"], VALUES)
    (tmp_path / f"w{suffix}").write_bytes(safetensors(w=("F32", [1, 3], VALUES.tobytes())))
    np.testing.assert_array_equal(models.read_state_dict(tmp_path / f"w{suffix}")["w"], VALUES)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("held", "taken"),
    [
        ({}, None),
        ({"model": 1.0}, None),
        ({"model": 1.0, "model_ema": 2.0}, "model_ema"),
        ({"state_dict": 1.0, "state_dict_ema": 2.0}, "state_dict_ema"),
        ({"net": 1.0, "state_dict": 2.0}, "state_dict"),
    ],
)
def test_checkpoints_of_training_scripts_are_read(held, taken, zipped, tmp_path):
    """As torchvision's references and timm write them."""
    torch = pytest.importorskip("torch")
    weight = torch.nn.Parameter(torch.from_numpy(VALUES.copy()))
    optimizer = torch.optim.SGD([weight], momentum=0.9)
    weight.sum().backward()
    optimizer.step()
    beside = {
        "args": argparse.Namespace(lr=0.1, output_dir=pathlib.PurePosixPath("runs"), tags={"a"}),
        "optimizer": optimizer.state_dict(),
        "scheduler": {"milestones": [3]},
        "best": np.float64(0.7),
        "best_epoch": np.int64(3),
        "epoch": torch.tensor(3),
        "arch": "resnet18",
    }
    sets = {name: {"fc.weight": torch.from_numpy(f * VALUES)} for name, f in held.items()}
    saved = beside | (sets or {"fc.weight": torch.from_numpy(VALUES)})
    torch.save(saved, tmp_path / "w.pth.tar", _use_new_zipfile_serialization=zipped)
    found = models.read_weights(tmp_path / "w.pth.tar")
    assert list(found.arrays) == ["fc.weight"]
    factor = max(held.values(), default=1.0)
    np.testing.assert_array_equal(found.arrays["fc.weight"], factor * VALUES)
    assert len(found.notes) == (taken is not None)
    if taken:
        assert f"the weights of {taken} were taken" in found.notes[0]


def test_a_circle_is_not_followed_and_wrappers_are_seen_through():
    arrays = {"fc.weight": VALUES}
    held = {"model": {"module": arrays, "config": {"width": 3}}}
    held["model"]["model"] = held
    assert weight_files.choose(held) == ("model.module", arrays, [])


def test_tensors_of_few_bits_are_read(tmp_path):
    torch = pytest.importorskip("torch")
    kinds = (torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16, torch.float16, torch.float64)
    tensors = {str(kind): torch.from_numpy(VALUES).to(kind) for kind in kinds}
    torch.save(tensors, tmp_path / "w.pth")
    for name, value in models.read_state_dict(tmp_path / "w.pth").items():
        np.testing.assert_array_equal(value, VALUES, err_msg=name)
