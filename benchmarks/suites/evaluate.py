"""Exhaustive evaluation of a PermuteNet: every image in every cell, through 32 permutations."""

import functools

import jax

from benchmarks import ours, random_data
from benchmarks.machine import has_torch
from benchmarks.timing import Case, Contender
from gpool_jax.config import EvalConfig, ModelConfig, PositionConfig, TrainConfig
from gpool_jax.experiments.position import exhaustive
from gpool_jax.experiments.position import training as position

_CPU = ((0.25, 32, 48), (0.125, 16, 48))
_GPU = ((1.0, 32, 480), (0.25, 32, 480))
_N, _PERMUTATIONS = 3, 32


def cases(quick: bool) -> list[Case]:
    """Widths of ResNet-18, sides of the image and numbers of images."""
    if quick:
        return [_case(0.125, 16, 8, 4)]
    sizes = _CPU if jax.default_backend() == "cpu" else _GPU
    return [_case(*size, _PERMUTATIONS) for size in sizes]


def _case(width: float, side: int, count: int, permutations: int) -> Case:
    config = PositionConfig(
        n=_N,
        model=ModelConfig(name="resnet18", head="permutenet", width=width),
        train=TrainConfig(batch_size=8),
        # The reference's batch: 48 canvases.
        eval=EvalConfig(permutations=permutations, batch_size=48 * _N * _N),
    )

    @functools.cache
    def dataset():
        return random_data.images(max(count, 100), side)

    def setup():
        data = dataset()
        test = data.test.take(range(count))
        return position.prepare(config, dataset=type(data)(**{**vars(data), "test": test}))

    def build_ours():
        own = setup()
        evaluate, variables = exhaustive.make_evaluate(own), own.init_state().variables
        return lambda: evaluate(variables)

    def torch_side(kind: str):
        from benchmarks import torch_measure, torch_train

        network = torch_train.make_resnet(width, _N * _N, head="permutenet")
        images = dataset().test.images[:count]
        build = getattr(torch_measure, f"{kind}_evaluation")
        return build(network, images, dataset(), n=_N, permutations=permutations)

    contenders = [Contender("ours", build_ours)]
    if has_torch():
        contenders.append(Contender("torch-tuned", lambda: torch_side("tuned")))
        contenders.append(Contender("torch-reference", lambda: torch_side("reference")))
    canvases = count * _N * _N
    return Case(
        suite="evaluate",
        name=(
            f"permutenet resnet18 x {width:g}, {_N * side}x{_N * side}, {count} images x "
            f"{_N * _N} cells x {permutations} permutations"
        ),
        contenders=tuple(contenders),
        images=canvases,
        flops=lambda: ours.forward_flops(setup(), canvases),
    )
