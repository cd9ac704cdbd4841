"""What the channel suites share: a DeepLab with the same weights on both sides."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from benchmarks import random_data
from gpool_jax import models, ops
from gpool_jax.config import (
    AttackConfig,
    RankConfig,
    SegmentationConfig,
    SegmenterConfig,
    TrainConfig,
)
from gpool_jax.experiments.channels.images import Images
from gpool_jax.experiments.channels.pixels import PixelSubject
from gpool_jax.experiments.channels.subject import measured_boxes
from gpool_jax.experiments.segmentation import training as segmentation

NUM_CLASSES = 11


class Network:
    """A DeepLabv3 of one size on a few random images.

    Attributes:
      subject: ours.
      variables: of ours; PyTorch's own initial weights, if it is there.
    """

    def __init__(
        self, depth: int, width: float, size: tuple[int, int], stride: int, rates: Any, count: int
    ):
        """Build it."""
        self.arguments = (depth, width, stride, rates)
        devices = jax.local_device_count()
        dataset = random_data.scenes(max(count, devices), size, num_classes=NUM_CLASSES)
        test = dataset.test.take(np.arange(count))
        self.dataset = dataclasses.replace(dataset, test=test)
        config = SegmentationConfig(
            model=SegmenterConfig(
                name=f"deeplabv3_resnet{depth}", width=width, output_stride=stride, rates=rates
            ),
            train=TrainConfig(batch_size=devices),
            rank=RankConfig(regions=("overall", "left", "right", "centre")),
            attack=AttackConfig(),
        )
        self.setup = segmentation.prepare(config, dataset=self.dataset)
        self.subject = PixelSubject(self.setup)

    @functools.cached_property
    def variables(self) -> Any:
        """The weights."""
        from benchmarks.machine import has_torch

        if not has_torch():
            return self.setup.init_state().variables
        arrays = self.torch_network().named_arrays("base code")
        arrays = {name: value.detach().numpy() for name, value in arrays.items()}
        return models.from_torch(arrays, self.setup.model, self.setup.input_shape)

    def torch_network(self) -> Any:
        """The same network in PyTorch, fresh each time, from the same seed.

        Its statistics are those of the images, and its last layer is drawn large and
        without a bias: else one class would answer everywhere, whatever is removed.
        """
        import torch

        from benchmarks import torch_measure, torch_train

        depth, width, stride, rates = self.arguments
        network = torch_train.make_deeplab(
            depth, NUM_CLASSES, width=width, output_stride=stride, rates=rates
        )
        norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        with torch.no_grad():
            for norm in norms:
                norm.momentum = 1.0
            network.train()(torch_measure.attack_batches(self.dataset)[0])
            last = network.classifier.classifier[-1]
            last.weight *= 30.0
            last.bias.zero_()
        return network.eval()

    def images(self, batch_size: int) -> Images:
        """The test images."""
        return Images([self.dataset.test], None, batch_size)

    def masks(self) -> np.ndarray:
        """Masks [R, H, W] of the regions that are measured."""
        size = self.dataset.test.image_shape[:2]
        boxes, found = self.subject.boxes, []
        for name in measured_boxes(boxes):
            inside = ops.region_mask(boxes[name.removeprefix("outside ")], *size)
            found.append(~inside if name.startswith("outside ") else inside)
        return np.stack(found)
