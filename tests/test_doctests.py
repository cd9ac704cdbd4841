"""The examples in docstrings are true."""

import doctest

import pytest

from gpool_jax import config
from gpool_jax.ops import canvas, permute, probe


@pytest.mark.parametrize("module", [config, canvas, permute, probe], ids=lambda m: m.__name__)
def test_examples(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
