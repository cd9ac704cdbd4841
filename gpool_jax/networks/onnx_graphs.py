"""`from_onnx`: networks of ONNX files, which onnxruntime runs up to the pooled map."""

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax.errors import InputError, first_line, nearest
from gpool_jax.networks import heads
from gpool_jax.networks import network as networks
from gpool_jax.networks.network import Network, Preprocess, mean_pool

_AVERAGES = ("GlobalAveragePool", "ReduceMean", "AveragePool")


def from_onnx(
    path: str | Path,
    *,
    node: str | None = None,
    pool: Callable[[jax.Array], jax.Array] = mean_pool,
    preprocess: Preprocess | None = None,
    name: str | None = None,
) -> Network:
    """Make a network of an ONNX file. It has no untrained twin: the file tells no initialisation.

    Args:
      path: the file; its first input is an image, [B, C, H, W] or [B, H, W, C].
      node: the name of the node that pools, or of the value that is pooled; None: the average
        over all space after which no map is computed any more.
      pool: from the map to latents [B, C'].
      preprocess: the inputs that it expects; None: of the file's size, or 224 x 224 pixels, and
        ImageNet's constants.
      name: the network's name; None: the file's.

    Raises:
      InputError: if the file cannot be read or run, or there is no such node, no global pooling
        or several.
    """
    path = Path(path)
    model = _read(path)
    entry = _entry(model)
    notes: tuple[str, ...] = ()
    if preprocess is None:
        preprocess = Preprocess(size=entry.size or (224, 224))
        notes = (networks.say_assumed(preprocess.size),)
    graph = _Graph(model, entry, preprocess)
    stages, average = graph.choose(node)
    feature = list(stages)[-1]
    run = _runner(_cut(model, [entry.name], list(stages)), entry)

    def encode(inputs: jax.Array) -> dict[str, jax.Array]:
        if isinstance(inputs, jax.core.Tracer):
            raise InputError("`network`: onnxruntime runs it; it cannot be part of JAX functions.")
        given = np.asarray(inputs).transpose(entry.order)
        found = run(given)
        return {
            stage: jnp.asarray(value.transpose(stages[stage]), jnp.float32)
            for stage, value in zip(stages, found, strict=True)
        }

    classify, differentiable = None, True
    if average is not None and pool is mean_pool:
        channels = graph.values[feature].shape[stages[feature][-1]]
        classify, differentiable = _head(model, graph, average, channels)
    network = Network(
        name=name or path.stem,
        encode=networks.checked(encode, preprocess, feature),
        feature=feature,
        preprocess=preprocess,
        pool=pool,
        classify=classify,
        differentiable=differentiable,
        traceable=False,
        notes=notes,
    )
    maps = network.encode(np.zeros(preprocess.shape(2), np.float32))
    networks.check_maps(maps, feature, 2)
    return networks.check_answers(network, jax.ShapeDtypeStruct(maps[feature].shape, jnp.float32))


@dataclasses.dataclass(frozen=True)
class _Entry:
    """A model's input: its name, the order of axes from [B, H, W, C], and what is fixed of it."""

    name: str
    order: tuple[int, ...]
    size: tuple[int, int] | None
    batch: int | None


def _read(path: Path) -> Any:
    try:
        import onnx
        import onnxruntime  # noqa: F401
    except ImportError:
        raise InputError(
            "`network`: ONNX files need onnx and onnxruntime, the extra [onnx] of this package."
        ) from None
    if not path.is_file():
        raise InputError(f"`network`: there is no file {path}.")
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's errors are of several kinds
        raise InputError(
            f"`network`: {path.name} is no readable ONNX file: {first_line(error)}"
        ) from None
    return model


def _entry(model: Any) -> _Entry:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise InputError(f"`network` must have one input, an image; the file has {names}.")
    sides = [d.dim_value or None for d in inputs[0].type.tensor_type.shape.dim]
    if len(sides) != 4:
        raise InputError(f"`network` must take images [B, C, H, W]; its input has sides {sides}.")
    last = sides[3] in (1, 3) and sides[1] not in (1, 3)
    height, width = sides[1:3] if last else sides[2:]
    size = (height, width) if height and width else None
    return _Entry(inputs[0].name, (0, 1, 2, 3) if last else (0, 3, 1, 2), size, sides[0])


