"""Tiny networks of every published layout, and weights that need no PyTorch to be made."""

import zlib

import numpy as np

SIDE = 64

CASES = {
    "reference_resnet18_gapnet": {
        "layout": "reference",
        "sizes": (2, 2, 2, 2),
        "widths": (4, 8, 16, 32),
        "torch_head": "pre_classifier",
        "num_outputs": 9,
        "create": {"name": "resnet18", "head": "gapnet", "width": 4 / 64},
    },
    "reference_resnet18_permutenet": {
        "layout": "reference",
        "sizes": (2, 2, 2, 2),
        "widths": (4, 8, 16, 32),
        "torch_head": "linear_location",
        "num_outputs": 9,
        "create": {"name": "resnet18", "head": "permutenet", "width": 4 / 64},
    },
    "torchvision_resnet18": {
        "layout": "torchvision",
        "sizes": (2, 2, 2, 2),
        "widths": (4, 8, 16, 32),
        "torch_head": "fc",
        "num_outputs": 7,
        "create": {"name": "resnet18", "head": "linear", "width": 4 / 64, "stem": "conv7_pool"},
    },
    "torchvision_resnet50": {
        "layout": "torchvision",
        "bottleneck": True,
        "sizes": (3, 4, 6, 3),
        "widths": (2, 4, 8, 16),
        "torch_head": "fc",
        "num_outputs": 7,
        "create": {"name": "resnet50", "head": "linear", "width": 2 / 64, "stem": "conv7_pool"},
    },
    "cifar_resnet20": {
        "layout": "cifar",
        "sizes": (3, 3, 3),
        "widths": (4, 8, 16),
        "torch_head": "linear",
        "num_outputs": 10,
        "create": {"name": "cifar_resnet20", "head": "linear", "width": 4 / 16},
    },
    "vgg5_gapnet": {
        "layout": "vgg",
        "widths": (),
        "plan": (4, "M", 8, "M", 16, "M", 32),
        "torch_head": "pre_classifier",
        "num_outputs": 9,
        "create": {"name": "vgg5", "head": "gapnet", "width": 4 / 32},
    },
    "vgg11": {
        "layout": "vgg",
        "widths": (),
        "plan": (4, "M", 8, "M", 16, 16, "M", 32, 32, "M", 32, 32, "M"),
        "torch_head": "classifier",
        "num_outputs": 10,
        "create": {"name": "vgg11", "head": "linear", "width": 4 / 64},
    },
}
HEADS = ("pre_classifier", "linear", "fc", "classifier")
PADDINGS = ("zeros", "circular", "reflect", "replicate", "partial", "resize")


# Name to the layout of the file and the output stride.
DEEPLABS = {
    "deeplabv3_resnet18": ("torchvision", 8),
    "deeplabv3_resnet50": ("base code", 16),
    "deeplabv3plus_resnet34": ("base code", 16),
}


def make_deeplab_array(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """As `make_array`; the layer that answers 5 classes alone is small, as a head is."""
    return make_array(name if shape[0] == 5 else f"net.{name}", shape)


def make_array(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values of a parameter, from a stream that NumPy keeps frozen, seeded by its name."""
    stream = np.random.RandomState(zlib.crc32(name.encode()))
    values = stream.uniform(-1, 1, shape)
    if name.endswith("running_var"):
        values = 1.0 + 0.5 * values
    elif name.endswith(("running_mean", "bias")):
        values = 0.1 * values
    elif len(shape) == 1 and name.endswith("weight"):
        values = 1.0 + 0.3 * values
    elif name != "input" and len(shape) > 1:
        # Near He's gain: without it the input's share fades away over the layers.
        values *= np.sqrt(4.5 / np.prod(shape[1:]))
    if name.startswith(HEADS):
        values *= 0.05  # answers stay below 10, where 1e-4 is within float32's reach
    return values.astype(np.float32)


def make_input() -> np.ndarray:
    """[2, 3, SIDE, SIDE], PyTorch's order: noise, and a bright off-centre corner of it."""
    images = make_array("input", (2, 3, SIDE, SIDE))
    images[1, :, SIDE // 3 :, : SIDE // 2] = 0.0
    images[1, 0] *= 3.0
    return images
