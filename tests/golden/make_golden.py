"""Write golden.npz and deeplab.npz: what PyTorch answers for the tiny networks of `cases`.

python -m tests.golden.make_golden        (needs torch; 2.13.0 made the committed file)
"""

import json
from pathlib import Path

import numpy as np
import torch

from benchmarks import torch_deeplab, torch_networks
from tests.golden import cases


def main() -> None:
    """Run every case under every padding mode."""
    arrays, shapes = {}, {}
    image = torch.from_numpy(cases.make_input())
    for name, case in cases.CASES.items():
        for padding in cases.PADDINGS:
            network = torch_networks.build(case, padding).eval()
            state = network.state_dict()
            shapes[name] = {k: list(v.shape) for k, v in state.items()}
            made = {
                k: torch.from_numpy(cases.make_array(k, tuple(v.shape)))
                for k, v in state.items()
                if not k.endswith("num_batches_tracked")
            }
            network.load_state_dict(made, strict=False)
            with torch.no_grad():
                arrays[f"{name}/{padding}"] = network(image).numpy()
    arrays["shapes"] = np.array(json.dumps(shapes))
    np.savez_compressed(Path(__file__).with_name("golden.npz"), **arrays)


def main_deeplab() -> None:
    """Run every DeepLab; store every fourth pixel's answers."""
    arrays, shapes = {}, {}
    image = torch.from_numpy(cases.make_input())[:, :, :49, :57]
    for name, (layout, output_stride) in cases.DEEPLABS.items():
        architecture, encoder = name.split("_")
        network = torch_deeplab.DeepLab(
            encoder.removeprefix("resnet"),
            architecture == "deeplabv3plus",
            5,
            width=4,
            output_stride=output_stride,
            rates=(1, 2, 3),
            mode="zeros",
        ).eval()
        named = network.named_arrays(layout)
        for key, value in named.items():
            if value.ndim:
                # The arrays are the network's own: what is copied into them is in it.
                made = cases.make_deeplab_array(key, tuple(value.shape))
                value.copy_(torch.from_numpy(made))
        shapes[name] = {k: list(v.shape) for k, v in named.items() if v.ndim}
        with torch.no_grad():
            arrays[name] = network(image).permute(0, 2, 3, 1)[:, ::4, ::4].numpy()
    arrays["shapes"] = np.array(json.dumps(shapes))
    np.savez_compressed(Path(__file__).with_name("deeplab.npz"), **arrays)


if __name__ == "__main__":
    main()
    main_deeplab()
