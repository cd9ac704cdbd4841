"""The examples in docstrings are true."""

import doctest
import importlib
from pathlib import Path

import pytest

import gpool_jax

PACKAGE = Path(gpool_jax.__file__).parent
# By file: a name in a package could hide the module of the same name.
MODULES = [
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>>" in path.read_text()
]


def test_there_are_examples():
    assert len(MODULES) >= 10


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
