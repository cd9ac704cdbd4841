"""The published architectures in PyTorch, written from their description.

The opponents of the benchmarks, and what parity is tested against.

Weights come from a frozen NumPy stream by name, so that the same network can be
made again without PyTorch: `make_state_dict` needs only names and shapes.
"""

import torch
import torch.nn.functional as F
from torch import nn


def pad(x, amount, mode, stretch):
    if mode == "resize":
        size = (x.shape[2] + stretch, x.shape[3] + stretch)
        return F.interpolate(x, size, mode="bilinear", align_corners=False)
    name = {"zeros": "constant", "partial": "constant"}.get(mode, mode)
    return F.pad(x, (amount,) * 4, mode=name)


class Conv(nn.Conv2d):
    def __init__(self, inputs, outputs, size, stride, mode, bias=False):
        # PyTorch's own zero padding costs nothing; every other kind is put around first.
        own = size // 2 if mode == "zeros" else 0
        super().__init__(inputs, outputs, size, stride, own, bias=bias)
        self.mode = mode

    def forward(self, x):
        size = self.kernel_size[0]
        if size == 1 or self.mode == "zeros":
            return super().forward(x)
        padded = pad(x, size // 2, self.mode, 3 if size == 7 else 2)
        out = F.conv2d(padded, self.weight, None, self.stride)
        if self.mode == "partial":
            ones = F.pad(torch.ones(1, 1, *x.shape[2:]), (size // 2,) * 4)
            taps = F.conv2d(ones, torch.ones(1, 1, size, size), None, self.stride)
            out = out * (size * size / taps)
        return out if self.bias is None else out + self.bias[None, :, None, None]


class Block(nn.Module):
    def __init__(self, inputs, features, stride, mode, bottleneck, dialect):
        super().__init__()
        outputs = features * 4 if bottleneck else features
        shapes = (
            [(inputs, features, 1, 1), (features, features, 3, stride), (features, outputs, 1, 1)]
            if bottleneck
            else [(inputs, features, 3, stride), (features, features, 3, 1)]
        )
        for i, shape in enumerate(shapes, 1):
            setattr(self, f"conv{i}", Conv(*shape, mode))
            setattr(self, f"bn{i}", nn.BatchNorm2d(shape[1]))
        self.depth, self.stride, self.outputs, self.dialect = len(shapes), stride, outputs, dialect
        if dialect != "subsample" and (stride != 1 or inputs != outputs):
            projection = [Conv(inputs, outputs, 1, stride, mode), nn.BatchNorm2d(outputs)]
            setattr(self, dialect, nn.Sequential(*projection))

    def forward(self, x):
        y = x
        for i in range(1, self.depth + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = F.relu(y) if i < self.depth else y
        if hasattr(self, self.dialect):
            x = getattr(self, self.dialect)(x)
        elif self.dialect == "subsample":
            missing = self.outputs - x.shape[1]
            x = x[:, :, :: self.stride, :: self.stride]
            x = F.pad(x, (0, 0, 0, 0, missing // 2, missing - missing // 2))
        return F.relu(x + y)


class ResNet(nn.Module):
    """`layout`: reference, torchvision or cifar."""

    def __init__(self, sizes, widths, mode, layout, head, outputs, bottleneck=False):
        super().__init__()
        self.mode, self.layout = mode, layout
        size, stride = (3, 1) if layout == "cifar" else (7, 2)
        self.conv1 = Conv(3, widths[0], size, stride, mode)
        self.bn1 = nn.BatchNorm2d(widths[0])
        dialect = {"reference": "shortcut", "torchvision": "downsample", "cifar": "subsample"}
        inputs = widths[0]
        for i, (count, width) in enumerate(zip(sizes, widths, strict=True)):
            blocks = []
            for j in range(count):
                stride = 2 if i and not j else 1
                blocks.append(Block(inputs, width, stride, mode, bottleneck, dialect[layout]))
                inputs = blocks[-1].outputs
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.stages, self.head = len(sizes), head
        if head == "pre_classifier":
            self.pre_classifier = Conv(inputs, outputs, 3, 1, mode, bias=True)
        else:
            setattr(self, head, nn.Linear(inputs, outputs))

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        if self.layout == "torchvision":
            if self.mode in ("zeros", "partial"):
                x = F.max_pool2d(x, 3, 2, 1)
            else:
                x = F.max_pool2d(pad(x, 1, self.mode, 2), 3, 2)
        for i in range(self.stages):
            x = getattr(self, f"layer{i + 1}")(x)
        if self.head == "pre_classifier":
            return self.pre_classifier(x).mean((2, 3))
        return getattr(self, self.head)(x.mean((2, 3)))


class VGG(nn.Module):
    def __init__(self, plan, mode, head, outputs):
        super().__init__()
        layers, inputs = [], 3
        for width in plan:
            if width == "M":
                layers.append(nn.MaxPool2d(2, 2))
                continue
            layers += [Conv(inputs, width, 3, 1, mode, bias=True), nn.BatchNorm2d(width), nn.ReLU()]
            inputs = width
        self.features = nn.Sequential(*layers)
        self.head = head
        if head == "pre_classifier":
            self.pre_classifier = Conv(inputs, outputs, 3, 1, mode, bias=True)
        else:
            self.classifier = nn.Linear(inputs, outputs)

    def forward(self, x):
        x = self.features(x)
        if self.head == "pre_classifier":
            return self.pre_classifier(x).mean((2, 3))
        return self.classifier(x.mean((2, 3)))


def build(case, mode):
    """The network of one of `golden.CASES`, without its weights."""
    layout, widths, head = case["layout"], case["widths"], case["torch_head"]
    if layout == "vgg":
        return VGG(case["plan"], mode, head, case["num_outputs"])
    return ResNet(
        case["sizes"],
        widths,
        mode,
        layout,
        head,
        case["num_outputs"],
        case.get("bottleneck", False),
    )
