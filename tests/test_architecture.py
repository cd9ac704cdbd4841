"""Imports only go down; heavy and optional packages are imported where they are used."""

import ast
import graphlib
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import gpool_jax

PACKAGE = Path(gpool_jax.__file__).parent
# Each layer may import itself and what stands to its right.
ALLOWED = {
    "ops": set(),
    "models": {"ops", "errors", "imports"},
    "data": {"config", "errors", "files"},
    "networks": {"data", "errors", "imports", "models", "ops"},
    "train": {"config", "errors", "files"},
    "report": {"__version__", "files"},
    "experiments": {
        "config",
        "errors",
        "files",
        "imports",
        "ops",
        "models",
        "networks",
        "data",
        "train",
        "report",
    },
    "config": {"errors"},
    "files": {"errors"},
    "imports": {"errors"},
    "errors": set(),
}
# SciPy comes with JAX, which needs it.
ROOT_PACKAGES = {"ops": {"jax", "numpy", "optax", "scipy"}, "models": {"jax", "numpy", "flax"}}
LAZY = {
    "tensorflow_datasets",
    "array_record",
    "grain",
    "tyro",
    "tensorboardX",
    "wandb",
    "mlflow",
    "sklearn",
    "jinja2",
    "matplotlib",
    "tqdm",
    "torch",
    "timm",
    "torchvision",
    "onnx",
    "onnxruntime",
    "safetensors",
    "PIL",
}


def is_for_types_only(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(path: Path, *, top_level_only: bool = False, types_too: bool = True) -> list[str]:
    """Dotted names that a file imports: `from a import b` gives `a.b`."""
    tree = ast.parse(path.read_text())
    tree.body = [node for node in tree.body if types_too or not is_for_types_only(node)]
    nodes = tree.body if top_level_only else ast.walk(tree)
    names = []
    for node in nodes:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


FILES = sorted(PACKAGE.rglob("*.py"))


def module_parts(path: Path) -> tuple[str, ...]:
    """`("ops", "pool")` for a file, `("ops", "__init__")` for that of a package."""
    return path.relative_to(PACKAGE).with_suffix("").parts


MODULES = {module_parts(path) for path in FILES}


def imported_modules(path: Path) -> set[tuple[str, ...]]:
    """The files of this package that a file imports, anywhere in it."""
    found = set()
    for name in imports(path, types_too=False):
        package, *parts = name.split(".")
        if package == "gpool_jax":
            # A module, a package, or a name in one of them.
            tries = [tuple(parts), (*parts, "__init__"), tuple(parts[:-1])]
            tries.append((*parts[:-1], "__init__"))
            found.add(next(t for t in tries if t in MODULES))
    return found


def circle(graph: dict) -> list:
    """Nodes that lead back to the first of them, if any do."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def folder_graphs(modules: dict) -> dict:
    """For each folder, which folder or file in it imports which other, where one is a folder."""
    graphs: dict[tuple, dict[str, set]] = {}
    for module, others in modules.items():
        for other in others:
            depth = 0
            while module[depth] == other[depth] and depth < min(len(module), len(other)) - 1:
                depth += 1
            if len(module) - 1 > depth or len(other) - 1 > depth:
                graph = graphs.setdefault(module[:depth], {})
                graph.setdefault(module[depth], set()).add(other[depth])
    return graphs


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


def test_circles_are_found():
    made = {
        ("a", "x"): {("b", "y")},
        ("b", "z"): {("a", "w"), ("c",)},
        ("c",): {("a", "x")},
        ("a", "p", "q"): {("a", "r"), ("a", "t", "u")},
        ("a", "r"): {("a", "p", "q")},
    }
    assert folder_graphs(made) == {
        (): {"a": {"b"}, "b": {"a", "c"}, "c": {"a"}},
        ("a",): {"p": {"r", "t"}, "r": {"p"}},
    }
    assert set(circle({"a": {"b"}, "b": {"a"}, "c": {"a"}})) == {"a", "b"}
    assert circle({"a": {"b"}, "c": {"a"}}) == []


def test_no_files_and_no_folders_import_each_other():
    modules = {module_parts(path): imported_modules(path) for path in FILES}
    assert sum(map(len, modules.values())) > 100
    assert circle(modules) == []
    circles = {"/".join(at): circle(graph) for at, graph in folder_graphs(modules).items()}
    assert {at: nodes for at, nodes in circles.items() if nodes} == {}


PACKAGES = [path.parent for path in FILES if path.name == "__init__.py"]


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda p: str(p.relative_to(PACKAGE.parent)))
def test_no_name_of_a_package_hides_a_module_in_it(folder):
    """`ops.shift` is a function or a module; after whose import must not matter."""
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    modules |= {path.parent.name for path in folder.glob("*/__init__.py")}
    own_name = ".".join(folder.relative_to(PACKAGE.parent).parts)
    tree = ast.parse((folder / "__init__.py").read_text())
    named = set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module != own_name:
            named |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            named.add(node.name)
        elif isinstance(node, ast.Assign):
            named |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    assert named & modules == set()


@pytest.mark.parametrize("name", ["ops", "models", "networks"])
def test_options_of_public_functions_are_keyword_only(name):
    """An option is a parameter with a default."""
    package = importlib.import_module(f"gpool_jax.{name}")
    functions = {n: f for n, f in vars(package).items() if callable(f) and not inspect.isclass(f)}
    assert len(functions) >= 5
    positional = [
        f"{n}({parameter.name})"
        for n, function in functions.items()
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is not parameter.empty and parameter.kind != parameter.KEYWORD_ONLY
    ]
    assert positional == []


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
