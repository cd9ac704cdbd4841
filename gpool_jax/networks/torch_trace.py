"""Where a PyTorch module pools, and what comes before and after: read off one forward pass.

A global pooling is a call that averages a map over all its space and of which no map is computed;
of what squeeze-and-excitation averages, one is. What comes after is
the network's head if leaf modules, each fed with what the one before gave, lead to its output.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax

from gpool_jax.errors import InputError, first_line, nearest
from gpool_jax.networks.heads import halvings, map_axes, pooled_axes, to_nhwc

# By how often the input was halved (see `halvings`): a stage's name, place and map.
_Stages = dict[int, tuple[str, "Point", Any]]
# Functions that can average over space, by the last part of their name.
_AVERAGES = ("mean", "adaptive_avg_pool2d", "adaptive_avg_pool1d", "avg_pool2d")


@dataclasses.dataclass(frozen=True)
class Point:
    """A tensor of a forward pass.

    Attributes:
      kind: "output" or "input" of a module, or "average": what an averaging function is given.
      module: the module's name; "" for an average.
      call: which call of the module, or of averaging functions, from 0.
      order: its axes as [B, h, w, C] or [B, T, C].
    """

    kind: str
    module: str
    call: int
    order: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a network made of a module reads: the same for a copy with other weights.

    Attributes:
      stages: points by the name of the stage, the pooled one last.
      head: names of the modules that follow the pooled vector, and the shape that each is given,
        without the batch; None if the output is not reached from it in this way.
      channels: C, those of the pooled map.
    """

    stages: dict[str, Point]
    head: list[tuple[str, tuple[int, ...]]] | None
    channels: int


@dataclasses.dataclass
class _Average:
    """A call that averages a map over its space.

    `inside` are the modules that make it, the innermost last; `stages` are those before it;
    `derived` are the tensors computed of its result, by id, until one of them is a map; `tail`
    are the leaf modules called after it, with what they are given and give.
    """

    number: int
    inside: tuple[str, ...]
    map: Any
    pooled: Any
    order: tuple[int, ...]
    stages: _Stages
    is_last: bool = True
    derived: dict[int, Any] = dataclasses.field(default_factory=dict)
    tail: list[tuple[str, Any, Any]] = dataclasses.field(default_factory=list)


def trace(module: Any, inputs: Any, layer: str | None) -> Plan:
    """Find the pooled map of a module, its stages and its head.

    Args:
      module: a `torch.nn.Module` in evaluation mode.
      inputs: a tensor [B, C, H, W], B at least 2, of which it takes such ones.
      layer: the name of the module that gives the map, or that pools it; None: find it.

    Raises:
      InputError: if the pass fails, there is no global pooling, or there are several.
    """
    recorder = _Recorder(module, inputs, layer)
    output = run(module, inputs, recorder.watch)
    answers = _logits(output)
    if answers is not None and not answers.isfinite().all():
        raise InputError("`network`: its answers are not finite (NaN, infinity).")
    if layer is not None:
        return recorder.plan_layer(answers)
    last = [average for average in recorder.averages if average.is_last]
    if not last:
        raise InputError(
            "`network` averages no map over space in its forward pass at "
            f"{inputs.shape[2]}x{inputs.shape[3]} pixels; give a larger size by `preprocess`, "
            "or name the module that gives the map to be pooled by `layer`."
        )
    if len(last) > 1:
        places = ", ".join(average.inside[-1] or "the network itself" for average in last)
        raise InputError(
            f"`network` pools {len(last)} times, in {places}: name the module that gives the map "
            "by `layer`."
        )
    return recorder.plan_average(last[0], answers)


def run(module: Any, inputs: Any, watch: Callable[[], contextlib.AbstractContextManager]) -> Any:
    """A forward pass that is watched; an `InputError` if it fails."""
    import torch

    with torch.inference_mode(), watch():
        try:
            return module(inputs)
        except InputError:
            raise
        except Exception as error:  # anything may be wrong in it
            raise InputError(
                f"`network` fails on inputs {list(inputs.shape)}: {first_line(error)}"
            ) from error


