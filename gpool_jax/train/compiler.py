"""XLA's compiler options, and programs that are compiled with them."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

# XLA hands parts of a CPU program to the library YNNPACK. Only these pay: XLA's own reductions
# are much slower, but its own convolutions (Eigen's) are 1.2 to 2.5 times faster, and fused groups
# of other operations take convolutions with them (`benchmarks/NOTES.md`, 16 to 18).
_TYPES = "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
_CPU: dict[str, str | bool] = {"xla_cpu_experimental_ynn_fusion_type": _TYPES}


@functools.cache
def compiler_options() -> dict[str, str | bool]:
    """Options that make programs faster on a CPU; empty elsewhere, or where XLA lacks them."""
    if jax.default_backend() != "cpu":
        return {}
    nothing = jax.jit(lambda x: x).lower(np.float32(0))
    try:
        nothing.compile(compiler_options=dict(_CPU))
    except jax.errors.JaxRuntimeError:
        return {}
    return dict(_CPU)


class Program:
    """A device program that is mapped over devices, compiled once for each set of shapes.

    With no compiler options it compiles itself. `place` turns the arguments into its own, and
    `compiled` is called after each compilation, before the program runs.
    """

    def __init__(
        self,
        program: Any,
        options: dict[str, str | bool],
        place: Callable[..., Any] = lambda *args: args,
        compiled: Callable[[], None] | None = None,
    ):
        self._program, self._options, self._place = program, options, place
        self._when_compiled = compiled
        self._compiled: dict[Any, Any] = {}

    def __call__(self, *args: Any) -> Any:
        """Run the program."""
        run = self._program
        if self._options or self._when_compiled:
            ahead = self.compile(*args)
            # Without options, the program takes from JAX what was compiled ahead.
            run = ahead if self._options else run
        return run(*self._place(*args))

    def lower(self, *args: Any) -> Any:
        """Return the program for such arguments, not compiled: a `jax.stages.Lowered`."""
        return self._program.lower(*self._place(*args))

    def compile(self, *args: Any) -> Any:
        """Return the compiled program for such arguments: a `jax.stages.Compiled`."""
        leaves, structure = jax.tree.flatten(args)
        shapes = structure, *((leaf.shape, leaf.dtype) for leaf in leaves)
        if shapes not in self._compiled:
            options = dict(self._options) or None
            self._compiled[shapes] = self.lower(*args).compile(compiler_options=options)
            if self._when_compiled:
                self._when_compiled()
        return self._compiled[shapes]
