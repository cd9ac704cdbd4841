"""The attack sweep: 8 numbers of channels x (3 regions x 4 rankings + 20 random draws)."""

import functools
from typing import Any

import jax
import numpy as np

from benchmarks import ours
from benchmarks.machine import has_torch
from benchmarks.suites.channels import NUM_CLASSES, Network
from benchmarks.timing import Case, Contender
from gpool_jax.config import AttackConfig
from gpool_jax.experiments.channels import sweep
from gpool_jax.experiments.channels.files import Ranking
from gpool_jax.experiments.channels.plan import Plan, make_plan
from gpool_jax.train import parallel

_COUNTS = (10, 20, 50, 100, 200, 400, 800, 1024)
# (depth, width, size, output stride, rates, images)
_CPU = (
    (50, 1.0, (129, 129), 16, (6, 12, 18), 2),
    (18, 0.25, (180, 240), 8, (2, 4, 6), 4),
)
_GPU = ((50, 1.0, (513, 513), 16, (6, 12, 18), 8),)


def cases(quick: bool) -> list[Case]:
    """Networks and sizes of images."""
    if quick:
        return [_case(18, 1 / 16, (64, 64), 16, (1, 2, 3), 2)]
    return [_case(*size) for size in (_CPU if jax.default_backend() == "cpu" else _GPU)]


def lay_out(channels: int) -> Plan:
    """The sets of the sweep, of as many channels as there are."""
    counts = tuple(sorted({max(1, count * channels // 2048) for count in _COUNTS}))
    config = AttackConfig(
        counts=counts, random_draws=20, matched_draws=0, fills=("zero",), keep_only=False
    )
    rng = np.random.default_rng(0)
    rankings = [
        Ranking(f"method{i}", region, rng.permutation(channels))
        for region in ("left", "right", "centre")
        for i in range(4)
    ]
    return make_plan(config, rankings, (np.ones(channels), np.ones(channels)), seed=0)


def build_ours(network: Network, plan: Plan) -> Any:
    """One call: counts [B, M, R, 3, K] of every set, from the images on."""
    encoder, _ = sweep.make_programs(network.subject)
    channels = plan.keep.shape[1]
    runner = sweep.make_runner(network.subject, plan, np.zeros(channels), 32)
    variables = parallel.replicate(network.variables)
    batches = list(network.images(8).batches("images"))

    def call() -> np.ndarray:
        found = []
        for inputs, mask in batches:
            own = parallel.shard(inputs)
            counts = runner.counts(variables, encoder(variables, {}, own))
            found.append(counts["classes"][mask])
        return np.concatenate(found)

    return call


def _case(
    depth: int, width: float, size: tuple[int, int], stride: int, rates: Any, count: int
) -> Case:
    @functools.cache
    def network() -> Network:
        return Network(depth, width, size, stride, rates, count)

    @functools.cache
    def plan() -> Plan:
        head = network().setup.model.backbone
        return lay_out(head.channels["gap"])

    def torch_side(kind: str) -> Any:
        from benchmarks import torch_measure

        build = getattr(torch_measure, f"{kind}_attack")
        own = network()
        return build(own.torch_network(), own.dataset, plan().keep, own.masks(), NUM_CLASSES)

    contenders = [Contender("ours", lambda: build_ours(network(), plan()))]
    if has_torch():
        contenders.append(Contender("torch-tuned", lambda: torch_side("tuned")))
        contenders.append(Contender("torch-reference", lambda: torch_side("reference")))
    return Case(
        suite="attack",
        name=f"deeplabv3_resnet{depth} x {width:g}, {count} images {size[0]}x{size[1]}, "
        f"stride {stride}, 256 sets",
        contenders=tuple(contenders),
        images=count,
        flops=lambda: len(plan().keep) * ours.forward_flops(network().setup, count),
    )
