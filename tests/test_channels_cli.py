"""Segmentation, ranking and attack from the command line: what they leave, and bad input."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from gpool_jax.cli import main as cli
from tests.golden import cases
from tests.helpers import pixel_dataset

CONFIG = """
from gpool_jax.config import *
config = SegmentationConfig(
    data=PixelDataConfig(path={path!r}, crop=(24, 24)),
    model=SegmenterConfig(
        name="deeplabv3_resnet18", width=1 / 16, output_stride=8, rates=(1, 2, 3), stem="conv7"
    ),
    train=TrainConfig(
        optimizer="sgd", learning_rate=0.1, steps=4, batch_size=8, eval_every=2, log_every=2
    ),
    rank=RankConfig(methods=("translation", "gate"), grid=2, num_images=16, bootstrap=10),
    attack=AttackConfig(
        methods=("gate",), counts=(2, 8), num_images=8, random_draws=2, matched_draws=2,
        bootstrap=20, overlays=1,
    ),
)
"""


def write_tree(folder):
    data = pixel_dataset()
    for name in ("train", "val", "test"):
        split = getattr(data, name)
        for part in ("images", "labels"):
            (folder / name / part).mkdir(parents=True)
        for i in range(len(split)):
            Image.fromarray(split.images[i]).save(folder / name / "images" / f"{i:02}.png")
            Image.fromarray(split.labels[i]).save(folder / name / "labels" / f"{i:02}.png")
    content = {"name": "scenes", "classes": list(data.class_names), "ignore_index": 255}
    (folder / "dataset.json").write_text(json.dumps(content))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A config file and the run that it trains."""
    folder = tmp_path_factory.mktemp("segmentation")
    write_tree(folder / "data")
    (folder / "config.py").write_text(CONFIG.format(path=str(folder / "data")))
    code = cli.main(["train", str(folder / "config.py"), "--workdir", str(folder / "run")])
    assert code == 0
    return folder


@pytest.fixture
def gpool(capsys):
    """Run a command here: (exit code, stdout, stderr without the progress bar)."""

    def run(*words):
        capsys.readouterr()
        code = cli.main([str(w) for w in words])
        captured = capsys.readouterr()
        lines = re.split(r"[\r\n]+", captured.err)
        return (
            code,
            captured.out,
            [e for e in lines if e.strip() and not re.search(r"img/s|s/img", e)],
        )

    return run


@pytest.mark.slow
def test_train_rank_and_attack(trained, gpool, tmp_path):
    run = trained / "run"
    for name in ("results.json", "report.html", "per_image.npz", "config.json", "metrics.jsonl"):
        assert (run / name).exists()
    code, out, errors = gpool("evaluate", run, "--workdir", tmp_path / "again")
    assert (code, errors) == (0, [])
    assert "mean IoU" in out
    first, again = (
        json.loads((folder / "results.json").read_text())["removals"]
        for folder in (run, tmp_path / "again")
    )
    assert first == again

    code, out, errors = gpool("rank", run, "--workdir", tmp_path / "rank")
    assert (code, errors) == (0, [])
    assert "Channels ranked first:\nranking              channels\n" in out
    assert len(out.splitlines()) <= 25
    found = sorted(p.name for p in (tmp_path / "rank").glob("ranking_*.json"))
    methods, regions = ("gate", "translation"), ("left", "overall", "right")
    assert found == [f"ranking_{m}_{r}.json" for m in methods for r in regions]

    # Computed on the spot, or read from those files: the same attack.
    code, _, errors = gpool("attack", run, "--workdir", tmp_path / "attack")
    assert (code, errors) == (0, [])
    files = [tmp_path / "rank" / f"ranking_gate_{r}.json" for r in ("overall", "left", "right")]
    words = ["--workdir", tmp_path / "files", "--tables"]
    code, out, errors = gpool("attack", run, "--ranking", *files, *words)
    assert (code, errors) == (0, [])
    assert "Region selectivity" in out
    computed, read = (
        json.loads((tmp_path / name / "results.json").read_text())["removals"]
        for name in ("attack", "files")
    )
    assert computed == read
    counts = np.load(tmp_path / "attack" / "per_image.npz")["classes"]
    assert counts.shape[1:] == (8, 5, 3, 3)  # images, measured regions, of each class


@pytest.mark.slow
def test_authors_format_in_and_out(trained, gpool, tmp_path):
    code, _, errors = gpool(
        "rank", trained / "run", "--authors-format", "--workdir", tmp_path / "rank",
        "--rank.methods", "gate", "--rank.regions", "left",
    )  # fmt: skip
    assert (code, errors) == (0, [])
    path = tmp_path / "rank" / "ranking_gate_left.json"
    assert set(json.loads(path.read_text())) == {"left"}
    path = path.rename(tmp_path / "left_ordered.json")
    code, out, errors = gpool(
        "attack", trained / "run", "--ranking", path, "--workdir", tmp_path / "out"
    )
    assert (code, errors) == (0, [])
    assert "left_ordered" in out


