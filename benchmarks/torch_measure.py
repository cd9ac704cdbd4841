"""PyTorch's measurements of a trained network: as the reference makes them, and tuned.

The reference runs the whole network again for every cell, permutation and set of
channels, on batches it builds on the host; tuned, the encoder runs once.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.torch_train import device, synchronise


def _image(pixels: np.ndarray, dataset: Any) -> torch.Tensor:
    """One image on the host, normalised: [3, H, W]."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (dataset.mean, dataset.std))
    return (torch.from_numpy(pixels).permute(2, 0, 1).float() / 255.0 - mean) / std


def _place(image: torch.Tensor, cell: int, n: int) -> torch.Tensor:
    side = image.shape[1]
    canvas = torch.zeros(3, n * side, n * side)
    top, left = cell // n * side, cell % n * side
    canvas[:, top : top + side, left : left + side] = image
    return canvas


# Exhaustive evaluation of a PermuteNet: every image in every cell, many permutations.


def _encode(network: Any, x: torch.Tensor) -> torch.Tensor:
    """The pooled latent [B, C]."""
    x = F.relu(network.bn1(network.conv1(x)))
    for i in range(network.stages):
        x = getattr(network, f"layer{i + 1}")(x)
    return x.mean((2, 3))


def reference_evaluation(
    network: Any, images: np.ndarray, dataset: Any, *, n: int, permutations: int
) -> Callable[[], float]:
    """Canvases built image by image, and the network run for every cell and permutation."""
    network = network.to(device()).eval()
    generator = torch.Generator().manual_seed(0)

    def call() -> float:
        right = 0
        with torch.no_grad():
            for cell in range(n * n):
                for _ in range(permutations):
                    canvases = [_place(_image(image, dataset), cell, n) for image in images]
                    latent = _encode(network, torch.stack(canvases).to(device()))
                    order = torch.randperm(latent.shape[1], generator=generator)
                    answers = network.linear_location(latent[:, order.to(device())]).argmax(1)
                    right += int((answers.cpu() == cell).sum())
        return right / (len(images) * n * n * permutations)

    return call


def tuned_evaluation(
    network: Any, images: np.ndarray, dataset: Any, *, n: int, permutations: int
) -> Callable[[], float]:
    """The encoder once for each cell on canvases made on the device, then all permutations."""
    place = device()
    network = network.to(place, memory_format=torch.channels_last).eval()
    generator = torch.Generator().manual_seed(0)
    x = torch.stack([_image(image, dataset) for image in images])
    x = x.to(place).contiguous(memory_format=torch.channels_last)
    side = x.shape[2]

    def call() -> float:
        right = torch.zeros((), device=place)
        with torch.no_grad():
            for cell in range(n * n):
                top, left = cell // n * side, cell % n * side
                canvases = torch.zeros(len(x), 3, n * side, n * side, device=place)
                canvases = canvases.contiguous(memory_format=torch.channels_last)
                canvases[:, :, top : top + side, left : left + side] = x
                latent = _encode(network, canvases)
                orders = torch.stack(
                    [
                        torch.randperm(latent.shape[1], generator=generator)
                        for _ in range(permutations)
                    ]
                )
                answers = network.linear_location(latent[:, orders.to(place)]).argmax(-1)
                right += (answers == cell).sum()
        synchronise()
        return float(right) / (len(images) * n * n * permutations)

    return call


# The attack: channels before the head put to zero, and the answers counted by region.


def _counts(answers: np.ndarray, labels: np.ndarray, masks: np.ndarray, num_classes: int):
    """Confusion matrices [B, R, K, K] on the host, by histograms."""
    found = np.zeros((len(answers), len(masks), num_classes, num_classes), np.int64)
    for b, (answer, label) in enumerate(zip(answers, labels, strict=True)):
        for r, mask in enumerate(masks):
            valid = mask & (label < num_classes)
            places = label[valid].astype(np.int64) * num_classes + answer[valid]
            histogram = np.bincount(places, minlength=num_classes**2)
            found[b, r] = histogram.reshape(num_classes, num_classes)
    return found


