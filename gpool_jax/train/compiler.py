"""What XLA is told when it compiles, and programs that are compiled so."""

import functools
from typing import Any

import jax
import numpy as np

# XLA hands parts of a CPU program to the library YNNPACK: products, reductions, elementwise
# work, and convolutions. All but the last are named here, since its own convolution (Eigen's)
# is 1.2 to 2 times faster (`benchmarks/NOTES.md`).
_CPU: dict[str, str | bool] = {
    "xla_cpu_experimental_ynn_fusion_type": ",".join(
        f"LIBRARY_FUSION_TYPE_{name}" for name in ("INDIVIDUAL_DOT", "REDUCE")
    )
}


@functools.cache
def compiler_options() -> dict[str, str | bool]:
    """Options that make programs faster on this platform: for `jax.jit(..., compiler_options=)`.

    Empty on a GPU or TPU, and with a version of XLA that does not know them.
    """
    if jax.default_backend() != "cpu":
        return {}
    nothing = jax.jit(lambda x: x).lower(np.float32(0))
    try:
        nothing.compile(compiler_options=dict(_CPU))
    except jax.errors.JaxRuntimeError:
        return {}
    return dict(_CPU)


class Program:
    """A function of arrays that `pmap` or `jit` made, compiled with options.

    `pmap` takes no options for the compiler: each set of shapes is compiled here, once.
    """

    def __init__(self, program: Any, options: dict[str, str | bool]):
        """Take a program that can be lowered; without options it is left to itself."""
        self._program, self._options = program, options
        self._compiled: dict[Any, Any] = {}

    def __call__(self, *args: Any) -> Any:
        """Run it."""
        return self.compile(*args)(*args) if self._options else self._program(*args)

    def lower(self, *args: Any) -> jax.stages.Lowered:
        """The program for such arguments, not compiled."""
        return self._program.lower(*args)

    def compile(self, *args: Any) -> jax.stages.Compiled:
        """The compiled program for such arguments."""
        leaves, structure = jax.tree.flatten(args)
        shapes = structure, *((leaf.shape, leaf.dtype) for leaf in leaves)
        if shapes not in self._compiled:
            options = dict(self._options) or None
            self._compiled[shapes] = self.lower(*args).compile(compiler_options=options)
        return self._compiled[shapes]
