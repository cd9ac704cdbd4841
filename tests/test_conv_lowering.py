"""Both ways a convolution is computed give the same, gradients included."""

import re

import jax
import jax.numpy as jnp
import pytest

from gpool_jax.ops import conv_lowering
from gpool_jax.ops.conv_lowering import convolve
from gpool_jax.train.compiler import compiler_options
from tests.helpers import slow_but_first

pytestmark = pytest.mark.usefixtures("optimised", "strict_types")

# (side, channels, features, size, stride, dilation, padding), and what a CPU takes.
CASES = {
    "one product, map below the kernel": (2, 6, 5, 3, 1, 1, 1),
    "one product, output below the kernel": (4, 4, 5, 3, 2, 1, 1),
    "one product, dilated": (2, 4, 5, 3, 1, 2, 2),
    "one product, 7x7": (5, 3, 4, 7, 2, 1, 3),
    "one product, 1x1": (7, 5, 3, 1, 1, 1, 0),
    "one product, 1x1 strided": (7, 5, 3, 1, 2, 1, 0),
    "XLA's": (3, 6, 5, 3, 1, 1, 1),
    "XLA's, strided": (17, 3, 4, 7, 2, 1, 3),
}


def arrays(case, dtype=jnp.float32):
    side, channels, features, size, *_ = case
    x = jax.random.normal(jax.random.key(0), (2, side, side + 3, channels))
    kernel = jax.random.normal(jax.random.key(1), (size, size, channels, features))
    return x.astype(dtype), kernel.astype(dtype)


def value_and_gradients(fn, x, kernel):
    def loss(a, b):
        out = fn(a, b).astype(jnp.float32)
        # Linear: the gradient then does not magnify how the output was rounded.
        return jnp.sum(jax.random.normal(jax.random.key(2), out.shape) * out), out

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
    (dx, dk), out = gradient(x, kernel)
    return {"out": out, "dx": dx, "dk": dk}


def fast(case):
    _, _, _, _, stride, dilation, padding = case
    return lambda a, b: convolve(a, b, stride=stride, dilation=dilation, padding=padding)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), slow_but_first([("float32", 1e-5), ("bfloat16", 1e-2)])
)
@pytest.mark.parametrize("name", slow_but_first(CASES))
def test_both_lowerings_agree(name, dtype, tolerance):
    case = CASES[name]
    x, kernel = arrays(case, dtype)
    # The way that is not taken, whichever it is.
    taken = name.startswith("one product")
    other = conv_lowering._convolve if taken else conv_lowering._convolve_by_dot
    # In bfloat16 the gradients are compared at the values that the fast path rounded to.
    expected = value_and_gradients(
        lambda a, b: other(a, b, *case[4:]), *(a.astype(jnp.float32) for a in (x, kernel))
    )
    found = value_and_gradients(fast(case), x, kernel)
    for key, value in expected.items():
        error = jnp.linalg.norm(found[key].astype(jnp.float32) - value) / jnp.linalg.norm(value)
        assert error < tolerance, key


@pytest.mark.parametrize("name", CASES)
def test_a_cpu_takes_the_lowering_that_the_case_names(name):
    case = CASES[name]
    text = jax.jit(fast(case)).lower(*jax.eval_shape(lambda: arrays(case))).as_text()
    assert ("stablehlo.convolution" in text) == (not name.startswith("one product"))


def transposes_that_compute(fn) -> list[str]:
    """Fused loops of the compiled gradient of a kernel that transpose what they also compute."""
    x, kernel = arrays((12, 16, 16, 3, 1, 1, 1))

    def loss(a, b):
        return jnp.sum(jnp.sin(fn(jax.nn.relu(a), b)))

    gradient = jax.jit(jax.grad(loss, argnums=1), compiler_options=compiler_options())
    text = gradient.lower(x, kernel).compile().as_text()
    bodies = [body for body in text.split("\n\n") if not body.startswith("ENTRY")]
    return [
        body for body in bodies if "maximum(" in body and re.search(r" (transpose|copy)\(", body)
    ]


@pytest.mark.slow
def test_a_map_is_computed_before_the_gradient_of_a_kernel_transposes_it():
    """Inside that transpose XLA would compute it again, out of order: 5 to 14 % of a step."""
    assert not transposes_that_compute(lambda a, b: convolve(a, b, padding=1))
    # Left to itself it does: else the test could not fail.
    assert transposes_that_compute(lambda a, b: conv_lowering._convolve(a, b, 1, 1, 1))
