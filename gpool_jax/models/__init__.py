"""Functional Flax networks: `create` one by name, `from_torch` its weights."""

from gpool_jax.models.factory import DTYPES, MODELS, Classifier, check_input_side, create
from gpool_jax.models.heads import HEADS
from gpool_jax.models.resnet import STEMS
from gpool_jax.models.segmenter import SEGMENTERS, Segmenter, create_segmenter
from gpool_jax.models.torch_weights import (
    describe,
    describe_segmenter,
    from_torch,
    read_state_dict,
)

__all__ = [
    "DTYPES",
    "HEADS",
    "MODELS",
    "SEGMENTERS",
    "STEMS",
    "Classifier",
    "Segmenter",
    "check_input_side",
    "create",
    "create_segmenter",
    "describe",
    "describe_segmenter",
    "from_torch",
    "read_state_dict",
]
