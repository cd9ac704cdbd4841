"""Ranking by the flip difference: every image and its mirror image through the encoder."""

import functools
from typing import Any

import jax

from benchmarks import ours
from benchmarks.machine import has_torch
from benchmarks.suites.channels import Network
from benchmarks.timing import Case, Contender
from gpool_jax.experiments.channels import mirrored
from gpool_jax.experiments.channels.images import map_images
from gpool_jax.train import parallel

_CPU = (
    (50, 1.0, (129, 129), 16, (6, 12, 18), 8),
    (18, 0.25, (180, 240), 8, (2, 4, 6), 16),
)
_GPU = ((50, 1.0, (513, 513), 16, (6, 12, 18), 64),)
_BATCH = 8


def cases(quick: bool) -> list[Case]:
    """Networks and sizes of images."""
    if quick:
        return [_case(18, 1 / 16, (64, 64), 16, (1, 2, 3), 4)]
    return [_case(*size) for size in (_CPU if jax.default_backend() == "cpu" else _GPU)]


def _case(
    depth: int, width: float, size: tuple[int, int], stride: int, rates: Any, count: int
) -> Case:
    @functools.cache
    def network() -> Network:
        return Network(depth, width, size, stride, rates, count)

    def build_ours():
        own = network()
        look = parallel.map_batch(mirrored.make_look(own.subject))
        variables, images = parallel.replicate(own.variables), own.images(_BATCH)

        def call():
            # Activations by region come with it: the reference does not measure them.
            seen = map_images(look, variables, {}, images, title="ranking")
            return seen["absolute"].mean(axis=0)

        return call

    def torch_side(kind: str):
        from benchmarks import torch_measure

        own, options = network(), {} if kind == "reference" else {"batch_size": _BATCH}
        build = getattr(torch_measure, f"{kind}_ranking")
        return build(own.torch_network(), own.dataset, **options)

    contenders = [Contender("ours", build_ours)]
    if has_torch():
        contenders.append(Contender("torch-tuned", lambda: torch_side("tuned")))
        contenders.append(Contender("torch-reference", lambda: torch_side("reference")))
    return Case(
        suite="rank",
        name=f"resnet{depth} x {width:g}, {count} images {size[0]}x{size[1]}, stride {stride}, "
        "flip difference",
        contenders=tuple(contenders),
        images=2 * count,
        flops=lambda: ours.encoder_flops(network().setup, 2 * count),
    )