BAD = {
    "no channels": (["--attack.counts", "0"], "`attack.counts` must be at least 1; got 0"),
    "too many": (["--attack.counts", "4", "33"], r"must be in \[1, 32\], the channels.*got 33"),
    "empty region": (["--rank.regions", "0.5,0,0.5,1"], "is empty"),
    "outside": (["--rank.regions", "0,0,1,1.5"], "reaches outside the image"),
    "splits": (["--attack.splits", "val"], "must share none with the images.*both name val"),
    "feature": (["--rank.feature", "stage7"], "must be one of stem, stage1, .*got 'stage7'"),
    "method": (["--attack.methods", "gat"], "attack.methods"),
    "no region": (
        ["--attack.methods", "flip", "--rank.regions", "centre"],
        "there is no ranking to attack with",
    ),
    "random alone": (["--attack.methods", "random"], "there is no ranking to attack with"),
    "table": (["--attack.table-count", "40"], r"`attack.table_count` must be in \[1, 32\]"),
    "two lists": (["--ranking", "a.json", "--ranking=b.json"], "`--ranking` stands twice"),
    "training": (["--train.steps", "9"], "a finished run can be measured with other"),
    "unknown": (["--attack.count", "4"], "unknown config field --attack.count. Did you mean"),
    "no ranking": (["--ranking", "--quiet"], "`--ranking` must name files or folders"),
    "missing ranking": (["--ranking", "nowhere.json"], "nowhere.json cannot be read"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_nothing_is_written(trained, gpool, tmp_path, case):
    words, message = BAD[case]
    out = tmp_path / "out"
    code, _, errors = gpool("attack", trained / "run", *words, "--workdir", out)
    assert code == 2
    assert len(errors) == 1, errors
    assert re.search(message, errors[0]), errors[0]
    assert not out.exists()


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ([0, 1, 2], "ranks 3 channels; the network's feature has 32"),
        ([*range(31), 30], "names channel 30 twice"),
        ([*range(31), 40], "names channel 40 and ranks 32 channels"),
    ],
)
def test_rankings_of_another_network(trained, gpool, tmp_path, order, message):
    path = tmp_path / "ranking.json"
    path.write_text(json.dumps({"overall": order}))
    words = ("attack", trained / "run", "--ranking", path, "--workdir", tmp_path / "out")
    code, _, errors = gpool(*words)
    assert code == 2
    assert len(errors) == 1
    assert message in errors[0]


def test_commands_that_cannot_be_run(gpool, tmp_path):
    for command in ("rank", "attack"):
        code, _, errors = gpool(command)
        assert code == 2
        assert "needs the folder of a run, or --weights FILE" in errors[0]
        code, _, errors = gpool(command, tmp_path)
        assert code == 2
        assert "not the folder of a training run" in errors[0]
        code, _, errors = gpool(command, "--weights", tmp_path / "w.pth", "--workdir", tmp_path)
        assert code == 2
        assert "`--model` must name the network" in errors[0]


def test_a_comparison_is_no_network_to_rank(gpool, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"kind": "ComparisonConfig"}))
    code, _, errors = gpool("rank", tmp_path, "--workdir", tmp_path / "out")
    assert code == 2
    assert "is of a ComparisonConfig" in errors[0]


def test_labels_of_another_size_are_named_before_training(trained, gpool, tmp_path):
    write_tree(tmp_path / "data")
    label = tmp_path / "data" / "val" / "labels" / "03.png"
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(label)
    code, _, errors = gpool(
        "train",
        trained / "config.py",
        "--data.path",
        tmp_path / "data",
        "--workdir",
        tmp_path / "r",
    )
    assert code == 2
    assert len(errors) == 1
    assert "03.png" in errors[0]
    assert not (tmp_path / "r").exists()


def _save_weights(path, num_classes):
    """A file in torchvision's names, of a network with so many classes."""
    golden = np.load(Path(__file__).parent / "golden" / "deeplab.npz")
    shapes = json.loads(str(golden["shapes"]))["deeplabv3_resnet18"]
    arrays = {
        name: cases.make_array(
            f"net.{name}", (num_classes if shape[0] == 5 else shape[0], *shape[1:])
        )
        for name, shape in shapes.items()
    }
    save_file(arrays, path)


@pytest.mark.slow
def test_imported_weights_are_recognised_ranked_and_measured(trained, gpool, tmp_path):
    path = tmp_path / "w.safetensors"
    _save_weights(path, 3)
    common = ("--weights", path, "--model", "deeplabv3_resnet18", "--data.path", trained / "data")
    code, out, errors = gpool(
        "evaluate", *common, "--model.rates", 1, 2, 3, "--workdir", tmp_path / "evaluate"
    )
    assert (code, errors) == (0, [])
    assert "mean IoU" in out
    assert "output stride 8, rates 1 2 3" in out  # the layout's own stride, the rates as given
    code, out, errors = gpool(
        "evaluate", *common, "--model.output-stride", 16, "--workdir", tmp_path / "other"
    )
    assert (code, errors) == (0, [])
    assert "Used here: output stride 16, rates 6 12 18" in out  # that stride's
    options = ("--rank.methods", "flip", "--rank.num-images", 8, "--workdir", tmp_path / "rank")
    code, out, errors = gpool("rank", *common, *options)
    assert (code, errors) == (0, [])
    assert "Used here: output stride 8, rates 12 24 36" in out  # the layout's
    ranking = json.loads((tmp_path / "rank" / "ranking_flip_left.json").read_text())
    assert sorted(ranking["left"]) == list(range(32))
    assert ranking["split"] == ["train", "val"]


def test_weights_of_another_network_or_other_classes_are_refused(trained, gpool, tmp_path):
    path = tmp_path / "w.safetensors"
    _save_weights(path, 4)
    words = ["--weights", path, "--data.path", trained / "data", "--workdir", tmp_path / "out"]
    for model, message in {
        "deeplabv3_resnet18": "predicts 4 classes; the data have 3",
        "deeplabv3_resnet50": "holds weights of deeplabv3_resnet18",
    }.items():
        code, _, errors = gpool("attack", *words, "--model", model)
        assert code == 2
        assert len(errors) == 1
        assert message in errors[0]
    assert not (tmp_path / "out").exists()
