r"""Audit the published CIFAR-10 ResNets beside their untrained twins, in one table.

    python -m benchmarks.published --weights DIR --data-dir TFDS_DIR \
        --out benchmarks/results/audit/cifar_resnets

DIR holds resnet20-*.th, resnet32-*.th and resnet56-*.th of akamaster/pytorch_resnet_cifar10 (test
errors 8.27, 7.37 and 6.61 %). About 15 minutes on two CPU cores.
"""

import argparse
from pathlib import Path

import gpool_jax as gp
from gpool_jax.config import DataConfig
from gpool_jax.data.images import load as sources

NAMES = ("resnet20", "resnet32", "resnet56")


def main() -> None:
    """Audit them on test images, each of which fills a cell of a canvas three times as large."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--num-images", type=int, default=200)
    options = parser.parse_args()
    networks = []
    for name in NAMES:
        (path,) = options.weights.glob(f"{name}-*.th")
        networks.append(gp.from_weights(path, f"cifar_{name}"))
    data = sources.load(DataConfig(source="tfds", name="cifar10", dir=options.data_dir), seed=0)
    test = data.test.draw(options.num_images, seed=0).load()
    page = gp.audit(
        networks,
        test.images,
        labels=test.labels,
        canvas="grown",
        stages="pooled",
        shifts_per_distance=2,
    )
    print(page)
    print(*page.save(options.out), sep="\n")


if __name__ == "__main__":
    main()
