"""VGG encoders with batch normalisation."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from gpool_jax import ops
from gpool_jax.models.features import stages_done
from gpool_jax.models.layers import BatchNorm, Conv
from gpool_jax.models.subsampling import subsampler

STAGE_FEATURES = (64, 128, 256, 512, 512)
STAGE_SIZES = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}


class VGG(nn.Module):
    """Plain stacks of 3x3 convolutions (Simonyan and Zisserman, 2015); see `models.create`.

    Attributes:
      stage_sizes: convolutions per stage.
      stage_features: channels per stage.
      final_pool: whether a 2x2 max-pool ends the last stage too, as it does all others.
    """

    stage_sizes: tuple[int, ...]
    stage_features: tuple[int, ...]
    final_pool: bool = True
    padding: str = "zeros"
    antialias: int = 0
    subsampling: str = "strided"
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @property
    def total_stride(self) -> int:
        """Input pixels per pixel of the last map."""
        return 2 ** (len(self.stage_sizes) - 1 + self.final_pool)

    @property
    def channels(self) -> dict[str, int]:
        """Channel count before each stage but the first, whose input is the image, and pooled."""
        points = {f"stage{i + 2}": c for i, c in enumerate(self.stage_features[:-1])}
        return points | {"gap": self.stage_features[-1]}

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        *,
        start: str | None = None,
        train: bool = False,
        permute_at: str | None = None,
        permutation: jax.Array | None = None,
    ) -> dict[str, jax.Array]:
        """[B, H, W, C] -> `stem`, `stage1`.., `pre_gap`, each [B, H', W', C'].

        `start` names the feature that `x` is already: it and those after it are returned.
        `permutation` is applied to the input of the stage named `permute_at`, if that stage runs.
        """
        done = stages_done(start, len(self.stage_sizes))
        conv = functools.partial(Conv, use_bias=True, padding=self.padding, dtype=self.dtype)
        norm = functools.partial(BatchNorm, train=train, axis_name=self.axis_name, dtype=self.dtype)
        features: dict[str, jax.Array] = {} if start is None else {start: x}
        last = len(self.stage_sizes) - 1
        for i, (count, width) in enumerate(zip(self.stage_sizes, self.stage_features, strict=True)):
            if i < done:
                continue
            stage = f"stage{i + 1}"
            if permute_at == stage and permutation is not None:
                x = ops.permute_channels(x, permutation)
            # The stem is the first stage's first convolution.
            for j in range(1 if start == "stem" and i == 0 else 0, count):
                x = conv(width, name=f"{stage}_conv{j}")(x)
                x = nn.relu(norm(name=f"{stage}_bn{j}")(x))
                if i == j == 0:
                    features["stem"] = x
            if i < last or self.final_pool:
                x = self._pool(x)
            features[stage] = x
        features["pre_gap"] = x
        return features

    def _pool(self, x: jax.Array) -> jax.Array:
        """Halve the map: by a 2x2 max-pool, or by one at stride 1 and what then subsamples it."""
        subsample = subsampler(self.antialias, self.padding, self.subsampling)
        if subsample is None:
            return ops.max_pool2d(x, size=2, stride=2)
        # Padded by one pixel at the end, so that the map keeps its size (and, under circular
        # padding, its symmetry) until it is subsampled.
        x = ops.max_pool2d(x, size=2, stride=1, amount=(0, 1), padding=self.padding)
        return subsample(x, stride=2)[0]
