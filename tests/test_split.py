"""Splits: both families keep to one Protocol, in memory as on disk, and nobody asks which it is."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from gpool_jax.data import resident
from gpool_jax.data.split import ArraySplit, Split
from tests import imagesets, pixelsets

PACKAGE = Path(__file__).parent.parent / "gpool_jax"


@pytest.fixture(scope="module", params=["images", "pixels"])
def family(request, tmp_path_factory):
    """A config and training split on disk."""
    root = tmp_path_factory.mktemp(request.param)
    if request.param == "images":
        config = imagesets.folder_config(imagesets.write_folder(root), workers=0)
        return config, imagesets.load(config).train
    pixelsets.write_folder(root)
    options = {"stream": True, "crop": (4, 4), "workers": 0}
    return pixelsets.config(root, **options), pixelsets.load_stream(root, **options).train


def assert_same(one, two):
    assert one.keys() == two.keys()
    for name, array in one.items():
        assert array.dtype == two[name].dtype
        np.testing.assert_array_equal(array, two[name])


def test_a_split_does_the_same_on_disk_and_in_memory(family):
    _, on_disk = family
    in_memory = on_disk.load()
    for split in (on_disk, in_memory):
        assert isinstance(split, Split)
        assert len(split) == len(on_disk) >= 20
        assert split.image_shape == on_disk.image_shape
        assert split.names == on_disk.names
    assert isinstance(in_memory, ArraySplit)
    assert in_memory.load() is in_memory
    assert in_memory.checksum != on_disk.take(np.arange(1, len(on_disk))).load().checksum
    rows = np.array([7, 2, 7])
    content = on_disk.batch(rows)
    assert content["images"].shape == (3, *on_disk.image_shape)
    assert_same(content, in_memory.batch(rows))
    assert_same(content, on_disk.take(rows).batch(np.arange(3)))
    assert_same(content, in_memory.take(rows).batch(np.arange(3)))
    assert on_disk.take(rows).load().checksum == in_memory.take(rows).checksum
    assert [len(split.draw(5, seed=0)) for split in (on_disk, in_memory)] == [5, 5]
    for split in (on_disk, in_memory):
        assert split.draw(None, seed=0) is split.draw(len(split), seed=0) is split


def test_a_device_program_finds_the_same_batch_of_both(family):
    _, on_disk = family
    in_memory, index = on_disk.load(), np.array([3, 0])
    assert on_disk.resident() == {}
    assert in_memory.inputs(index).keys() == {"index"}
    found = [resident.fetch(s.resident(), s.inputs(index)) for s in (on_disk, in_memory)]
    assert_same(found[0], found[1])
    assert_same(found[0], on_disk.batch(index) | {"index": index})


def test_images_are_told_apart_in_memory_alone(family):
    _, on_disk = family
    assert on_disk.fingerprints() is None
    rows = np.array([4, 1, 4])
    prints = on_disk.take(rows).load().fingerprints()
    assert prints[0] == prints[2] != prints[1]


def test_the_feeds_of_both_give_the_same_kinds_of_arrays(family):
    config, on_disk = family
    found = []
    for split in (on_disk, on_disk.load()):
        feed = split.feed(config, batch_size=4, seed=0, process_index=1, process_count=2)
        inputs = feed.inputs_at(0, 1)
        batch = feed.fetch(feed.data, {name: values[0] for name, values in inputs.items()})
        feed.close()
        assert batch["position"].tolist() == [2, 3]
        found.append({n: (batch[n].dtype, batch[n].ndim) for n in ("images", "labels")})
        assert len(batch["images"]) == len(batch["labels"]) == 2
    assert found[0] == found[1]


def test_only_the_data_know_what_kind_a_split_is():
    asked = re.compile(r"(isinstance|hasattr)\(.*(split|records|\"images\"|\"labels\")", re.I)
    for path in PACKAGE.rglob("*.py"):
        if "data" in path.relative_to(PACKAGE).parts[:1]:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                text = ast.unparse(node).replace("'", '"')
                # A list of names of splits in a file is no split.
                assert (
                    not asked.match(text)
                    or text == "isinstance(splits, list)"
                    or (text == "isinstance(splits, str)")
                ), (path, text)


def module_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_data_files_import_each_other_in_one_direction():
    files = {module_of(path): path for path in (PACKAGE / "data").rglob("*.py")}
    below = {}
    for name, path in files.items():
        nodes = ast.walk(ast.parse(path.read_text()))
        imported = {
            f"{node.module}.{alias.name}"
            for node in nodes
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        below[name] = {
            other
            for given in imported
            for other in (given, given.rpartition(".")[0])
            if other in files and other != "gpool_jax.data"
        }
    assert "gpool_jax.data.split" in below["gpool_jax.data.images.load"]
    # Neither folder knows the other, and what they share knows neither.
    for name, others in below.items():
        own = name.split(".")[2] if name.count(".") > 2 else ""
        folders = {other.split(".")[2] for other in others if other.count(".") > 2}
        assert folders <= {own}, name
    while below:
        ground = {name for name, others in below.items() if not others & below.keys()}
        assert ground, f"a circle among {sorted(below)}"
        below = {name: others for name, others in below.items() if name not in ground}
