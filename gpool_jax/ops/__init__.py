"""Pure functions on arrays: the ground floor, which imports nothing of the rest."""

from gpool_jax.ops.canvas import draw_cells, normalise, place, place_everywhere, random_flip
from gpool_jax.ops.conv import PADDING_MODES, conv2d, pad2d
from gpool_jax.ops.keys import example_keys
from gpool_jax.ops.losses import cross_entropy
from gpool_jax.ops.metrics import bootstrap_interval, masked_sum, position_selectivity
from gpool_jax.ops.permute import draw_permutation, draw_permutations, permute_channels
from gpool_jax.ops.pool import global_average_pool, max_pool2d

__all__ = [
    "PADDING_MODES",
    "bootstrap_interval",
    "conv2d",
    "cross_entropy",
    "draw_cells",
    "draw_permutation",
    "draw_permutations",
    "example_keys",
    "global_average_pool",
    "masked_sum",
    "max_pool2d",
    "normalise",
    "pad2d",
    "permute_channels",
    "place",
    "place_everywhere",
    "position_selectivity",
    "random_flip",
]
