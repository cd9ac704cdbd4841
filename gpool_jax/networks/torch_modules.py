"""`from_torch`: networks of PyTorch modules, which PyTorch runs and JAX measures."""

import contextlib
import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax.errors import InputError, nearest
from gpool_jax.networks import heads, torch_trace
from gpool_jax.networks import network as networks
from gpool_jax.networks.network import Network, Preprocess, mean_pool
from gpool_jax.networks.torch_trace import Plan


def from_torch(
    module: Any,
    *,
    layer: str | None = None,
    head: str | Callable[[jax.Array], jax.Array] | None = None,
    pool: Callable[[jax.Array], jax.Array] = mean_pool,
    preprocess: Preprocess | None = None,
    name: str | None = None,
    make: Callable[[], Any] | None = None,
    notes: tuple[str, ...] = (),
) -> Network:
    """Make a network of a PyTorch module; which map it pools is read off one forward pass.

    The module is put into evaluation mode, and its weights into PyTorch's channels-last order.
    It runs where it lies; move it to a GPU before.

    Args:
      module: a `torch.nn.Module`, called with inputs [B, C, H, W].
      layer: the name of the module that gives the map, or that pools it, as in
        `module.named_modules()`; None: the map that the network averages over space.
      head: the name of the module that turns the pooled vector into logits, or a JAX function;
        None: the modules that follow the pooling, if there are no other steps between them.
      pool: from the map to latents [B, C'].
      preprocess: the inputs that it expects; None: 224 x 224 pixels, ImageNet's constants.
      name: the network's name; None: the module's class.
      make: makes a module of fresh weights, for untrained twins; None: a copy of the module, in
        which `reset_parameters` is called wherever there is such a method.
      notes: what a reader of its results must know.

    Raises:
      InputError: if there is no such layer, no global pooling or several, or the module fails.
    """
    import torch

    if not isinstance(module, torch.nn.Module):
        raise InputError(f"`network` must be a torch.nn.Module; got a {type(module).__name__}.")
    if preprocess is None:
        preprocess = Preprocess()
        notes = (*notes, networks.say_assumed(preprocess.size))
    _prepare(module)
    generator = torch.Generator().manual_seed(0)
    batch, height, width, channels = preprocess.shape(2)
    inputs = torch.randn((batch, channels, height, width), generator=generator)
    plan = torch_trace.trace(module, _like(module, inputs), layer)
    template = _Template(plan, preprocess, pool, head)
    title = name or type(module).__name__
    network = template.build(module, title, notes)

    def twin(seed: int) -> Network:
        fresh, kept = _untrain(module, seed, make)
        more = () if not kept else (_say_kept(kept),)
        title = f"{network.name}, untrained (seed {seed})"
        return dataclasses.replace(template.build(fresh, title, notes + more), untrained=twin)

    sample = inputs.permute(0, 2, 3, 1).contiguous().numpy()
    maps = network.encode(sample)
    networks.check_maps(maps, network.feature, len(sample))
    shape = jax.ShapeDtypeStruct(maps[network.feature].shape, jnp.float32)
    return networks.check_answers(dataclasses.replace(network, untrained=twin), shape)


def _prepare(module: Any) -> None:
    import torch

    module.eval()
    module.to(memory_format=torch.channels_last)


@dataclasses.dataclass(frozen=True)
class _Template:
    """What networks of one architecture share, whatever their weights."""

    plan: Plan
    preprocess: Preprocess
    pool: Callable[[jax.Array], jax.Array]
    head: str | Callable[[jax.Array], jax.Array] | None

    def build(self, module: Any, name: str, notes: tuple[str, ...]) -> Network:
        """Make a network of a module of this architecture."""
        feature = list(self.plan.stages)[-1]
        encode = _make_encoder(module, self.plan)
        classify, differentiable = self._make_head(module)
        return Network(
            name=name,
            encode=networks.checked(encode, self.preprocess, feature),
            feature=feature,
            preprocess=self.preprocess,
            pool=self.pool,
            classify=classify,
            differentiable=differentiable,
            traceable=False,
            notes=notes,
        )

    def _make_head(self, module: Any) -> tuple[Callable[[jax.Array], jax.Array] | None, bool]:
        if callable(self.head):
            return self.head, True
        modules = dict(module.named_modules())
        if self.head is None:
            # The head of a network that pools otherwise reads something else.
            if not self.plan.head or self.pool is not mean_pool:
                return None, True
            steps = [(modules[name], shape) for name, shape in self.plan.head]
        elif self.head not in modules:
            hint = nearest(self.head, modules)
            raise InputError(f"`head`: the network has no module {self.head!r}.{hint}")
        else:
            steps = [(modules[self.head], (-1,))]

        def apply(latent: Any) -> Any:
            for part, shape in steps:
                latent = part(latent.reshape(len(latent), *shape))
            return latent.flatten(1)

        run, pull_back = _on_host(module, apply)
        return heads.to_jax(run, self.plan.channels, pull_back=pull_back)