class _Graph:
    """A model's values on two random inputs, and what computes what."""

    def __init__(self, model: Any, entry: _Entry, preprocess: Preprocess):
        self.batch = entry.batch
        self.nodes = list(model.graph.node)
        self.output = model.graph.output[0].name
        shape = preprocess.shape(2)
        self.inputs = shape[:3]
        names = [name for node in self.nodes for name in node.output if name]
        given = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        found = _runner(_cut(model, [entry.name], names), entry)(given.transpose(entry.order))
        self.values = dict(zip(names, found, strict=True))
        self.values[entry.name] = given.transpose(entry.order)

    def choose(self, name: str | None) -> tuple[dict[str, tuple[int, ...]], Any]:
        """Stages with their order of axes, the pooled one last, and the node that averages it."""
        averages = [(node, axes) for node in self.nodes if (axes := self._averaged(node))]
        if name is None:
            last = [pair for pair in averages if not self._leads_to_map(pair[0])]
            if len(last) != 1:
                found = ", ".join(node.name or node.output[0] for node, _ in last)
                many = f"pools {len(last)} times, in {found}" if last else "averages no map"
                raise InputError(f"`network` {many} over space; name a node by node=.")
            average, axes = last[0]
            return self._stages(average.input[0], axes), average
        for node in self.nodes:
            if name in (node.name, *node.output):
                break
        else:
            known = [node.name for node in self.nodes if node.name]
            raise InputError(f"`node`: the file has no {name!r}.{nearest(name, known)}")
        pools = [axes for other, axes in averages if other is node]
        pooled = node.input[0] if pools and name == node.name else node.output[0]
        value = self.values[pooled]
        axes = (1,) if value.ndim == 3 else heads.map_axes(value.shape, self.inputs)
        if not axes:
            raise InputError(f"`node`: {name!r} gives no map, but {list(value.shape)}.")
        of_it = [other for other, _ in averages if other.input[0] == pooled]
        return self._stages(pooled, axes), of_it[0] if of_it else None

    def _averaged(self, node: Any) -> tuple[int, ...] | None:
        """The axes that a node averages over, if it is a global pooling."""
        if node.op_type not in _AVERAGES:
            return None
        given, result = (self.values.get(names[0]) for names in (node.input, node.output))
        if given is None or result is None:
            return None
        for axes in heads.pooled_axes(given.shape, result.size):
            if np.allclose(given.mean(axes).ravel(), result.ravel(), rtol=1e-3, atol=1e-5):
                return axes
        return None

    def _leads_to_map(self, average: Any) -> bool:
        """Whether a map is computed of what a node gives, as in squeeze-and-excitation."""
        reached = set(average.output)
        ndim = self.values[average.input[0]].ndim
        for node in self.nodes:
            if reached.isdisjoint(node.input):
                continue
            reached.update(node.output)
            for value in (self.values[name] for name in node.output if name):
                if ndim == 4 and heads.map_axes(value.shape, self.inputs):
                    return True
                if ndim == 3 and value.shape == self.values[average.input[0]].shape:
                    return True
        return False

    def _stages(self, pooled: str, axes: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """The last map of each size before the pooled one, and then that."""
        found: dict[int, tuple[str, tuple[int, ...]]] = {}
        for node in self.nodes:
            for name in node.output:
                if name == pooled:
                    order = heads.to_nhwc(axes, self.values[pooled].ndim)
                    halved = self._halvings(pooled, axes)
                    before = {n: o for h, (n, o) in found.items() if h != halved}
                    return before | {pooled: order}
                own = heads.map_axes(np.shape(self.values.get(name, 0)), self.inputs)
                if own and (halved := self._halvings(name, own)) >= max(found, default=0):
                    found[halved] = name, heads.to_nhwc(own, 4)
        return {pooled: heads.to_nhwc(axes, self.values[pooled].ndim)}

    def _halvings(self, name: str, axes: tuple[int, ...]) -> int:
        area = int(np.prod([self.values[name].shape[axis] for axis in axes]))
        return heads.halvings(area, self.inputs)


def _head(
    model: Any, graph: _Graph, average: Any, channels: int
) -> tuple[Callable[[jax.Array], jax.Array] | None, bool]:
    """What follows the pooled vector, if it leads to the output, and whether it has gradients."""
    pooled = average.output[0]
    if pooled == graph.output:
        return None, True
    value = graph.values[pooled]
    entry = _Entry(pooled, (), None, graph.batch)
    run = _runner(_cut(model, [pooled], [graph.output]), entry)

    def answer(latent: np.ndarray) -> np.ndarray:
        return run(latent.reshape(len(latent), *value.shape[1:]))[0].reshape(len(latent), -1)

    try:
        same = np.allclose(
            answer(value.reshape(len(value), -1)),
            graph.values[graph.output].reshape(len(value), -1),
            rtol=1e-3,
            atol=1e-5,
        )
    except Exception:  # the output needs more than the pooled vector
        return None, True
    return heads.to_jax(answer, channels) if same else (None, True)


def _cut(model: Any, inputs: list[str], outputs: list[str]) -> Any:
    """The part of a model that leads from some values to others."""
    from onnx import TensorProto, helper

    part = copy.deepcopy(model)
    needed, nodes = set(outputs) - set(inputs), []
    for node in reversed(model.graph.node):
        if needed.isdisjoint(node.output) or set(node.output) <= set(inputs):
            continue
        nodes.append(node)
        needed.update(set(node.input) - set(inputs))
    graph = part.graph
    known = {value.name: value for value in graph.input}
    given = [
        known.get(name) or helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name in inputs
    ]
    for field, values in {
        "node": reversed(nodes),
        "input": given,
        "output": [helper.make_empty_tensor_value_info(name) for name in outputs],
        "initializer": [t for t in graph.initializer if t.name in needed],
    }.items():
        values = list(values)
        graph.ClearField(field)
        getattr(graph, field).extend(values)
    return part


def _runner(model: Any, entry: _Entry) -> Callable[[np.ndarray], list[np.ndarray]]:
    """A function from the input to the model's outputs, in batches of the size that it takes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=onnxruntime.get_available_providers()
        )
    except Exception as error:  # onnxruntime has many kinds
        raise InputError(f"`network` cannot be run: {first_line(error)}") from error

    def run(inputs: np.ndarray) -> list[np.ndarray]:
        size = entry.batch or len(inputs)
        parts = []
        for start in range(0, len(inputs), size):
            batch = inputs[start : start + size]
            count = len(batch)
            if count < size:
                batch = np.concatenate([batch, np.repeat(batch[-1:], size - count, 0)])
            try:
                found = session.run(None, {entry.name: np.ascontiguousarray(batch, np.float32)})
            except Exception as error:  # onnxruntime has many kinds
                raise InputError(
                    f"`network` fails on inputs {list(batch.shape)}: {first_line(error)}"
                ) from error
            parts.append([value[:count] if np.ndim(value) else value for value in found])
        return [np.concatenate(v) if np.ndim(v[0]) else v[0] for v in zip(*parts, strict=True)]

    return run
