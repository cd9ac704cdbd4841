"""Pure functions on arrays: the ground floor, which imports nothing of the rest."""

from gpool_jax.ops.canvas import draw_cells, normalise, place, place_everywhere, random_flip
from gpool_jax.ops.consistency import (
    accuracy_under_shift,
    agreement_by_distance,
    grid_agreement,
    pair_agreement,
    view_changes,
)
from gpool_jax.ops.conv import PADDING_MODES, conv2d, pad2d
from gpool_jax.ops.keys import example_keys
from gpool_jax.ops.losses import INVARIANCE_NORMS, LATENT_SCALES, cross_entropy, invariance_loss
from gpool_jax.ops.metrics import (
    bootstrap_interval,
    bootstrap_ratio,
    masked_sum,
    position_selectivity,
)
from gpool_jax.ops.permute import draw_permutation, draw_permutations, permute_channels
from gpool_jax.ops.pool import BLUR_TAPS, blur_pool2d, global_average_pool, max_pool2d
from gpool_jax.ops.shift import (
    SHIFT_MODES,
    crop,
    draw_offsets,
    draw_shifts,
    fourier_shift,
    shift,
    shift_grid,
)

__all__ = [
    "BLUR_TAPS",
    "INVARIANCE_NORMS",
    "LATENT_SCALES",
    "PADDING_MODES",
    "SHIFT_MODES",
    "accuracy_under_shift",
    "agreement_by_distance",
    "blur_pool2d",
    "bootstrap_interval",
    "bootstrap_ratio",
    "conv2d",
    "crop",
    "cross_entropy",
    "draw_cells",
    "draw_offsets",
    "draw_permutation",
    "draw_permutations",
    "draw_shifts",
    "example_keys",
    "fourier_shift",
    "global_average_pool",
    "grid_agreement",
    "invariance_loss",
    "masked_sum",
    "max_pool2d",
    "normalise",
    "pad2d",
    "pair_agreement",
    "permute_channels",
    "place",
    "place_everywhere",
    "position_selectivity",
    "random_flip",
    "shift",
    "shift_grid",
    "view_changes",
]