def _on_host(module: Any, apply: Callable) -> tuple[Callable, Callable]:
    """A function of PyTorch on arrays of the host, and its vector-Jacobian product."""
    import torch

    def run(latent: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return apply(_like(module, torch.tensor(latent))).float().cpu().numpy()

    def pull_back(latent: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        with torch.enable_grad():
            given = _like(module, torch.tensor(latent)).requires_grad_()
            logits = apply(given)
            (found,) = torch.autograd.grad(logits, given, _like(module, torch.tensor(cotangent)))
        return found.float().cpu().numpy()

    return run, pull_back


def _like(module: Any, tensor: Any) -> Any:
    """A copy of a tensor where the module's weights are, of their type, channels last."""
    import torch

    weights = next((p for p in module.parameters() if p.is_floating_point()), tensor)
    order = torch.channels_last if tensor.ndim == 4 else torch.contiguous_format
    return tensor.to(weights.device, weights.dtype, copy=True, memory_format=order)


def _to_torch(inputs: jax.Array, module: Any) -> Any:
    """Inputs [B, H, W, C] as a tensor [B, C, H, W]; they stay on their device if they can."""
    import torch

    on_gpu = next(iter(inputs.devices())).platform != "cpu"
    if on_gpu and not any(p.is_cuda for p in module.parameters()):
        inputs = jax.device_put(inputs, jax.devices("cpu")[0])
    # Copied once, since a module may write into its input.
    return _like(module, torch.from_dlpack(inputs).permute(0, 3, 1, 2))


def _to_jax(tensor: Any) -> jax.Array:
    """A tensor of our own, with channels last, as a JAX array; it stays on its device if it can."""
    if tensor.is_cuda and jax.default_backend() == "cpu":
        tensor = tensor.cpu()
    return jax.dlpack.from_dlpack(tensor)


def _make_encoder(module: Any, plan: Plan) -> Callable[[jax.Array], dict[str, jax.Array]]:
    """Run the module and keep the plan's points."""
    import torch

    modules = dict(module.named_modules())

    def encode(inputs: jax.Array) -> dict[str, jax.Array]:
        if isinstance(inputs, jax.core.Tracer):
            raise InputError("`network`: PyTorch runs it; it cannot be part of a JAX function.")
        kept: dict[str, Any] = {}
        with contextlib.ExitStack() as stack:

            def watch() -> contextlib.AbstractContextManager:
                handles = []
                for stage, point in plan.stages.items():

                    def keep(value: Any, stage: str = stage, point: Any = point) -> None:
                        # A copy: what follows may write into the map.
                        value = value.permute(point.order).to(torch.float32)
                        kept[stage] = value.clone(memory_format=torch.contiguous_format)

                    if point.kind == "average":
                        stack.enter_context(torch_trace.calls_of(_nth_average(point.call, keep)))
                    else:
                        handles.append(_hook(modules[point.module], point, keep))
                return torch_trace.hooks(handles)

            torch_trace.run(module, _to_torch(inputs, module), watch)
        return {stage: _to_jax(kept[stage]) for stage in plan.stages}

    return encode


def _nth_average(number: int, keep: Callable[[Any], None]) -> Callable[[str, list, list], None]:
    calls = 0

    def seen(name: str, given: list[Any], result: list[Any]) -> None:
        nonlocal calls
        if given and result and torch_trace.is_average(name):
            if calls == number:
                keep(given[0])
            calls += 1

    return seen


def _hook(part: Any, point: torch_trace.Point, keep: Callable[[Any], None]) -> Any:
    calls = 0

    def hook(_: Any, args: tuple, output: Any) -> None:
        nonlocal calls
        if calls == point.call:
            keep(args[0] if point.kind == "input" else output)
        calls += 1

    return part.register_forward_hook(hook)


def _untrain(
    module: Any, seed: int, make: Callable[[], Any] | None
) -> tuple[Any, list[tuple[str, int]]]:
    """A module of fresh weights, and those of its arrays (name, size) that are still the old ones.

    PyTorch's own random numbers go on as if nothing had been drawn.
    """
    import torch

    kept = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if make is not None:
            fresh = make()
            weights = next(module.parameters(), torch.zeros(()))
            fresh.to(weights.device, weights.dtype)
        else:
            fresh = copy.deepcopy(module)
            for name, part in fresh.named_modules():
                if callable(getattr(part, "reset_parameters", None)):
                    part.reset_parameters()
                else:
                    own = part.named_parameters(name, recurse=False)
                    kept += [(key, array.numel()) for key, array in own]
    _prepare(fresh)
    return fresh, kept


def _say_kept(kept: list[tuple[str, int]]) -> str:
    names = ", ".join(name for name, _ in kept[:3]) + (", ..." if len(kept) > 3 else "")
    numbers = sum(size for _, size in kept)
    return (
        f"The untrained network keeps {numbers:,} trained numbers, in {len(kept)} arrays "
        f"of modules without `reset_parameters` ({names}); from_torch(make=) builds a fresh one."
    )
