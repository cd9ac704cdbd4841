"""`import gpool_jax as gp` gives the public names, and starts JAX only for what needs it."""

import subprocess
import sys

import pytest

import gpool_jax as gp


def test_importing_and_configuring_do_not_start_jax():
    code = (
        "import sys, gpool_jax as gp; "
        "gp.PositionConfig(), gp.InputError, gp.__version__; "
        "assert not {'jax', 'flax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there_and_no_other():
    assert set(dir(gp)) == set(gp.__all__)
    assert all(getattr(gp, name) is not None for name in gp.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gp.nothing