def attack_batches(dataset: Any) -> tuple[torch.Tensor, np.ndarray]:
    """The test images, normalised, and their labels."""
    x = torch.stack([_image(image, dataset) for image in dataset.test.images])
    return x, dataset.test.labels


def reference_attack(
    network: Any, dataset: Any, keeps: np.ndarray, masks: np.ndarray, num_classes: int
) -> Callable[[], np.ndarray]:
    """The whole network for every set: confusion matrices [M, B, R, K, K]."""
    network = network.to(device()).eval()

    def call() -> np.ndarray:
        found = []
        with torch.no_grad():
            for keep in keeps:
                x, labels = attack_batches(dataset)
                low, features = network.backbone(x.to(device()))
                features[:, ~torch.from_numpy(keep).to(device())] = 0
                logits = network.classifier(low, features)
                logits = F.interpolate(logits, x.shape[2:], mode="bilinear", align_corners=False)
                answers = logits.argmax(1).cpu().numpy()
                found.append(_counts(answers, labels, masks, num_classes))
        return np.stack(found)

    return call


def tuned_attack(
    network: Any, dataset: Any, keeps: np.ndarray, masks: np.ndarray, num_classes: int
) -> Callable[[], np.ndarray]:
    """The encoder once, the head for every set; counted on the device."""
    place = device()
    network = network.to(place, memory_format=torch.channels_last).eval()
    x, labels = attack_batches(dataset)
    x = x.to(place).contiguous(memory_format=torch.channels_last)
    truth = torch.from_numpy(labels.astype(np.int64)).to(place)
    kept = torch.from_numpy(keeps).to(place)
    region = [torch.from_numpy(mask).to(place) for mask in masks]
    cells = num_classes**2

    def call() -> np.ndarray:
        found = []
        with torch.no_grad():
            low, features = network.backbone(x)
            for keep in kept:
                logits = network.classifier(low, features * keep[None, :, None, None])
                logits = F.interpolate(logits, x.shape[2:], mode="bilinear", align_corners=False)
                places = truth * num_classes + logits.argmax(1)
                found.append(
                    torch.stack(
                        [
                            torch.stack(
                                [
                                    torch.bincount(p[mask & (t < num_classes)], minlength=cells)[
                                        :cells
                                    ]
                                    for mask in region
                                ]
                            )
                            for p, t in zip(places, truth, strict=True)
                        ]
                    )
                )
        shape = (len(kept), len(x), len(region), num_classes, num_classes)
        return torch.stack(found).cpu().numpy().reshape(shape)

    return call


# Ranking: the flip difference of the pooled channels.


def reference_ranking(network: Any, dataset: Any) -> Callable[[], np.ndarray]:
    """Image by image, mirrored on the host in NumPy: scores [C]."""
    network = network.to(device()).eval()

    def call() -> np.ndarray:
        scores = []
        with torch.no_grad():
            for pixels in dataset.test.images:
                image = _image(pixels, dataset).numpy()
                mirrored = np.ascontiguousarray(image[:, :, ::-1])
                pair = [
                    network.backbone(torch.from_numpy(view)[None].to(device()))[1].mean((2, 3))
                    for view in (image, mirrored)
                ]
                scores.append((pair[0] - pair[1]).abs().cpu().numpy()[0])
        return np.mean(scores, axis=0)

    return call


def tuned_ranking(network: Any, dataset: Any, *, batch_size: int) -> Callable[[], np.ndarray]:
    """In batches, images and mirror images in one pass on the device."""
    place = device()
    network = network.to(place, memory_format=torch.channels_last).eval()
    x, _ = attack_batches(dataset)
    x = x.to(place).contiguous(memory_format=torch.channels_last)

    def call() -> np.ndarray:
        total = 0.0
        with torch.no_grad():
            for start in range(0, len(x), batch_size):
                part = x[start : start + batch_size]
                both = torch.cat([part, part.flip(3)])
                both = both.contiguous(memory_format=torch.channels_last)
                plain, mirrored = network.backbone(both)[1].mean((2, 3)).chunk(2)
                total = total + (plain - mirrored).abs().sum(0)
        return (total / len(x)).cpu().numpy()

    return call
