"""Any network, of any framework, as something that is measured: a `Network`."""

from gpool_jax.networks.functions import from_function as from_function
from gpool_jax.networks.libraries import from_timm as from_timm
from gpool_jax.networks.libraries import from_torchvision as from_torchvision
from gpool_jax.networks.modules import from_flax as from_flax
from gpool_jax.networks.modules import from_nnx as from_nnx
from gpool_jax.networks.network import Network as Network
from gpool_jax.networks.network import Preprocess as Preprocess
from gpool_jax.networks.network import mean_pool as mean_pool
from gpool_jax.networks.onnx_graphs import from_onnx as from_onnx
from gpool_jax.networks.opening import open as open
from gpool_jax.networks.ours import from_model as from_model
from gpool_jax.networks.ours import from_weights as from_weights
from gpool_jax.networks.torch_modules import from_torch as from_torch
