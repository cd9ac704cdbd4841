"""How a layer of stride 2 makes its map smaller, other than by its stride: blurred, adaptive."""

from collections.abc import Callable

import jax

from gpool_jax import ops

SUBSAMPLING = ("strided", "aps")


def subsampler(antialias: int, padding: str, subsampling: str) -> Callable | None:
    """Make what follows a layer that then has stride 1; None: the layer keeps its stride.

    It is given a map [B, H, W, C], the stride and perhaps the phase int [B] that another path has
    chosen, and returns the smaller map and its phase, None without adaptive sampling.
    """
    if antialias == 0 and subsampling == "strided":
        return None

    def subsample(
        x: jax.Array, phase: jax.Array | None = None, *, stride: int
    ) -> tuple[jax.Array, jax.Array | None]:
        blurred = 1 if subsampling == "aps" else stride
        if antialias:
            x = ops.blur_pool2d(x, taps=antialias, stride=blurred, padding=padding)
        if subsampling == "strided":
            return x, None
        phase = ops.strongest_phase(x, stride) if phase is None else phase
        return ops.take_phase(x, phase, stride), phase

    return subsample
