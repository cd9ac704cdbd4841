"""Heads that run outside JAX, as JAX functions; and pooling recognised by its numbers."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax.errors import InputError

Run = Callable[[np.ndarray], np.ndarray]


def to_jax(
    run: Run, width: int, *, pull_back: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
) -> tuple[Callable[[jax.Array], jax.Array], bool]:
    """Make a JAX function of a head that another library runs.

    An affine head (a linear layer, with what is linear around it) becomes its kernel and bias,
    read off its values at zero and at the unit vectors. Another is called back from JAX.

    Args:
      run: from latents float32 [N, C] to logits [N, K], on the host.
      width: C.
      pull_back: `(latents [N, C], cotangents [N, K]) -> [N, C]`; None: no gradient is known.

    Returns:
      The function, and whether JAX can differentiate it.

    Raises:
      InputError: if the head does not take such latents.
    """
    trials = np.random.default_rng(0).normal(size=(8, width))
    probes = np.concatenate([np.zeros((1, width)), np.eye(width), trials]).astype(np.float32)
    try:
        answers = np.asarray(run(probes), np.float32)
    except Exception as error:  # anything may be wrong in it
        lines = str(error).strip().splitlines() or [""]
        raise InputError(f"`head` does not take {width} channels: {lines[0][:150]}") from error
    if answers.ndim != 2 or len(answers) != len(probes):
        raise InputError(f"`head` must give logits [N, K]; got {list(answers.shape)}.")
    if not np.isfinite(answers).all():
        raise InputError("`head`: its logits are not finite (NaN, infinity).")
    bias = answers[0]
    kernel = answers[1 : width + 1] - bias
    found, wanted = trials.astype(np.float32) @ kernel + bias, answers[width + 1 :]
    if np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max():
        return lambda latent: latent @ jnp.asarray(kernel) + jnp.asarray(bias)[None], True
    return _called_back(run, answers.shape[1], pull_back), pull_back is not None


def _called_back(run: Run, num_outputs: int, pull_back: Callable | None) -> Callable:
    def call(latent: jax.Array) -> jax.Array:
        result = jax.ShapeDtypeStruct((*latent.shape[:-1], num_outputs), jnp.float32)
        return jax.pure_callback(_flat(run), result, latent, vmap_method="expand_dims")

    if pull_back is None:
        return call

    def backward(latent: jax.Array, cotangent: jax.Array) -> tuple[jax.Array]:
        result = jax.ShapeDtypeStruct(latent.shape, jnp.float32)
        called = _flat(pull_back)
        return (jax.pure_callback(called, result, latent, cotangent, vmap_method="broadcast_all"),)

    differentiable = jax.custom_vjp(call)
    differentiable.defvjp(lambda latent: (call(latent), latent), backward)
    return differentiable


def _flat(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Call a function of arrays [N, C] with arrays of any leading shape."""

    def called(*arrays: np.ndarray) -> np.ndarray:
        hosted = [np.asarray(array, np.float32) for array in arrays]
        result = function(*(array.reshape(-1, array.shape[-1]) for array in hosted))
        return np.asarray(result, np.float32).reshape(*hosted[0].shape[:-1], -1)

    return called


def pooled_axes(shape: tuple[int, ...], pooled_size: int) -> list[tuple[int, ...]]:
    """Axes of a map over which averaging would leave that many numbers, as far as shapes tell.

    >>> pooled_axes((2, 8, 5, 5), 16), pooled_axes((2, 5, 5, 8), 16), pooled_axes((2, 9, 8), 16)
    ([(2, 3)], [(1, 2)], [(1,)])
    """
    known: dict[int, list[tuple[int, ...]]] = {4: [(2, 3), (1, 2)], 3: [(1,), (2,)]}
    options = known.get(len(shape), [])
    kept = {axes: np.prod([s for i, s in enumerate(shape) if i not in axes]) for axes in options}
    return [axes for axes in options if kept[axes] == pooled_size and kept[axes] < np.prod(shape)]


def map_axes(shape: tuple[int, ...], inputs: tuple[int, ...]) -> tuple[int, ...] | None:
    """Axes of space in a map, told by the input's aspect ratio; None if it is no map.

    Args:
      shape: of an array [B, C, h, w] or [B, h, w, C].
      inputs: (B, H, W) of the network's inputs.

    >>> map_axes((2, 8, 5, 5), (2, 20, 20)), map_axes((2, 5, 5, 8), (2, 20, 20))
    ((2, 3), (1, 2))
    """
    batch, height, width = inputs
    if len(shape) != 4 or shape[0] != batch:
        return None
    for axes in ((2, 3), (1, 2)):
        h, w = (shape[axis] for axis in axes)
        if 1 < h * w <= 4 * height * width and abs(h * width - w * height) < max(height, width):
            return axes
    return None


def halvings(area: int, inputs: tuple[int, ...]) -> int:
    """How often the sides of the input were halved to give a map of that many pixels, about.

    >>> [halvings(side * side, (2, 224, 224)) for side in (224, 114, 112, 7)]
    [0, 1, 1, 5]
    """
    return round(math.log2(inputs[1] * inputs[2] / area) / 2)


def to_nhwc(axes: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    """The order of axes that puts those of space after the first, and channels last.

    >>> to_nhwc((2, 3), 4), to_nhwc((1, 2), 4), to_nhwc((2,), 3)
    ((0, 2, 3, 1), (0, 1, 2, 3), (0, 2, 1))
    """
    rest = [axis for axis in range(1, ndim) if axis not in axes]
    return (0, *axes, *rest)
