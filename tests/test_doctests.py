"""The examples in docstrings are true."""

import doctest
import importlib

import pytest

# By name: `ops.shift` is a function as well as a module.
MODULES = ["config.plain", "ops.canvas", "ops.permute", "ops.probe", "ops.shift"]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(f"gpool_jax.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
