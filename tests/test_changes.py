"""A sweep by changes: every mask is reached by few channels, and answers as a whole pass does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpool_jax import models
from gpool_jax.experiments.channels import changes
from gpool_jax.experiments.channels.plan import Plan
from gpool_jax.models.deeplab_linear import respond
from tests.helpers import slow_but_first

KEY = jax.random.key(0)


def make_plan(keep, use_mean=None):
    keep = np.asarray(keep, bool)
    use_mean = np.zeros(len(keep), bool) if use_mean is None else np.asarray(use_mean)
    return Plan([], np.arange(0), keep, use_mean, 1, ("zero",), [])


def reached(plan):
    """The masks that the changes lead to, and how many channels each changes."""
    masks, cost, last = [], [], None
    for change in changes.make_changes(plan):
        channels = plan.keep.shape[1]
        start = {
            changes.FULL: np.ones(channels),
            changes.EMPTY: np.zeros(channels),
            changes.PREVIOUS: last,
        }[change.base]
        last = np.array(start, float)
        np.add.at(last, change.channels, change.signs)
        masks.append(last)
        cost.append(int(np.abs(change.signs).sum()))
    return np.stack(masks), cost


def test_the_changes_lead_to_every_mask():
    rng = np.random.default_rng(0)
    plan = make_plan(rng.random((40, 30)) < rng.random((40, 1)), rng.random(40) < 0.5)
    masks, _ = reached(plan)
    np.testing.assert_array_equal(masks, plan.keep)


def test_a_ranking_in_growing_numbers_costs_what_is_new():
    keep = np.arange(64)[None, :] >= np.array([0, 4, 10, 30, 60, 64])[:, None]
    _, cost = reached(make_plan(keep))
    # 60 of 64 removed: four come back to nothing, rather than 30 more being removed.
    assert cost == [0, 4, 6, 20, 4, 0]


def test_what_is_removed_to_another_value_is_no_predecessor():
    keep = np.arange(64)[None, :] >= np.array([20, 21])[:, None]
    assert reached(make_plan(keep, [False, True]))[1] == [20, 21]
    assert reached(make_plan(keep, [True, True]))[1] == [20, 1]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 100, 1000])
def test_sizes_are_few_and_little_larger(count):
    size = changes._padded_size(count, 2048)
    assert count <= size <= max(1.5 * count, 2)
    sizes = {changes._padded_size(n, 2048) for n in range(1, 2049)}
    assert len(sizes) < 25
    assert changes._padded_size(count, count) == count


@pytest.mark.parametrize(
    ("name", "padding", "dtype", "tolerance"),
    slow_but_first(
        [
            ("deeplabv3_resnet18", "zeros", "float32", 1e-5),
            ("deeplabv3plus_resnet18", "zeros", "float32", 1e-5),
            ("deeplabv3_resnet18", "partial", "float32", 1e-5),
            ("deeplabv3_resnet18", "reflect", "float32", 1e-5),
            ("deeplabv3_resnet18", "resize", "float32", 1e-5),
            ("deeplabv3_resnet18", "zeros", "bfloat16", 1e-2),
        ]
    ),
)
def test_responses_of_parts_add_up_to_the_head(name, padding, dtype, tolerance):
    model = models.create_segmenter(
        name, num_outputs=5, width=1 / 8, rates=(1, 2, 3), padding=padding, dtype=dtype
    )
    x = jax.random.normal(KEY, (2, 64, 96, 3))
    variables = jax.jit(model.init)(KEY, x)
    logits, features = jax.jit(model.apply)(variables, x)
    channels = features["pre_gap"].shape[-1]
    params = variables["params"]["head"]

    @jax.jit
    def in_parts(features):
        total = None
        for part in np.array_split(np.random.default_rng(0).permutation(channels), 3):
            own = respond(model.head, params, features["pre_gap"][..., part], jnp.asarray(part))
            total = own if total is None else jax.tree.map(jnp.add, total, own)
        return model.apply(
            variables, features, total, size=(64, 96), method="resume_from_responses"
        )

    found = in_parts(features)
    error = jnp.linalg.norm(found - logits) / jnp.linalg.norm(logits)
    assert error < tolerance
