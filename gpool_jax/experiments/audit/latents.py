"""Run a network once for every stimulus, and keep its pooled vectors."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax import ops
from gpool_jax.config import AuditConfig
from gpool_jax.data.images.collection import Images
from gpool_jax.networks import Network, mean_pool

Classify = Callable[[jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Latents:
    """The pooled vectors of one network, of N images.

    Attributes:
      cells: stage to float32 [N, M, C], the image in each of M cells of the canvas.
      plain: float32 [N, C], of the whole image at the input's size.
      mirrored: float32 [N, C], of the image mirrored left to right.
      shifted: protocol to float32 [N, D, V, C], V shifts of each of D distances.
      centred: float32 [N, C], of the unshifted view: that of every protocol.
    """

    cells: dict[str, np.ndarray]
    plain: np.ndarray
    mirrored: np.ndarray
    shifted: dict[str, np.ndarray]
    centred: np.ndarray


def distances(config: AuditConfig) -> list[int]:
    """Distances of shifts in pixels: 1, 2, 4, ... up to the largest."""
    found = [1]
    while found[-1] * 2 <= (config.max_shift or 0):
        found.append(found[-1] * 2)
    return found


def stimuli(config: AuditConfig, network: Network, images: Images, rows: np.ndarray) -> jax.Array:
    """Canvases of some images in every cell: float32 [B, M, H, W, C], normalised."""
    size, canvas = ops.canvas_sizes(
        network.preprocess.size, config.n, grown=config.canvas == "grown"
    )
    others = None
    if config.background == "image":
        others = read(network, images, images.others(rows), canvas)
    return ops.canvases(
        jax.random.key(config.seed),
        read(network, images, rows, size),
        jnp.asarray(rows),
        n=config.n,
        size=canvas,
        background=config.background,
        others=others,
    )


def collect(
    config: AuditConfig,
    network: Network,
    images: Images,
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> Latents:
    """Run the network on all stimuli; `advance` is told how many inputs are done."""
    stages: tuple[str, ...] | None = (network.feature,) if config.stages == "pooled" else None
    cells: dict[str, list[np.ndarray]] = {}
    parts: dict[str, list[np.ndarray]] = {}
    per_batch = max(1, config.batch_size // config.n**2)
    for rows in _batches(len(images), per_batch):
        canvases = stimuli(config, network, images, rows)
        flat = canvases.reshape(-1, *canvases.shape[2:])
        for stage, value in _pooled(network, flat, stages).items():
            cells.setdefault(stage, []).append(value.reshape(len(rows), config.n**2, -1))
        advance(len(flat))
    for rows in _batches(len(images), max(1, config.batch_size)):
        plain = read(network, images, rows, network.preprocess.size)
        for name, inputs in (("plain", plain), ("mirrored", plain[:, :, ::-1])):
            parts.setdefault(name, []).append(_latent(network, inputs))
            advance(len(rows))
    shifted, centred = _shifted(config, network, images, advance)
    return Latents(
        cells={stage: np.concatenate(values) for stage, values in cells.items()},
        plain=np.concatenate(parts["plain"]),
        mirrored=np.concatenate(parts["mirrored"]),
        shifted=shifted,
        centred=centred,
    )


def num_inputs(config: AuditConfig, num_images: int) -> int:
    """Inputs that a network is run on."""
    views = len(config.protocols) * len(distances(config)) * config.shifts_per_distance
    return num_images * (config.n**2 + 3 + views)


def _shifted(
    config: AuditConfig, network: Network, images: Images, advance: Callable[[int], None]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Latents [N, D, V, C] of shifted inputs by protocol, and [N, C] of the unshifted ones."""
    offsets = jnp.asarray(_offsets(config))
    margin = max(distances(config))
    height, width = (side + 2 * margin for side in network.preprocess.size)
    moved: dict[str, list[np.ndarray]] = {protocol: [] for protocol in config.protocols}
    still = []
    for rows in _batches(len(images), max(1, config.batch_size // len(offsets))):
        inputs = read(network, images, rows, (height, width))
        still.append(_latent(network, inputs[:, margin:-margin, margin:-margin]))
        advance(len(rows))
        for protocol, parts in moved.items():
            views = ops.shifted_views(inputs, offsets, protocol=protocol, margin=margin)
            parts.append(_latent(network, views.reshape(-1, *views.shape[2:])))
            advance(len(rows) * len(offsets))
    shape = len(images), len(distances(config)), config.shifts_per_distance, -1
    shifted = {protocol: np.concatenate(parts).reshape(shape) for protocol, parts in moved.items()}
    return shifted, np.concatenate(still)


def _offsets(config: AuditConfig) -> np.ndarray:
    """Offsets int32 [D * V, 2]: random directions, the larger coordinate being the distance."""
    rng = np.random.default_rng(config.seed)
    offsets = []
    for distance in distances(config):
        for _ in range(config.shifts_per_distance):
            other = int(rng.integers(-distance, distance + 1))
            pair = [distance * int(rng.choice((-1, 1))), other]
            offsets.append(pair if rng.random() < 0.5 else pair[::-1])
    return np.array(offsets, np.int32)


def read(network: Network, images: Images, rows: np.ndarray, size: tuple[int, int]) -> jax.Array:
    """Some images as the network takes them, of (height, width): float32 [B, H, W, C]."""
    expects = network.preprocess
    pixels = images.batch(
        rows, size, channels=expects.channels, interpolation=expects.interpolation
    )
    return ops.normalise(jnp.asarray(pixels), expects.mean, expects.std)


def _latent(network: Network, inputs: Any) -> np.ndarray:
    return _pooled(network, inputs, (network.feature,))[network.feature]


def _pooled(network: Network, inputs: Any, stages: tuple[str, ...] | None) -> dict[str, np.ndarray]:
    """Pooled vectors float32 [B, C] of each stage; None: of every stage."""
    maps = network.encode(jnp.asarray(inputs))
    wanted = maps if stages is None else {stage: maps[stage] for stage in stages}
    pooled = {
        stage: (network.pool if stage == network.feature else mean_pool)(value)
        for stage, value in wanted.items()
    }
    return {stage: np.asarray(value, np.float32) for stage, value in pooled.items()}


def _batches(count: int, size: int) -> Iterator[np.ndarray]:
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))


def answers_of(classify: Classify, latent: np.ndarray) -> np.ndarray:
    """Predicted class of latents [..., C]: int [...]."""
    rows = jnp.asarray(latent.reshape(-1, latent.shape[-1]))
    return np.asarray(classify(rows).argmax(-1)).reshape(latent.shape[:-1])
