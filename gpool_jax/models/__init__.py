"""Functional Flax networks: `create` one by name, `from_torch` its weights."""

from gpool_jax.models.factory import DTYPES as DTYPES
from gpool_jax.models.factory import MODELS as MODELS
from gpool_jax.models.factory import Classifier as Classifier
from gpool_jax.models.factory import check_input_side as check_input_side
from gpool_jax.models.factory import create as create
from gpool_jax.models.factory import register as register
from gpool_jax.models.heads import HEADS as HEADS
from gpool_jax.models.resnet import STEMS as STEMS
from gpool_jax.models.segmenter import SEGMENTERS as SEGMENTERS
from gpool_jax.models.segmenter import Segmenter as Segmenter
from gpool_jax.models.segmenter import create_segmenter as create_segmenter
from gpool_jax.models.torch_weights import describe as describe
from gpool_jax.models.torch_weights import describe_segmenter as describe_segmenter
from gpool_jax.models.torch_weights import fit as fit
from gpool_jax.models.torch_weights import from_torch as from_torch
from gpool_jax.models.weight_files import Weights as Weights
from gpool_jax.models.weight_files import read_state_dict as read_state_dict
from gpool_jax.models.weight_files import read_weights as read_weights
