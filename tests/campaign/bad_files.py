"""The files that `inputs.txt` names: each whole but for what its name says."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.campaign import bad_data, bad_weights

_IMPORT = "from gpool_jax.config import *\n"
CONFIGS: dict[str, str | bytes] = {
    "syntax": "config = (",
    "import": "import nothing_of_the_kind",
    "none": "x = 1",
    "number": "config = 3",
    "class": f"{_IMPORT}config = PositionConfig",
    "raises": "raise ValueError('two\\nlines')",
    "exit": "import sys; sys.exit(0)",
    "exit_2": "import sys; sys.exit('a text')",
    "interrupt": "raise KeyboardInterrupt",
    "several": f"{_IMPORT}configs = {{'a': ('An a.', PositionConfig())}}",
    "empty": "",
    "binary": b"\x89PNG\r\n\x1a\n\0\0\xff",
    "recursion": "def f(): f()\nf()",
    "text_steps": f"{_IMPORT}config = PositionConfig(train=TrainConfig(steps='9'))",
    "list": f"{_IMPORT}config = PositionConfig(train=TrainConfig(milestones=[1]))",
    "section": f"{_IMPORT}config = PositionConfig(train=ModelConfig())",
    "none_section": f"{_IMPORT}config = PositionConfig(train=None)",
    "unknown_field": f"{_IMPORT}config = PositionConfig(stepz=3)",
    "bool_steps": f"{_IMPORT}config = PositionConfig(train=TrainConfig(steps=True))",
    "str_counts": f"{_IMPORT}config = PositionConfig(attack=AttackConfig(counts=('5',)))",
    "nan": f"{_IMPORT}config = PositionConfig(train=TrainConfig(learning_rate=float('nan')))",
}
# The reference has as many channels.
_ORDER = list(range(32))
_WHOLE = {"overall": _ORDER, "method": "mine", "n": 16, "split": ["train"], "feature": "pre_gap"}
RANKINGS: dict[str, Any] = {
    "good": {"overall": _ORDER},
    "null": None,
    "list": _ORDER,
    "empty": {},
    "two": {"left": _ORDER, "right": _ORDER},
    "text": {"overall": "0 1 2"},
    "float": {"overall": [float(i) for i in _ORDER]},
    "twice": {"overall": [0, 0, *_ORDER[2:]]},
    "gap": {"overall": [*_ORDER[:-1], 99]},
    "short": {"overall": _ORDER[:5]},
    "long": {"overall": list(range(500))},
    "negative": {"overall": [-1, *_ORDER[1:]]},
    "huge": {"overall": [10**30, *_ORDER[1:]]},
    "bool": {"overall": [True, False]},
    "region": _WHOLE | {"overall": {}},
    "scores_short": _WHOLE | {"scores": [1.0]},
    "scores_nan": _WHOLE | {"scores": [float("nan")] * len(_ORDER)},
    "scores_text": _WHOLE | {"scores": ["a"] * len(_ORDER)},
    "n_text": _WHOLE | {"n": "many"},
    "split_number": _WHOLE | {"split": 3},
    "split_test": _WHOLE | {"split": ["test"]},
    "feature": _WHOLE | {"feature": "stem"},
    "method_list": _WHOLE | {"method": ["x"]},
}
# What is put in place of a run's config.json, or a change of it.
RUNS: dict[str, bytes | Callable[[dict[str, Any]], object]] = {
    "null": b"null",
    "list": b"[1]",
    "cut": b'{"kind": "Posi',
    "binary": b"\xff\xfe\0",
    "deep": b"[" * 100_000,
    "kind": lambda config: config.update(kind="Nothing"),
    "kind_list": lambda config: config.update(kind=["x"]),
    "unknown_field": lambda config: config.update(stepz=3),
    "section": lambda config: config.update(train=5),
    "bad_value": lambda config: config["train"].update(steps="many"),
}
PIXELS = """
from gpool_jax.config import *
config = SegmentationConfig(
    data=PixelDataConfig(crop=(24, 24)),
    model=SegmenterConfig(
        name="deeplabv3_resnet18", width=1 / 16, output_stride=8, rates=(1, 2, 3), stem="conv7"
    ),
    train=TrainConfig(
        optimizer="sgd", learning_rate=0.1, steps=4, batch_size=8, eval_every=2, log_every=2
    ),
)
"""


def write(folder: Path, run: Path) -> None:
    """Write them all; `run` is a finished run."""
    folder.mkdir(parents=True)
    for name, text in CONFIGS.items():
        content = text.encode() if isinstance(text, str) else text
        (folder / f"config_{name}.py").write_bytes(content)
    (folder / "config_folder.py").mkdir()
    (folder / "pixels.py").write_text(PIXELS)
    for name, values in RANKINGS.items():
        (folder / f"rank_{name}.json").write_text(json.dumps(values))
    (folder / "rank_deep.json").write_text("[" * 100_000)
    (folder / "rank_binary.json").write_bytes(b"\xff\xfe\0")
    _write_runs(folder, run)
    bad_data.write(folder)
    bad_weights.write(folder)


def _write_runs(folder: Path, run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    for name, change in RUNS.items():
        target = folder / f"run_{name}"
        target.mkdir()
        if isinstance(change, bytes):
            (target / "config.json").write_bytes(change)
        else:
            changed = json.loads(json.dumps(config))
            change(changed)
            (target / "config.json").write_text(json.dumps(changed))
    (folder / "run_empty").mkdir()
    (folder / "run_folder" / "config.json").mkdir(parents=True)
    (folder / "run_no_checkpoint").mkdir()
    shutil.copy(run / "config.json", folder / "run_no_checkpoint")
    other = folder / "other_run"  # another training, whose folder no other command may take
    shutil.copytree(run, other)
    (other / "config.json").write_text(json.dumps(config | {"seed": 7}))
