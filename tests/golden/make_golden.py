"""Write golden.npz: what PyTorch answers for the tiny networks of `cases`.

python -m tests.golden.make_golden        (needs torch; 2.13.0 made the committed file)
"""

import json
from pathlib import Path

import numpy as np
import torch

from tests import torch_networks
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


if __name__ == "__main__":
    main()
