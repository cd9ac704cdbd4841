"""Imports only go down; heavy and optional packages are imported where they are used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "gpool_jax"
# Each layer may import itself and what stands to its right.
ALLOWED = {
    "ops": set(),
    "models": {"ops", "errors"},
    "data": {"config", "errors"},
    "train": {"config", "errors"},
    "report": {"__version__"},
    "experiments": {
        "config",
        "errors",
        "ops",
        "models",
        "data",
        "train",
        "report",
    },
    "config": {"errors"},
    "errors": set(),
}
ROOT_PACKAGES = {"ops": {"jax", "numpy", "optax"}, "models": {"jax", "numpy", "flax"}}
LAZY = {
    "tensorflow_datasets",
    "array_record",
    "grain",
    "tyro",
    "tensorboardX",
    "sklearn",
    "jinja2",
    "matplotlib",
    "tqdm",
    "torch",
    "safetensors",
    "PIL",
}


def imports(path: Path, *, top_level_only: bool = False) -> list[str]:
    """Dotted names that a file imports: `from a import b` gives `a.b`."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    names = []
    for node in nodes:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    layer = parts[0]
    names = imports(path)
    if layer in ALLOWED:
        ours = {n.split(".")[1] for n in names if n.startswith("gpool_jax.")}
        assert ours - {layer} <= ALLOWED[layer]
    if layer in ROOT_PACKAGES:
        standard = set(sys.stdlib_module_names)
        others = {n.split(".")[0] for n in names if not n.startswith("gpool_jax")}
        optional = LAZY if layer == "models" else set()
        assert others - standard - optional <= ROOT_PACKAGES[layer]
    top = {n.split(".")[0] for n in imports(path, top_level_only=True)}
    assert not top & LAZY


@pytest.mark.parametrize("mapping", ["jax.pmap", "jax.shard_map", "import shard_map"])
def test_only_one_file_maps_over_devices(mapping):
    saying = [p.name for p in FILES if mapping in p.read_text()]
    assert saying == ([] if mapping.startswith("import") else ["parallel.py"])


def test_no_asserts_and_no_xla_flags_in_the_package():
    for path in FILES:
        tree = ast.parse(path.read_text())
        assert not any(isinstance(node, ast.Assert) for node in ast.walk(tree)), path
        assert "XLA_FLAGS" not in path.read_text(), path


def test_help_and_configs_load_without_jax():
    code = (
        "import sys; from gpool_jax.cli.main import main; main(['--help']); "
        "import gpool_jax.config; assert not {'jax', 'flax', 'tyro'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
