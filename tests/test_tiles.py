"""The numbers at the top of a page: four at most, each beside what it is held against."""

from pathlib import Path

import pytest

from gpool_jax.report import read_result
from gpool_jax.report.tiles import make_tiles

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
FOLDERS = sorted(path.parent for path in RESULTS.glob("**/results.json"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: str(f.relative_to(RESULTS)))
def test_every_committed_result_has_tiles(folder):
    tiles = make_tiles(read_result(folder))
    assert 1 <= len(tiles) <= 4
    assert all(value.endswith(" %") for _, value, _ in tiles)


def test_tiles_of_heads_are_of_networks_as_they_were_trained():
    tiles = make_tiles(read_result(RESULTS / "compare_digits"))
    assert [title for title, *_ in tiles][:2] == ["location, GAPNet", "location, linear head"]
    assert tiles[0][1:] == ("100.0 %", "99 to 100; chance 11")


def test_the_best_arm_is_not_hidden():
    tiles = make_tiles(read_result(RESULTS / "invariance_cifar10_cpu"))
    names = [title.removeprefix("consistency, ") for title, *_ in tiles]
    assert names == ["baseline", "AugShift + BlurPool-3", "AugShift", "shift augmentation"]


def test_removals_stand_beside_random_ones_under_both_fills():
    tiles = make_tiles(read_result(RESULTS / "channels_camvid" / "seed0"))
    assert tiles[0] == ("mean IoU, nothing removed", "33.4 %", "")
    title, value, beside = tiles[1]
    assert title.startswith("16 channels by flip, zero")
    assert value.startswith("32.2 %")
    assert beside.startswith("random: 32.7 %")
