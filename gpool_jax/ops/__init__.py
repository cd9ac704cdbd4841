"""Pure functions on arrays: the ground floor, which imports nothing else of the package."""

from gpool_jax.ops.ablation import ablate, matched_channels, random_orders, removal_masks
from gpool_jax.ops.augment import colour_jitter, random_scale_crop
from gpool_jax.ops.bootstrap import (
    bootstrap_interval,
    bootstrap_ratio,
    draw_resamples,
    resampled_means,
)
from gpool_jax.ops.canvas import draw_cells, normalise, place, place_everywhere, random_flip
from gpool_jax.ops.consistency import (
    accuracy_under_shift,
    agreement_by_distance,
    grid_agreement,
    pair_agreement,
    view_changes,
)
from gpool_jax.ops.conv import PADDING_MODES, conv2d, pad2d
from gpool_jax.ops.iou import (
    class_counts,
    class_iou,
    confusion_matrix,
    mean_iou,
    pixel_accuracy,
)
from gpool_jax.ops.keys import example_keys
from gpool_jax.ops.losses import (
    INVARIANCE_NORMS,
    LATENT_SCALES,
    cross_entropy,
    invariance_loss,
    pixel_cross_entropy,
)
from gpool_jax.ops.maps import moments, pad_channels, relu, subsample
from gpool_jax.ops.metrics import masked_sum, position_selectivity
from gpool_jax.ops.permute import draw_permutation, draw_permutations, permute_channels
from gpool_jax.ops.pool import BLUR_TAPS, blur_pool2d, global_average_pool, max_pool2d
from gpool_jax.ops.rank import (
    absolute_flip_difference,
    absolute_translation_difference,
    flip_difference,
    gate_gradient,
    gradient_times_activation,
    midpoints,
    overlap_at,
    rank_channels,
    rank_correlation,
    region_means,
    translation_difference,
)
from gpool_jax.ops.regions import (
    REGIONS,
    mirror_axis,
    region_box,
    region_cells,
    region_mask,
    region_weights,
)
from gpool_jax.ops.shared_background import (
    Maps,
    SharedBackground,
    compose,
    place_shared,
    sharing_pays,
)
from gpool_jax.ops.shifts import (
    SHIFT_MODES,
    crop,
    draw_offsets,
    draw_shifts,
    fourier_shift,
    shift,
)

__all__ = [
    "BLUR_TAPS",
    "INVARIANCE_NORMS",
    "LATENT_SCALES",
    "PADDING_MODES",
    "REGIONS",
    "SHIFT_MODES",
    "Maps",
    "SharedBackground",
    "ablate",
    "absolute_flip_difference",
    "absolute_translation_difference",
    "accuracy_under_shift",
    "agreement_by_distance",
    "blur_pool2d",
    "bootstrap_interval",
    "bootstrap_ratio",
    "class_counts",
    "class_iou",
    "colour_jitter",
    "compose",
    "confusion_matrix",
    "conv2d",
    "crop",
    "cross_entropy",
    "draw_cells",
    "draw_offsets",
    "draw_permutation",
    "draw_permutations",
    "draw_resamples",
    "draw_shifts",
    "example_keys",
    "flip_difference",
    "fourier_shift",
    "gate_gradient",
    "global_average_pool",
    "gradient_times_activation",
    "grid_agreement",
    "invariance_loss",
    "masked_sum",
    "matched_channels",
    "max_pool2d",
    "mean_iou",
    "midpoints",
    "mirror_axis",
    "moments",
    "normalise",
    "overlap_at",
    "pad2d",
    "pad_channels",
    "pair_agreement",
    "permute_channels",
    "pixel_accuracy",
    "pixel_cross_entropy",
    "place",
    "place_everywhere",
    "place_shared",
    "position_selectivity",
    "random_flip",
    "random_orders",
    "random_scale_crop",
    "rank_channels",
    "rank_correlation",
    "region_box",
    "region_cells",
    "region_mask",
    "region_means",
    "region_weights",
    "relu",
    "removal_masks",
    "resampled_means",
    "sharing_pays",
    "shift",
    "subsample",
    "translation_difference",
    "view_changes",
]
