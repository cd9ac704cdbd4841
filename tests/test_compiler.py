"""Programs are compiled with XLA's options, once for each set of shapes."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpool_jax.ops import conv2d
from gpool_jax.train import compiler, parallel
from gpool_jax.train.compiler import Program, compiler_options

pytestmark = pytest.mark.usefixtures("optimised")
YNNPACK = "__ynn_fusion"


@pytest.fixture
def forget():
    compiler_options.cache_clear()
    yield
    compiler_options.cache_clear()


def convolution_of_the_library(text: str) -> bool:
    """Whether a compiled program leaves a convolution to YNNPACK: it then is in its fusions."""
    computations = text.split("\n\n")
    inside = [c for c in computations if " convolution(" in c and not c.startswith("ENTRY")]
    return bool(inside) and YNNPACK in text


@pytest.mark.parametrize("mapping", parallel.MAPPINGS)
def test_mapped_programs_keep_convolutions_from_the_library(mapping):
    def network(variables, _data, inputs):
        return {"y": conv2d(inputs["x"], variables["kernel"])}

    variables = {"kernel": jnp.ones((3, 3, 64, 64))}
    inputs = {"x": np.ones((8, 4, 16, 16, 64), np.float32)}
    with parallel.use(mapping):
        mapped = parallel.map_batch(network)
    compiled = mapped.compile(variables, {}, inputs)
    assert not convolution_of_the_library(compiled.as_text())
    found = np.asarray(mapped(variables, {}, inputs)["y"])
    np.testing.assert_allclose(found[3, 2, 8, 8], 9 * 64.0)
    if compiler_options():
        # Without options this very program does: else the test could not fail.
        plain = jax.jit(conv2d).lower(inputs["x"][0], variables["kernel"]).compile()
        assert convolution_of_the_library(plain.as_text())


def test_options_that_xla_does_not_know_are_left_out(monkeypatch, forget):
    monkeypatch.setattr(compiler, "_CPU", {"xla_no_such_option": "1"})
    assert compiler_options() == {}


def test_options_are_for_the_cpu_alone(monkeypatch, forget):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compiler_options() == {}


def test_a_program_is_compiled_once_for_each_set_of_shapes():
    chex.clear_trace_counter()
    counted = jax.jit(chex.assert_max_traces(lambda tree: tree["a"] * 2, n=2))
    program = Program(counted, compiler_options())
    for size in (3, 3, 5, 3, 5):
        np.testing.assert_array_equal(program({"a": np.ones(size, np.float32)}), 2 * np.ones(size))
    small, large = ({"a": np.ones(size, np.float32)} for size in (3, 5))
    assert program.compile(small) is program.compile(small)
    assert program.compile(small) is not program.compile(large)


def test_a_program_without_options_is_left_to_itself():
    calls = []
    program = Program(lambda x: calls.append(x), {})
    program(1)
    assert calls == [1]


def test_processes_can_meet_between_compiling_and_running():
    happened = []

    def run(x):
        jax.debug.callback(lambda: happened.append("run"))
        return x

    program = Program(jax.jit(run), {}, compiled=lambda: happened.append("compiled"))
    for size in (3, 3, 5):
        jax.block_until_ready(program(np.ones(size, np.float32)))
        jax.effects_barrier()
    assert happened == ["compiled", "run", "run", "compiled", "run"]