@contextlib.contextmanager
def hooks(handles: list[Any]) -> Iterator[None]:
    """Take hooks away again, so that the module stays as it was."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def calls_of(
    seen: Callable[[str, list[Any], list[Any]], None],
) -> contextlib.AbstractContextManager:
    """Let `seen(name, tensors given, tensors in the result)` know each call of a function."""
    import torch

    def tensors(*values: Any) -> list[Any]:
        leaves = jax.tree_util.tree_leaves(values)
        return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]

    class Mode(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor | tuple | list):
                name = getattr(func, "__name__", "")
                seen(name, tensors(args, kwargs), tensors(result))
            return result

    return Mode()


def is_average(name: str) -> bool:
    """Whether a function of that name can average over space."""
    return name in _AVERAGES


class _Recorder:
    """What a forward pass shows of its maps and averages."""

    def __init__(self, module: Any, inputs: Any, layer: str | None):
        self.modules = dict(module.named_modules())
        batch, self.channels, height, width = inputs.shape
        self.inputs = batch, height, width
        if layer is not None and layer not in self.modules:
            raise InputError(
                f"`layer`: the network has no module {layer!r}.{nearest(layer, self.modules)}"
            )
        self.layer = layer
        self.named: tuple[dict[str, Any], _Stages] | None = None
        self.averages: list[_Average] = []
        self.num_calls = 0
        self.inside: list[str] = []
        self.entered: list[tuple[int | None, tuple[str, Point, Any] | None]] = []
        self.times: dict[str, int] = {}
        self.stages: _Stages = {}

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        handles = []
        for name, part in self.modules.items():
            handles.append(part.register_forward_pre_hook(self._enter(name)))
            handles.append(part.register_forward_hook(self._leave(name, part)))
        with hooks(handles), calls_of(self._called):
            yield

    def _enter(self, name: str) -> Callable:
        def hook(_: Any, args: tuple) -> None:
            self.inside.append(name)
            size = self._size(args[0] if args else None)[0]
            self.entered.append((size, None if size is None else self.stages.get(size)))

        return hook

    def _leave(self, name: str, part: Any) -> Callable:
        is_leaf = next(part.children(), None) is None

        def hook(_: Any, args: tuple, output: Any) -> None:
            self.inside.pop()
            call = self.times[name] = self.times.get(name, -1) + 1
            given = args[0] if args else None
            if name == self.layer:
                values = {"output": output, "input": given}
                tensors = {k: v.clone() for k, v in values.items() if hasattr(v, "shape")}
                self.named = tensors, dict(self.stages)
            old, before = self.entered.pop()
            if not hasattr(output, "shape"):
                return
            if is_leaf and self.averages and hasattr(given, "shape"):
                if name not in self.averages[-1].inside:
                    self.averages[-1].tail.append((name, given, output))
            size, axes = self._size(output)
            # What grows again is no stage: padding, the weights of attention.
            if size is None or axes is None or size < max(self.stages, default=0):
                return
            if old is not None and before and size == old + 1:
                # Maps of the old size inside the module that changes it belong to the next stage.
                self.stages[old] = before
            if name and (size or output.shape[to_nhwc(axes, 4)[-1]] != self.channels):
                point = Point("output", name, call, to_nhwc(axes, 4))
                self.stages[size] = name, point, output.clone()

        return hook

    def _size(self, value: Any) -> tuple[int | None, tuple[int, ...] | None]:
        """The size of a map, in halvings, and its axes of space; None of anything else."""
        shape = tuple(getattr(value, "shape", ()))
        axes = map_axes(shape, self.inputs)
        if axes is None:
            return None, None
        return halvings(shape[axes[0]] * shape[axes[1]], self.inputs), axes

    def _called(self, name: str, given: list[Any], result: list[Any]) -> None:
        """Take note of a function's call: of an average, or of something computed of one."""
        for average in self.averages:
            if average.is_last and any(id(tensor) in average.derived for tensor in given):
                average.derived.update((id(tensor), tensor) for tensor in result)
                if any(self._is_like(tensor, average) for tensor in result):
                    average.is_last, average.derived, average.tail = False, {}, []
        if not given or not result or not is_average(name):
            return
        number, self.num_calls = self.num_calls, self.num_calls + 1
        value, pooled = given[0], result[0]
        if value.shape[:1] == self.inputs[:1] and (axes := _averaged(value, pooled)):
            order = to_nhwc(axes, value.ndim)
            inside, stages = tuple(self.inside), dict(self.stages)
            self.averages.append(_Average(number, inside, value, pooled, order, stages))
            self.averages[-1].derived[id(pooled)] = pooled

    def _is_like(self, tensor: Any, average: _Average) -> bool:
        """Whether a tensor is a map, or tokens, as the one that was averaged."""
        if tensor.ndim == 4:
            return map_axes(tuple(tensor.shape), self.inputs) is not None
        return tensor.ndim == 3 and tensor.shape == average.map.shape

    def plan_average(self, average: _Average, logits: Any) -> Plan:
        """Read the map that an average is given, from the module that gives it if one does."""
        stages = dict(average.stages)
        point = Point("average", "", average.number, average.order)
        name = "pre_gap"
        last = stages.get(self._size(average.map)[0] or 0)
        # Unless something has been computed with it since then.
        if last and last[1].order == average.order and _equal(last[2], average.map):
            name, point = last[:2]
        return self._plan(stages, name, point, average, average.map, logits)

    def plan_layer(self, logits: Any) -> Plan:
        """Read the map that the named module gives, or else the one that it is given."""
        layer = str(self.layer)
        if self.named is None:
            raise InputError(f"`layer`: {layer!r} is not called in a forward pass.")
        tensors, stages = self.named
        for kind, value in tensors.items():  # noqa: B007
            shape = tuple(value.shape)
            axes = (1,) if value.ndim == 3 else map_axes(shape, self.inputs)
            if axes and shape[0] == self.inputs[0]:
                break
        else:
            shapes = {kind: list(value.shape) for kind, value in tensors.items()}
            raise InputError(
                f"`layer`: {layer!r} neither gives nor takes a map of more than a pixel: {shapes}."
            )
        point = Point(kind, layer, self.times[layer], to_nhwc(axes, value.ndim))
        fitting = [a for a in self.averages if _equal(a.map, value) and a.order == point.order]
        return self._plan(stages, layer, point, fitting[-1] if fitting else None, value, logits)

    def _plan(
        self,
        stages: _Stages,
        name: str,
        point: Point,
        average: _Average | None,
        pooled_map: Any,
        logits: Any,
    ) -> Plan:
        size = self._size(pooled_map)[0]
        before = {stage: at for halved, (stage, at, _) in stages.items() if halved != size}
        head = None if average is None else _chain(average, logits)
        return Plan(before | {name: point}, head, int(pooled_map.shape[point.order[-1]]))


