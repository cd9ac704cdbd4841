"""Numbers of images that exceed what a set has are said, not cut in silence."""

import dataclasses
from types import SimpleNamespace

import pytest

from gpool_jax.config import PositionConfig, SegmentationConfig
from gpool_jax.experiments import driver, registry, training

pytestmark = pytest.mark.usefixtures("strict_types")

DATASET = SimpleNamespace(train=range(90), val=range(10), test=range(20))


def said(config, **sections):
    sections = {
        name: dataclasses.replace(getattr(config, name), **values)
        for name, values in sections.items()
    }
    lines = []
    training.check_counts(dataclasses.replace(config, **sections), DATASET, lines.append)
    return lines


@pytest.mark.parametrize(
    ("section", "field", "most", "splits"),
    [
        ("data", "num_train", 90, "train"),
        ("train", "num_val", 10, "val"),
        ("eval", "num_images", 20, "test"),
        ("probe", "num_images", 20, "test"),
        ("consistency", "num_images", 20, "test"),
        ("rank", "num_images", 100, "train and val"),
        ("attack", "num_images", 20, "test"),
    ],
)
def test_a_number_beyond_the_set_is_said(section, field, most, splits):
    assert said(PositionConfig(), **{section: {field: most}}) == []
    assert said(PositionConfig(), **{section: {field: most + 1}}) == [
        f"`{section}.{field}` is {most + 1:,}, and there are {most:,} {splits} images: all of them "
        "are used."
    ]


def test_every_number_of_images_is_among_them_and_a_default_asks_for_nothing():
    config = PositionConfig()
    assert config.probe.num_images > len(DATASET.test)
    assert said(config) == said(SegmentationConfig()) == []
    names = {
        f"{section}.{field.name}"
        for section, value in vars(config).items()
        if dataclasses.is_dataclass(value)
        for field in dataclasses.fields(value)
        if field.name in ("num_images", "num_train", "num_val")
    }
    assert names == set(training._COUNTS)


def test_members_of_a_comparison_say_it_once(monkeypatch):
    def prepare(member, *, dataset, warn):
        warn("the same")
        return SimpleNamespace(dataset=dataset)

    members = {str(seed): PositionConfig(seed=seed) for seed in range(3)}
    monkeypatch.setattr(
        registry, "comparison", lambda _: SimpleNamespace(members=lambda _: members)
    )
    monkeypatch.setattr(registry, "experiment", lambda _: SimpleNamespace(prepare=prepare))
    lines = []
    assert list(driver.prepare_all(SimpleNamespace(only=()), warn=lines.append)) == ["0", "1", "2"]
    assert lines == ["the same"]
