"""PyTorch's training steps: as the reference trains, and as fast as PyTorch can.

Both draw rows, mirror, place, normalise and step by themselves, on the same random
images; a test checks that they learn the same from the same batch as a plain loop.
"""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.torch_deeplab import DeepLab
from benchmarks.torch_networks import ResNet

# As XLA does; numbers that small carry nothing, and would slow PyTorch down.
torch.set_flush_denormal(True)

Network = torch.nn.Module
WIDTHS = (64, 128, 256, 512)


def device() -> torch.device:
    """The GPU, if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def synchronise() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def make_resnet(width: float, num_outputs: int, *, head: str, depth: int = 18) -> ResNet:
    """The reference's encoder, with GAPNet's or PermuteNet's head."""
    torch.manual_seed(0)
    sizes = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}[depth]
    widths = [max(1, round(w * width)) for w in WIDTHS]
    name = "pre_classifier" if head == "gapnet" else "linear_location"
    return ResNet(sizes, widths, "zeros", "reference", name, num_outputs, bottleneck=depth == 50)


def make_deeplab(
    depth: int, num_classes: int, *, width: float, output_stride: int, rates: tuple[int, ...]
) -> DeepLab:
    """DeepLabv3."""
    torch.manual_seed(0)
    base = max(1, round(64 * width))
    return DeepLab(
        str(depth), False, num_classes,
        width=base, output_stride=output_stride, rates=rates, mode="zeros",
    )  # fmt: skip


def adam(network: Network, **options: Any) -> torch.optim.Optimizer:
    """The reference's optimiser."""
    return torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.5, 0.999), **options)


def reference_position_step(
    network: Network, dataset: Any, *, n: int, batch_size: int
) -> Callable[[], float]:
    """The reference's step: eager, float32, canvases built image by image on the host."""
    network = network.to(device()).train()
    optimizer, draw = adam(network), random.Random(0)
    mean, std = (torch.tensor(v)[:, None, None] for v in (dataset.mean, dataset.std))
    images, side = dataset.train.images, dataset.train.image_shape[0]

    def canvas(row: int) -> tuple[torch.Tensor, int]:
        image = torch.from_numpy(images[row]).permute(2, 0, 1).float() / 255.0
        image = (image - mean) / std
        if draw.random() < 0.5:
            image = image.flip(2)
        cell = draw.randrange(n * n)
        top, left = cell // n * side, cell % n * side
        placed = torch.zeros(3, n * side, n * side)
        placed[:, top : top + side, left : left + side] = image
        return placed, cell

    def call() -> float:
        rows = [draw.randrange(len(images)) for _ in range(batch_size)]
        canvases, cells = zip(*(canvas(row) for row in rows), strict=True)
        x, labels = torch.stack(canvases).to(device()), torch.tensor(cells).to(device())
        optimizer.zero_grad()
        loss = F.cross_entropy(network(x), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return call


def tuned_position_step(
    network: Network, dataset: Any, *, n: int, batch_size: int, steps: int, dtype: str
) -> Callable[[], float]:
    """Steps as fast as PyTorch can: data on the device, channels last, fused Adam.

    On a GPU the network is compiled and replayed as CUDA graphs.
    """
    place = device()
    network = network.to(place, memory_format=torch.channels_last).train()
    on_gpu = place.type == "cuda"
    optimizer = adam(network, fused=True)
    images = torch.from_numpy(dataset.train.images).to(place)
    side = images.shape[1]
    scale = 1.0 / (255.0 * torch.tensor(dataset.std, device=place))
    offset = torch.tensor(dataset.mean, device=place) / torch.tensor(dataset.std, device=place)

    def draw() -> tuple[torch.Tensor, torch.Tensor]:
        rows = torch.randint(0, len(images), (batch_size,), device=place)
        cells = torch.randint(0, n * n, (batch_size,), device=place)
        x = images[rows] * scale - offset
        mirrored = torch.rand(batch_size, device=place) < 0.5
        x = torch.where(mirrored[:, None, None, None], x.flip(2), x)
        one_hot = F.one_hot(cells, n * n).float().reshape(batch_size, n, 1, n, 1, 1)
        canvases = (one_hot * x[:, None, :, None]).reshape(batch_size, n * side, n * side, 3)
        # A view: the canvases already lie channels last.
        return canvases.permute(0, 3, 1, 2), cells

    return _stepper(network, optimizer, draw, F.cross_entropy, steps, dtype, on_gpu)


def tuned_segmentation_step(
    network: Network, dataset: Any, *, batch_size: int, steps: int, dtype: str
) -> Callable[[], float]:
    """DeepLab's steps, likewise; mirrored, but (unlike ours) neither scaled nor cropped."""
    place = device()
    network = network.to(place, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(
        network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, fused=True
    )
    images = torch.from_numpy(dataset.train.images).to(place)
    labels = torch.from_numpy(dataset.train.labels).to(place)
    scale = 1.0 / (255.0 * torch.tensor(dataset.std, device=place))
    offset = torch.tensor(dataset.mean, device=place) / torch.tensor(dataset.std, device=place)

    def draw() -> tuple[torch.Tensor, torch.Tensor]:
        rows = torch.randint(0, len(images), (batch_size,), device=place)
        mirrored = torch.rand(batch_size, device=place) < 0.5
        x, y = images[rows] * scale - offset, labels[rows].long()
        x = torch.where(mirrored[:, None, None, None], x.flip(2), x)
        y = torch.where(mirrored[:, None, None], y.flip(2), y)
        return x.permute(0, 3, 1, 2), y

    def loss_fn(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits, truth, ignore_index=255)

    return _stepper(network, optimizer, draw, loss_fn, steps, dtype, place.type == "cuda")


def reference_segmentation_step(
    network: Network, dataset: Any, *, batch_size: int
) -> Callable[[], float]:
    """Eager, float32, each pair normalised and mirrored on the host."""
    network = network.to(device()).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    draw = random.Random(0)
    mean, std = np.array(dataset.mean, np.float32), np.array(dataset.std, np.float32)

    def pair(row: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = (dataset.train.images[row].astype(np.float32) / 255.0 - mean) / std
        label = dataset.train.labels[row]
        if draw.random() < 0.5:
            image, label = image[:, ::-1], label[:, ::-1]
        x = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        return x, torch.from_numpy(np.ascontiguousarray(label)).long()

    def call() -> float:
        rows = [draw.randrange(len(dataset.train.images)) for _ in range(batch_size)]
        xs, ys = zip(*(pair(row) for row in rows), strict=True)
        optimizer.zero_grad()
        logits = network(torch.stack(xs).to(device()))
        loss = F.cross_entropy(logits, torch.stack(ys).to(device()), ignore_index=255)
        loss.backward()
        optimizer.step()
        return loss.item()

    return call


def _stepper(network, optimizer, draw, loss_fn, steps, dtype, on_gpu) -> Callable[[], float]:
    forward = torch.compile(network, mode="reduce-overhead") if on_gpu else network

    def step() -> torch.Tensor:
        x, labels = draw()
        optimizer.zero_grad(set_to_none=not on_gpu)
        with torch.autocast("cuda" if on_gpu else "cpu", torch.bfloat16, dtype == "bfloat16"):
            logits = forward(x)
        loss = loss_fn(logits.float(), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    def call() -> float:
        for _ in range(steps):
            loss = step()
        synchronise()
        return loss.item()

    return call
