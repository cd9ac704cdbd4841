"""Freed memory is kept: a large array that comes back costs no fresh pages."""

import platform
import subprocess
import sys

import pytest

from gpool_jax.train import allocator

# Touches 64 MiB again and again; prints the page faults of the later rounds.
ROUNDS = """
import resource, numpy as np
from gpool_jax.train.allocator import keep_freed_memory
done = keep_freed_memory()
for i in range(6):
    if i == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(64 << 20, np.uint8)
print(done, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(monkeypatch, value):
    monkeypatch.setenv("GPOOL_KEEP_MEMORY", value)
    words = [sys.executable, "-c", ROUNDS]
    out = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    done, faults = out.split()
    return done == "True", int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_that_comes_back_costs_no_page_faults(monkeypatch):
    done, faults = run(monkeypatch, "1")
    assert done
    assert faults < 1000  # of the 65,536 that four rounds would take


def test_it_can_be_turned_off(monkeypatch):
    done, faults = run(monkeypatch, "0")
    assert not done
    if platform.system() == "Linux":
        # At the least one fault for each huge page of 2 MiB.
        assert faults >= 4 * 32


def test_another_c_library_is_left_alone(monkeypatch):
    class Bare:
        """Has no mallopt."""

    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: Bare())
    assert not allocator.keep_freed_memory()
