"""Cost of a computation, counted from its program before anything is compiled."""

import math
from collections.abc import Callable
from typing import Any

import jax


def count_flops(fn: Callable, *args: Any) -> float:
    """Count the floating point operations of one call.

    A multiply-add counts as two. Taps of a convolution that fall on zeros, of the padding or
    put in by the gradient of a stride, are not counted, except on a CPU for maps smaller than
    the kernel, where the convolution is a matrix product.

    Args:
      fn: a function of arrays.
      *args: arrays, or `jax.ShapeDtypeStruct`s.

    Returns:
      XLA's count for the program before it is optimised.

    >>> half = jax.ShapeDtypeStruct((8, 16), "float32")
    >>> count_flops(lambda a, b: a @ b.T, half, half)
    2048.0
    """
    lowered = jax.jit(fn).lower(*args)
    # Some platforms can only tell once it is compiled.
    analysis = lowered.cost_analysis() or lowered.compile().cost_analysis() or {}
    return float(analysis["flops"])


def count_forward_flops(model: Any, input_shape: tuple[int, ...]) -> float:
    """Count the operations of one evaluation of a network on [B, H, W, C]."""
    x = jax.ShapeDtypeStruct(input_shape, "float32")
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    return count_flops(lambda v, x: model.apply(v, x)[0], variables, x)


def count_parameters(params: Any) -> int:
    """Count the numbers in a tree of arrays (or of their shapes)."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
