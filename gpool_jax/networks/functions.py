"""`from_function`: networks of any function, of JAX or not."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax.errors import InputError, first_line
from gpool_jax.networks import network as networks
from gpool_jax.networks.network import Network, Preprocess, mean_pool

# The name of the pooled map, if nothing else names it: as in our own networks.
POOLED = "pre_gap"


def from_function(
    fn: Callable[..., Any],
    *,
    params: Any = None,
    feature: str | None = None,
    pool: Callable[[jax.Array], jax.Array] = mean_pool,
    classify: Callable[..., jax.Array] | None = None,
    preprocess: Preprocess | None = None,
    name: str | None = None,
    init: Callable[[int], Any] | None = None,
    jit: bool = True,
    notes: tuple[str, ...] = (),
) -> Network:
    """Make a network of any function: Equinox, Haiku, plain JAX, or (without `jit`) NumPy.

    Args:
      fn: from inputs float32 [B, H, W, C] to a dict of stage to map [B, h, w, C'] or tokens
        [B, T, C'], in order; or to the one map that is pooled. With `params`, it is called
        `fn(params, inputs)`, which compiles faster, and once for all untrained twins.
      params: a tree of arrays.
      feature: the stage that is pooled; None: the last.
      pool: from that map to latents [B, C'].
      classify: from latents (with `params`: from `params` and latents) to logits [B, K].
      preprocess: the inputs that it expects; None: 224 x 224 pixels, ImageNet's constants.
      name: the network's name; None: the function's.
      init: a seed to fresh `params`, for untrained twins.
      jit: whether JAX can trace `fn`; it is then compiled.
      notes: what a reader of its results must know.

    Raises:
      InputError: if the function fails, or gives something else than maps.
    """
    preprocess = preprocess or Preprocess()
    title = str(name or getattr(fn, "__name__", type(fn).__name__))
    if init is not None and params is None:
        raise InputError("`init` gives fresh `params`: give those of the trained network too.")

    def run(params: Any, inputs: jax.Array) -> dict[str, Any]:
        maps = fn(inputs) if params is None else fn(params, inputs)
        return {POOLED: maps} if hasattr(maps, "shape") else maps

    names, feature, pooled = _read_shapes(run, params, preprocess, feature, jit)

    def ordered(params: Any, inputs: jax.Array) -> tuple[Any, ...]:
        # JAX sorts the keys of a dict that leaves a compiled function.
        maps = run(params, inputs)
        return tuple(maps[name] for name in names)

    compute = jax.jit(ordered) if jit else ordered

    def make(params: Any, name: str) -> Network:
        def head(latent: jax.Array) -> jax.Array:
            given: Any = classify  # only called if there is one
            return given(latent) if params is None else given(params, latent)

        def encode(inputs: jax.Array) -> dict[str, jax.Array]:
            return dict(zip(names, map(jnp.asarray, compute(params, inputs)), strict=True))

        return Network(
            name=name,
            encode=networks.checked(encode, preprocess, feature),
            feature=feature,
            preprocess=preprocess,
            pool=pool,
            classify=None if classify is None else head,
            untrained=None if init is None else twin,
            traceable=jit,
            notes=notes,
        )

    def twin(seed: int) -> Network:
        fresh: Any = init
        return make(fresh(seed), f"{title}, untrained (seed {seed})")

    return networks.check_answers(make(params, title), pooled)


def _read_shapes(
    run: Callable, params: Any, preprocess: Preprocess, feature: str | None, jit: bool
) -> tuple[list[str], str, jax.ShapeDtypeStruct]:
    """Names of the stages in order, that of the pooled one and its shape, from one pass."""
    names: list[str] = []

    def recording(params: Any, inputs: Any) -> Any:
        maps = run(params, inputs)
        if isinstance(maps, Mapping):
            names[:] = maps
        return maps

    shape = preprocess.shape(2)
    if jit:
        example = jax.ShapeDtypeStruct(shape, jnp.float32)
        maps = networks.shape_of("network", recording, params, example)
    else:
        try:
            maps = recording(params, np.zeros(shape, np.float32))
        except Exception as error:  # anything may be wrong in it
            raise InputError(f"`network` fails on {list(shape)}: {first_line(error)}") from error
    maps = {name: maps[name] for name in names} if names else maps
    feature = networks.check_maps(maps, feature, shape[0])
    return names, feature, jax.ShapeDtypeStruct(maps[feature].shape, jnp.float32)
