"""The examples in docstrings are true."""

import doctest
import importlib

import pytest

OPS = ("ablation", "bootstrap", "canvas", "conv", "permute", "probe", "rank", "regions", "shifts")
MODULES = ["config.plain", *(f"ops.{name}" for name in OPS)]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(f"gpool_jax.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
