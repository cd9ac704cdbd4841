"""`from_flax` and `from_nnx`: networks of Flax modules, by the outputs of their submodules."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax.errors import InputError, nearest
from gpool_jax.networks.functions import from_function
from gpool_jax.networks.network import Network, Preprocess, mean_pool


def from_flax(
    module: Any,
    variables: Mapping[str, Any],
    *,
    feature: str,
    stages: Sequence[str] | None = None,
    head: str | Callable[..., jax.Array] | None = None,
    call: Mapping[str, Any] | None = None,
    pool: Callable[[jax.Array], jax.Array] = mean_pool,
    preprocess: Preprocess | None = None,
    name: str | None = None,
) -> Network:
    """Make a network of a Flax Linen module, whose intermediate outputs are its stages.

    Args:
      module: an unbound `flax.linen.Module`, called with inputs [B, H, W, C].
      variables: what `module.apply` takes first.
      feature: the map that is pooled: the path of the submodule whose output it is, such as
        "backbone/stage4", or the name under which the module sows it.
      stages: other maps, named so, in order; None: the last before the feature of each size.
      head: the path of the linear layer that reads the pooled vector, such as "Dense_0"; or a
        function of `variables` and latents to logits; None: no answers.
      call: options of the module's call, such as {"train": False}.
      pool: from that map to latents [B, C'].
      preprocess: the inputs that it expects; None: 224 x 224 pixels, ImageNet's constants.
      name: the network's name; None: the module's.

    Raises:
      InputError: if there is no such feature or head, or the module fails.
    """
    options = dict(call or {})
    preprocess = preprocess or Preprocess()

    def run(variables: Any, inputs: jax.Array) -> dict[str, jax.Array]:
        _, state = module.apply(
            variables, inputs, capture_intermediates=True, mutable=["intermediates"], **options
        )
        maps = _maps(state["intermediates"], len(inputs))
        return _choose(maps, feature, _before(maps, feature) if stages is None else stages)

    def init(seed: int) -> Any:
        inputs = jnp.zeros(preprocess.shape(1), jnp.float32)
        return jax.jit(lambda key: module.init(key, inputs, **options))(jax.random.key(seed))

    return from_function(
        run,
        params=variables,
        feature=feature,
        pool=pool,
        classify=_dense(head, variables.get("params", {})) if isinstance(head, str) else head,
        preprocess=preprocess,
        name=name or module.name or type(module).__name__,
        init=init,
    )


def _dense(path: str, params: Mapping[str, Any]) -> Callable[[Any, jax.Array], jax.Array]:
    """A function of variables and latents: the linear layer at a path of the parameters."""
    layer: Any = params
    for part in path.split("/"):
        known = list(layer) if isinstance(layer, Mapping) else []
        if part not in known:
            raise InputError(
                f"`head`: there are no parameters {path!r}; {part!r} is not one of "
                f"{', '.join(known) or 'none'}.{nearest(part, known)}"
            )
        layer = layer[part]
    if not isinstance(layer, Mapping) or np.ndim(layer.get("kernel", 0)) != 2:
        raise InputError(f"`head`: {path} is no linear layer (a kernel [C, K]); give a function.")

    def classify(variables: Any, latent: jax.Array) -> jax.Array:
        layer = variables["params"]
        for part in path.split("/"):
            layer = layer[part]
        logits = latent @ layer["kernel"].astype(jnp.float32)
        return logits + layer["bias"].astype(jnp.float32)[None] if "bias" in layer else logits

    return classify


def from_nnx(
    module: Any,
    *,
    feature: str,
    stages: Sequence[str] | None = None,
    head: str | Callable[[Any, jax.Array], jax.Array] | None = None,
    make: Callable[[Any], Any] | None = None,
    pool: Callable[[jax.Array], jax.Array] = mean_pool,
    preprocess: Preprocess | None = None,
    name: str | None = None,
) -> Network:
    """Make a network of a Flax NNX module, whose submodules' outputs are its stages.

    Args:
      module: an `nnx.Module` in evaluation mode (`module.eval()`), called with inputs [B, H, W, C].
      feature: the map that is pooled: the path of the submodule whose output it is, such as
        "stages/3", or the name under which the module sows it as an `nnx.Intermediate`.
      stages: other maps, named so, in order; None: no others.
      head: the path of the submodule that reads the pooled vector, such as "head"; or a function
        of the module and latents to logits; None: no answers.
      make: from `nnx.Rngs` to a module of fresh weights, for untrained twins.
      pool: from that map to latents [B, C'].
      preprocess: the inputs that it expects; None: 224 x 224 pixels, ImageNet's constants.
      name: the network's name; None: the module's class.

    Raises:
      InputError: if there is no such feature or head, or the module fails.
    """
    from flax import nnx

    if not hasattr(nnx, "capture"):
        raise InputError("`network`: this version of Flax does not capture outputs of NNX modules.")
    definition, state = nnx.split(module)

    def run(state: Any, inputs: jax.Array) -> dict[str, jax.Array]:
        merged = nnx.merge(definition, state)
        forward = nnx.capture(merged, nnx.Intermediate, method_outputs=nnx.Intermediate)
        _, found = forward(inputs)
        # Captured outputs are sorted by name: which of them came last is not known.
        return _choose(_maps(nnx.to_pure_dict(found), len(inputs)), feature, stages or ())

    def classify(state: Any, latent: jax.Array) -> jax.Array:
        merged = nnx.merge(definition, state)
        if callable(head):
            return head(merged, latent)
        part = merged
        for step in str(head).split("/"):
            part = part[int(step)] if step.isdigit() else getattr(part, step)
        return part(latent)

    def init(seed: int) -> Any:
        fresh = make(nnx.Rngs(seed))  # type: ignore[misc]
        fresh.eval()
        return nnx.split(fresh)[1]

    return from_function(
        run,
        params=state,
        feature=feature,
        pool=pool,
        classify=None if head is None else classify,
        preprocess=preprocess,
        name=name or type(module).__name__,
        init=None if make is None else init,
    )


def _maps(found: Mapping[Any, Any], batch: int) -> dict[str, jax.Array]:
    """Captured maps and tokens by their path, those of Linen modules in the order of computing."""
    maps = {}
    for path, value in _leaves(found, ()):
        name = "/".join(part for part in map(str, path) if part != "__call__")
        if name and len(value.shape) in (3, 4) and value.shape[0] == batch:
            maps[name] = value
    return maps


def _leaves(tree: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], jax.Array]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _leaves(value, (*path, key))
    elif isinstance(tree, tuple | list) and tree:
        # One entry for each call of the module; of several, the last.
        yield from _leaves(tree[-1], path)
    elif hasattr(tree, "shape"):
        yield path, tree


def _before(maps: Mapping[str, jax.Array], feature: str) -> list[str]:
    """Names of the last map of each size, of those computed before the feature."""
    last: dict[Any, str] = {}
    for name, value in maps.items():
        if name == feature:
            last.pop(value.shape[1:3], None)
            break
        if len(value.shape) == 4:
            last[value.shape[1:3]] = name
    return [name for name in maps if name in last.values()]


def _choose(
    maps: Mapping[str, jax.Array], feature: str, stages: Sequence[str]
) -> dict[str, jax.Array]:
    """The named stages, and then the feature."""
    for field, names in {"feature": [feature], "stages": stages}.items():
        for name in names:
            if name not in maps:
                raise InputError(
                    f"`{field}` must be among {', '.join(maps) or 'none'}; got {name!r}."
                    f"{nearest(name, maps)}"
                )
    return {name: maps[name] for name in stages if name != feature} | {feature: maps[feature]}
