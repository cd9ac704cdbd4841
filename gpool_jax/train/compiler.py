"""XLA's compiler options, and programs that are compiled with them."""

import functools
from typing import Any

import jax
import numpy as np

# XLA hands parts of a CPU program to the library YNNPACK. Only these pay: XLA's own reductions
# are much slower, but its own convolutions (Eigen's) are 1.2 to 2.5 times faster, and fused groups
# of other operations take convolutions with them (`benchmarks/NOTES.md`, 16 to 18).
_CPU: dict[str, str | bool] = {
    "xla_cpu_experimental_ynn_fusion_type": ",".join(
        f"LIBRARY_FUSION_TYPE_{name}" for name in ("INDIVIDUAL_DOT", "REDUCE")
    )
}


@functools.cache
def compiler_options() -> dict[str, str | bool]:
    """Return options that make programs faster, for `jax.jit(..., compiler_options=)`.

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
    """A mapped function of arrays, compiled with options, once for each set of shapes.

    Args:
      program: anything that can be lowered.
      options: compiler options; if empty, the program compiles itself.
    """

    def __init__(self, program: Any, options: dict[str, str | bool]):
        self._program, self._options = program, options
        self._compiled: dict[Any, Any] = {}

    def __call__(self, *args: Any) -> Any:
        """Run the program."""
        return self.compile(*args)(*args) if self._options else self._program(*args)

    def lower(self, *args: Any) -> jax.stages.Lowered:
        """Return the program for such arguments, not compiled."""
        return self._program.lower(*args)

    def compile(self, *args: Any) -> jax.stages.Compiled:
        """Return the compiled program for such arguments."""
        leaves, structure = jax.tree.flatten(args)
        shapes = structure, *((leaf.shape, leaf.dtype) for leaf in leaves)
        if shapes not in self._compiled:
            options = dict(self._options) or None
            self._compiled[shapes] = self.lower(*args).compile(compiler_options=options)
        return self._compiled[shapes]
