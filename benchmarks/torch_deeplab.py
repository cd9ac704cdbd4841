"""DeepLabv3 and v3+ in PyTorch, written from their description.

`layout` decides the names only: "base code" (the reference's) or "torchvision".
"""

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.torch_networks import pad

SIZES = {"18": (2, 2, 2, 2), "34": (3, 4, 6, 3), "50": (3, 4, 6, 3), "101": (3, 4, 23, 3)}


class Conv(nn.Conv2d):
    """ "Same" convolution, dilated, under every padding mode."""

    def __init__(self, inputs, outputs, size, mode, stride=1, dilation=1, bias=False):
        own = dilation * (size // 2) if mode == "zeros" else 0
        super().__init__(inputs, outputs, size, stride, own, dilation=dilation, bias=bias)
        self.mode = mode

    def forward(self, x):
        size, step = self.kernel_size[0], self.dilation[0]
        if size == 1 or self.mode == "zeros":
            return super().forward(x)
        amount = step * (size // 2)
        padded = pad(x, amount, self.mode, 3 if size == 7 else 2 * amount)
        out = F.conv2d(padded, self.weight, None, self.stride, dilation=step)
        if self.mode == "partial":
            ones = F.pad(torch.ones(1, 1, *x.shape[2:]), (amount,) * 4)
            taps = F.conv2d(ones, torch.ones(1, 1, size, size), None, self.stride, dilation=step)
            out = out * (size * size / taps)
        return out if self.bias is None else out + self.bias[None, :, None, None]


def conv_norm(inputs, outputs, size, mode, dilation=1):
    return [Conv(inputs, outputs, size, mode, 1, dilation), nn.BatchNorm2d(outputs), nn.ReLU()]


class Block(nn.Module):
    def __init__(self, inputs, features, stride, dilation, mode, bottleneck):
        super().__init__()
        outputs = features * 4 if bottleneck else features
        if bottleneck:
            shapes = [(inputs, features, 1), (features, features, 3), (features, outputs, 1)]
        else:
            shapes = [(inputs, features, 3), (features, features, 3)]
        strided = 2 if bottleneck else 1
        for i, (before, after, size) in enumerate(shapes, 1):
            step = dilation if size == 3 else 1
            conv = Conv(before, after, size, mode, stride if i == strided else 1, step)
            setattr(self, f"conv{i}", conv)
            setattr(self, f"bn{i}", nn.BatchNorm2d(after))
        self.depth, self.outputs = len(shapes), outputs
        if stride != 1 or inputs != outputs:
            projection = [Conv(inputs, outputs, 1, mode, stride), nn.BatchNorm2d(outputs)]
            self.downsample = nn.Sequential(*projection)

    def forward(self, x):
        y = x
        for i in range(1, self.depth + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = F.relu(y) if i < self.depth else y
        return F.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class Encoder(nn.Module):
    """torchvision's ResNet; at output stride 16 the last stage dilates, at 8 the last two."""

    def __init__(self, depth, width, mode, output_stride, sizes):
        super().__init__()
        self.mode = mode
        self.conv1 = Conv(3, width, 7, mode, 2)
        self.bn1 = nn.BatchNorm2d(width)
        dilate = {8: (False, False, True, True), 16: (False, False, False, True)}[output_stride]
        self.dilation, inputs = 1, width
        for i, count in enumerate(sizes or SIZES[depth]):
            stride, previous = 2 if i else 1, self.dilation
            if dilate[i]:
                self.dilation, stride = self.dilation * stride, 1
            blocks = []
            for j in range(count):
                step = (stride, previous) if j == 0 else (1, self.dilation)
                blocks.append(Block(inputs, width * 2**i, *step, mode, depth in ("50", "101")))
                inputs = blocks[-1].outputs
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.outputs, self.low_outputs = inputs, inputs // 8

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        if self.mode in ("zeros", "partial"):
            x = F.max_pool2d(x, 3, 2, 1)
        else:
            x = F.max_pool2d(pad(x, 1, self.mode, 2), 3, 2)
        low = x = self.layer1(x)
        return low, self.layer4(self.layer3(self.layer2(x)))


class Pyramid(nn.Module):
    def __init__(self, inputs, outputs, rates, mode):
        super().__init__()
        branches = [nn.Sequential(*conv_norm(inputs, outputs, 1, mode))]
        branches += [nn.Sequential(*conv_norm(inputs, outputs, 3, mode, rate)) for rate in rates]
        pooled = [nn.AdaptiveAvgPool2d(1), *conv_norm(inputs, outputs, 1, mode)]
        self.convs = nn.ModuleList([*branches, nn.Sequential(*pooled)])
        projection = conv_norm(5 * outputs, outputs, 1, mode)
        self.project = nn.Sequential(*projection, nn.Dropout(0.1))

    def forward(self, x):
        maps = [branch(x) for branch in self.convs]
        maps[-1] = F.interpolate(maps[-1], x.shape[2:], mode="bilinear", align_corners=False)
        return self.project(torch.cat(maps, 1))


class PlusHead(nn.Module):
    def __init__(self, inputs, low_inputs, features, low_features, rates, mode, outputs):
        super().__init__()
        self.project = nn.Sequential(*conv_norm(low_inputs, low_features, 1, mode))
        self.aspp = Pyramid(inputs, features, rates, mode)
        fused = conv_norm(features + low_features, features, 3, mode)
        self.classifier = nn.Sequential(*fused, nn.Conv2d(features, outputs, 1))

    def forward(self, low, x):
        x = F.interpolate(self.aspp(x), low.shape[2:], mode="bilinear", align_corners=False)
        return self.classifier(torch.cat([self.project(low), x], 1))


class Head(nn.Module):
    """DeepLabv3's: a plain list of layers, under one more name in the base code."""

    def __init__(self, inputs, features, rates, mode, outputs):
        super().__init__()
        fused = conv_norm(features, features, 3, mode)
        pyramid = Pyramid(inputs, features, rates, mode)
        self.classifier = nn.Sequential(pyramid, *fused, nn.Conv2d(features, outputs, 1))

    def forward(self, low, x):
        return self.classifier(x)


class DeepLab(nn.Module):
    """`sizes`: blocks per stage, where not those of that depth."""

    def __init__(self, depth, plus, outputs, *, width, output_stride, rates, mode, sizes=None):
        super().__init__()
        features, low = max(1, round(4 * width)), max(1, round(48 * width / 64))
        self.backbone = Encoder(depth, width, mode, output_stride, sizes)
        inputs = self.backbone.outputs
        if plus:
            low_inputs = self.backbone.low_outputs
            self.classifier = PlusHead(inputs, low_inputs, features, low, rates, mode, outputs)
        else:
            self.classifier = Head(inputs, features, rates, mode, outputs)

    def forward(self, x):
        logits = self.classifier(*self.backbone(x))
        return F.interpolate(logits, x.shape[2:], mode="bilinear", align_corners=False)

    def named_arrays(self, layout):
        """Names to tensors, as a file of that layout has them."""
        arrays = self.state_dict()
        if layout == "base code":
            return arrays
        return {k.replace("classifier.classifier.", "classifier."): v for k, v in arrays.items()}
