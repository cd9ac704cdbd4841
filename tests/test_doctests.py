"""The examples in docstrings are true."""

import doctest

import pytest

from gpool_jax import config_values
from gpool_jax.ops import canvas, permute, probe, shift


@pytest.mark.parametrize(
    "module", [config_values, canvas, permute, probe, shift], ids=lambda m: m.__name__
)
def test_examples(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
