"""Every way a convolution is computed gives what XLA's own gives, gradients included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpool_jax.ops import conv_lowering
from gpool_jax.ops.conv_lowering import convolve_valid
from tests import reference

# (side, channels, features, size, stride, dilation), and what a CPU takes.
CASES = {
    "sharing taps": (15, 6, 5, 3, 1, 1),
    "sharing taps, size 5": (16, 3, 4, 5, 1, 1),
    "one product": (8, 32, 5, 3, 1, 1),
    "one product, strided": (9, 16, 4, 3, 2, 1),
    "one product, dilated": (13, 4, 5, 3, 1, 4),
    "one product, 1x1": (7, 5, 3, 1, 1, 1),
    "XLA's": (17, 3, 4, 7, 2, 1),
}


def arrays(case, dtype=jnp.float32):
    side, channels, features, size, _, _ = case
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, side, side + 3, channels))
    kernel = rng.standard_normal((size, size, channels, features))
    return jnp.asarray(x, dtype), jnp.asarray(kernel, dtype)


def value_and_gradients(convolve, x, kernel):
    def loss(a, b):
        out = convolve(a, b).astype(jnp.float32)
        return jnp.sum(jnp.sin(out)), out

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
    (dx, dk), out = gradient(x, kernel)
    return {"out": out, "dx": dx, "dk": dk}


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 1e-2)])
@pytest.mark.parametrize("name", CASES)
def test_the_lowering_agrees_with_xla(name, dtype, tolerance):
    case = CASES[name]
    x, kernel = arrays(case, dtype)
    plain = lambda a, b: conv_lowering._convolve(a, b, *case[4:])  # noqa: E731
    fast = lambda a, b: convolve_valid(a, b, stride=case[4], dilation=case[5])  # noqa: E731
    # In bfloat16 the gradients are compared at the values that the fast path rounded to.
    expected = value_and_gradients(plain, *(a.astype(jnp.float32) for a in (x, kernel)))
    found = value_and_gradients(fast, x, kernel)
    for key, value in expected.items():
        error = jnp.linalg.norm(found[key].astype(jnp.float32) - value) / jnp.linalg.norm(value)
        assert error < (tolerance if dtype == "float32" or key == "out" else 5 * tolerance), key


@pytest.mark.parametrize("name", CASES)
def test_a_cpu_takes_the_lowering_that_the_case_names(name):
    case = CASES[name]
    x, kernel = arrays(case)
    fn = jax.jit(lambda a, b: convolve_valid(a, b, stride=case[4], dilation=case[5]))
    text = fn.lower(x, kernel).as_text()
    assert ("stablehlo.convolution" in text) == (not name.startswith("one product"))


def test_the_kernel_gradient_is_that_of_a_loop():
    rng = np.random.default_rng(1)
    x, gradient = rng.standard_normal((2, 6, 7, 3)), rng.standard_normal((2, 4, 5, 2))
    expected = np.zeros((3, 3, 3, 2))
    for i in range(3):
        for j in range(3):
            for row in range(4):
                for column in range(5):
                    pixel = x[:, row + i, column + j]
                    expected[i, j] += pixel.T @ gradient[:, row, column]
    found = conv_lowering.kernel_gradient(*(jnp.asarray(a, jnp.float32) for a in (x, gradient)))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_sharing_of_taps_works_under_vmap():
    case = CASES["sharing taps"]
    x, kernel = arrays(case)
    kernels = jnp.stack([kernel, 2 * kernel])
    gradient = jax.vmap(jax.grad(lambda k: convolve_valid(x, k).sum() ** 2 / 1e3))(kernels)
    np.testing.assert_allclose(gradient[1], 2 * gradient[0], rtol=1e-4, atol=1e-3)
    padded = np.pad(np.asarray(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = reference.conv2d(np.asarray(x), np.asarray(kernel), 1, 1, "zeros")
    np.testing.assert_allclose(convolve_valid(jnp.asarray(padded), kernel), expected, atol=1e-4)
