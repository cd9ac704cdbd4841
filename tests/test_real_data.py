"""The first claim on real CIFAR-10: minutes of CPU, from the committed config."""

from pathlib import Path

import pytest

from gpool_jax.cli import main as cli
from gpool_jax.report import read_result

CONFIGS = Path(__file__).parent.parent / "configs"


@pytest.mark.data
def test_gapnet_finds_the_cell_of_real_images(data_dir, tmp_path):
    words = [
        "train",
        str(CONFIGS / "cifar10_resnet18_gapnet_location_cpu.py"),
        "--workdir",
        str(tmp_path / "run"),
        "--data.dir",
        str(data_dir / "tfds"),
        *"--train.steps 60 --train.eval-every 60 --train.num-val 200".split(),
        *"--eval.num-images 200 --probe.no-enabled".split(),
    ]
    assert cli.main(words) == 0
    (row,) = read_result(tmp_path / "run").rows
    assert row.num_predictions == 200 * 9
    assert row.accuracy >= 0.99