def _averaged(value: Any, pooled: Any) -> tuple[int, ...] | None:
    """The axes of space that a tensor is averaged over, if the other is its average."""
    import torch

    for axes in pooled_axes(tuple(value.shape), pooled.numel()):
        mean = value.mean(axes).flatten()
        if torch.allclose(mean, pooled.flatten(), rtol=1e-3, atol=1e-5, equal_nan=True):
            return axes
    return None


def _equal(a: Any, b: Any) -> bool:
    import torch

    return a.shape == b.shape and torch.equal(a, b)


def _chain(average: _Average, logits: Any) -> list[tuple[str, tuple[int, ...]]] | None:
    """The modules through which the pooled vector becomes the output; None if others do it."""
    value, steps = average.pooled.flatten(1), []
    if logits is None:
        return None
    for name, given, output in average.tail:
        if not _equal(given.flatten(1), value):
            return None
        steps.append((name, tuple(given.shape[1:])))
        value = output.flatten(1)
    return steps if _equal(value, logits.flatten(1)) else None


def _logits(output: Any) -> Any:
    """The tensor of answers in what a network gives."""
    if hasattr(output, "get"):
        output = output.get("logits")
    elif isinstance(output, tuple | list):
        output = output[0] if output else None
    return output if getattr(output, "ndim", 0) > 1 else None
