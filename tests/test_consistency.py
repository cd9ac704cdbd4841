"""Consistency under shift, measured on real small networks and counted again by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpool_jax import ops
from gpool_jax.data.split import ArraySplit
from gpool_jax.experiments import run
from gpool_jax.experiments.invariance import decoding
from gpool_jax.experiments.invariance import training as invariance
from gpool_jax.experiments.measures import consistency, held_out, probing, views
from gpool_jax.experiments.measures import tallies as measured
from gpool_jax.experiments.position import training as position
from gpool_jax.ops import probe
from tests import reference
from tests.helpers import slow_but_first, tiny, tiny_invariance
from tests.test_antialias import drawn

PROTOCOLS = ("zeros", "reflect", "replicate", "circular", "fourier", "crop")


def setup_of(**sections):
    """A run and random parameters with the batch statistics of its images: all layers alive."""
    setup = invariance.prepare(tiny_invariance(**sections))
    variables = drawn(setup.model, setup.input_shape[1], setup.input_shape[3])
    images = setup.dataset.train.images[:64]
    x = ops.normalise(images, setup.dataset.mean, setup.dataset.std)
    _, updates = jax.jit(lambda v: setup.model.apply(v, x, train=True, mutable=["batch_stats"]))(
        variables
    )
    # The running statistics moved a tenth of the way: go all of it.
    whole = jax.tree.map(
        lambda old, new: old + (new - old) / 0.1, variables["batch_stats"], updates["batch_stats"]
    )
    return setup, variables | {"batch_stats": whole}


def totals(tallies):
    return {key: float(t.per_seed[0]) for key, t in tallies.items()}


def bounds_of(setup, protocol):
    return views.offset_range(invariance.stimulus(setup), setup.config.consistency, protocol)


def answers_by_hand(setup, variables, protocol, offsets):
    """Answers and latents of every image and view, each view made from the definition."""
    split = held_out.draw(setup, setup.config.consistency.num_images)
    mean, std = np.array(setup.dataset.mean), np.array(setup.dataset.std)
    pixels = ((split.images / 255.0 - mean) / std).astype(np.float32)
    side = pixels.shape[1]

    def move(x, by):
        if protocol == "crop":
            top = (
                side - views.crop_side(invariance.stimulus(setup), setup.config.consistency)
            ) // 2 - by
            size = views.crop_side(invariance.stimulus(setup), setup.config.consistency)
            return np.stack(
                [x[b, t[0] : t[0] + size, t[1] : t[1] + size] for b, t in enumerate(top)]
            )
        if protocol == "fourier":
            return np.asarray(ops.fourier_shift(x, by))  # tested against closed forms
        return reference.shift(x, by, protocol).astype(np.float32)

    apply = jax.jit(lambda x: setup.model.apply(variables, x))
    outputs = []
    for view in range(offsets.shape[1] + 1):
        by = offsets[:, view - 1] if view else np.zeros_like(offsets[:, 0])
        by = by if protocol == "fourier" else by.astype(int)
        logits, features = apply(move(pixels, by))
        outputs.append((np.asarray(logits), np.asarray(features["gap"])))
    logits, latent = (np.stack(part, axis=1) for part in zip(*outputs, strict=True))
    return split.labels, logits, latent


@pytest.mark.parametrize("protocol", slow_but_first(PROTOCOLS, quick=2))
@pytest.mark.parametrize("grid", [False, True], ids=["pairs", "grid"])
def test_every_protocol_is_what_a_loop_over_views_counts(protocol, grid):
    # 21 images over 8 devices: the last batch is partly padding.
    options = {"protocols": (protocol,), "num_pairs": 0 if grid else 3, "grid_step": 2}
    setup, variables = setup_of(consistency=options, probe={"enabled": False})
    offsets = (
        np.broadcast_to(views.grid_offsets(bounds_of(setup, protocol), protocol, 2), (21, 9, 2))[
            :, :9
        ]
        if grid and protocol != "fourier"
        else None
    )
    if grid and protocol == "fourier":
        offsets = np.broadcast_to(
            views.grid_offsets(bounds_of(setup, protocol), protocol, 2), (21, 25, 2)
        )
    if not grid:
        offsets = views.draw_offsets(bounds_of(setup, protocol), protocol, np.arange(21), 6)
    labels, logits, latent = answers_by_hand(setup, variables, protocol, offsets)
    answers = logits.argmax(-1)
    count = offsets.shape[1]
    if grid:
        pairs = [(i, j) for i in range(count) for j in range(count) if i != j]
    else:
        pairs = [p for i in range(0, count, 2) for p in ((i, i + 1), (i + 1, i))]
    expected = reference.consistency(answers[:, 1:], answers[:, 0], labels, pairs)
    found = totals(consistency.measure(setup, invariance.stimulus(setup), variables))
    for name, value in expected.items():
        assert found[(protocol, name)] == pytest.approx(value, abs=1e-6), name
    gaps = np.linalg.norm(latent[:, 1:] - latent[:, :1], axis=-1).mean()
    others = [
        np.sum((latent[i, 0] - latent[j, 0]) ** 2) for i in range(21) for j in range(21) if i != j
    ]
    assert found[(protocol, "latent_distance")] == pytest.approx(
        gaps / np.sqrt(np.mean(others)), rel=1e-3
    )
    distance = np.ceil(np.abs(offsets).max(-1))
    for ring in np.unique(distance[distance > 0]):
        agree = (answers[:, 1:] == answers[:, :1])[distance == ring].mean()
        assert found[(protocol, f"agreement at {int(ring)} px")] == pytest.approx(agree, abs=1e-6)
    # There is something to measure: not all answers agree.
    assert 0.0 < found[(protocol, "consistency")] < 1.0


def test_settings_are_chosen_on_validation_images_and_the_notes_say_so():
    setup, variables = setup_of(consistency={"split": "val"})
    data = setup.dataset
    stimulus = invariance.stimulus(setup)
    # As if validation were the test split of a set that has no other.
    test = dataclasses.replace(setup.config.consistency, split="test")
    swapped = dataclasses.replace(
        setup,
        config=dataclasses.replace(setup.config, consistency=test),
        dataset=dataclasses.replace(data, test=data.val, val=data.test),
    )
    found, expected = (
        totals(consistency.measure(s, stimulus, variables)) for s in (setup, swapped)
    )
    assert found == expected
    assert any("those of validation" in note for note in consistency.caveats(setup.config))
    assert not any("those of validation" in note for note in consistency.caveats(swapped.config))


def test_offsets_are_inclusive_on_both_sides_and_the_same_for_every_seed():
    setup, _ = setup_of(consistency={"max_shift": 2, "crop": 13})
    other = dataclasses.replace(setup, config=dataclasses.replace(setup.config, seed=9))
    index = np.arange(300)
    for protocol in PROTOCOLS:
        drawn_offsets = views.draw_offsets(bounds_of(setup, protocol), protocol, index, 4)
        np.testing.assert_array_equal(
            drawn_offsets, views.draw_offsets(bounds_of(other, protocol), protocol, index, 4)
        )
        # Of 16 pixels, crops of 13 have corners 0..3 and the centre at 1.
        expected = (-2, 1) if protocol == "crop" else (-2, 2)
        assert (drawn_offsets.min(), drawn_offsets.max()) == expected
        fraction = drawn_offsets % 1 != 0
        assert fraction.any() == (protocol == "fourier")
        assert (drawn_offsets[:, 0] != drawn_offsets[:, 1]).any()
        assert (drawn_offsets[0] != drawn_offsets[1]).any()


def test_views_of_an_image_that_do_not_fit_a_pass_are_run_in_several():
    options = {"protocols": ("circular", "zeros"), "num_pairs": 3}
    setup, variables = setup_of(consistency=options | {"batch_size": 512})
    small, _ = setup_of(consistency=options | {"batch_size": 5})
    one, several = (
        totals(consistency.measure(s, invariance.stimulus(s), variables)) for s in (setup, small)
    )
    assert one.keys() == several.keys()
    for key, value in one.items():
        assert several[key] == pytest.approx(value, abs=1e-4), key


def test_a_circular_network_is_fully_consistent_at_its_stride_and_says_when_it_is_not():
    setup, _ = setup_of(model={"padding": "circular"})
    stride = setup.model.backbone.total_stride
    options = {
        "protocols": ("circular",),
        "max_shift": stride,
        "num_pairs": 0,
        "grid_step": stride,
    }
    setup, variables = setup_of(model={"padding": "circular"}, consistency=options)
    assert 2 * stride <= setup.input_shape[1]
    found = totals(consistency.measure(setup, invariance.stimulus(setup), variables))
    assert found[("circular", "consistency")] == 1.0
    assert found[("circular", "latent_distance")] < 1e-5
    assert found[("circular", "worst_case_accuracy")] == found[("circular", "accuracy")]
    assert not any("not guaranteed" in note for note in consistency.caveats(setup.config))

    zeros, variables = setup_of(consistency=options)
    found = totals(consistency.measure(zeros, invariance.stimulus(zeros), variables))
    assert found[("circular", "latent_distance")] > 1e-3
    (note,) = [n for n in consistency.caveats(zeros.config) if "not guaranteed" in n]
    assert "pads with 'zeros'" in note


def test_a_position_network_is_asked_on_canvases_with_the_image_in_the_middle(tmp_path):
    config = tiny(
        train={"steps": 3},
        probe={"enabled": False},
        consistency={"enabled": True, "protocols": ("zeros",), "num_images": 8, "bootstrap": 20},
    )
    setup = position.prepare(config)
    stimulus = position.stimulus(setup)
    images = setup.dataset.test.images[:2]
    images = ops.normalise(images, setup.dataset.mean, setup.dataset.std)
    still = np.asarray(stimulus.make(images))
    assert still.shape == (2, 24, 24, 1)
    outside = still.copy()
    outside[:, 8:16, 8:16] = 0
    assert not outside.any()
    assert np.ptp(still[:, 8:16, 8:16]) > 1
    np.testing.assert_array_equal(stimulus.labels(np.array([5, 7])), [4, 4])
    result = run(config, tmp_path)
    assert {m.arm for m in result.measurements} == {"GAPNet"}
    assert len(result.rows) == 1
    # What it answers in the middle cell is also what the exhaustive evaluation finds there.
    named = {m.quantity: m.value for m in result.measurements}
    assert "consistency" in named


def test_a_regression_predicts_held_out_images_as_a_loop_does():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4)).astype(np.float32)
    targets = x @ rng.normal(size=(4, 2)) + 0.1 * rng.normal(size=(60, 2))
    fold = np.repeat(np.arange(20) % 4, 3)
    found = probe.cross_validate_regression(
        jnp.asarray(x), jnp.asarray(targets, jnp.float32), jnp.asarray(fold), num_folds=4
    )
    for k in range(4):
        picking, fitting = fold == (k + 1) % 4, (fold != k) & (fold != (k + 1) % 4)
        best = None
        for strength in probe.STRENGTHS:
            z = (x - x[fitting].mean(0)) / x[fitting].std(0)
            offset = targets[fitting].mean(0)
            gram = z[fitting].T @ z[fitting] / fitting.sum() + strength * np.eye(4)
            cross = z[fitting].T @ (targets[fitting] - offset) / fitting.sum()
            predicted = z @ np.linalg.solve(gram, cross) + offset
            error = ((predicted - targets)[picking] ** 2).sum()
            if best is None or error < best[0]:
                best = error, predicted
        np.testing.assert_allclose(np.asarray(found)[fold == k], best[1][fold == k], atol=1e-3)
    with pytest.raises(ValueError, match="`num_folds` must be at least 3"):
        probe.cross_validate_regression(x, targets, fold, num_folds=2)


class Seer:
    """A network whose latent holds the shift of its input, or nothing at all."""

    def __init__(self, sees):
        self.sees = sees

    def apply(self, variables, x):
        line = jnp.arange(float(x.shape[1]))[None]
        weight = x.sum(-1) - x.sum(-1).min(axis=(1, 2), keepdims=True) + 1e-3
        rows = (weight.sum(2) * line).sum(1) / weight.sum((1, 2))
        columns = (weight.sum(1) * line).sum(1) / weight.sum((1, 2))
        latent = jnp.stack([rows, columns, x.mean((1, 2, 3))], axis=1)
        return jnp.zeros((len(x), 10)), {"gap": latent if self.sees else 0 * latent + 1.0}


@pytest.mark.parametrize("sees", [True, False])
def test_the_shift_is_read_where_it_is_and_not_where_it_is_not(sees):
    setup, _ = setup_of(consistency={"protocols": ("zeros", "crop"), "max_shift": 2})
    # One bright dot in every image, so that its place is the shift and nothing else.
    test = setup.dataset.test
    dots = np.zeros_like(test.images)
    dots[:, 7:9, 7:9] = 255
    dataset = dataclasses.replace(setup.dataset, test=ArraySplit(dots, test.labels))
    setup = dataclasses.replace(setup, create_model=lambda *_: Seer(sees), dataset=dataset)
    for tally in decoding.shift_tallies(setup, invariance.stimulus(setup), {}).values():
        (value,) = tally.per_seed
        assert tally.sums.shape == (24,)
        assert (value > 0.8) if sees else (-0.1 < value < 0.02), value


@pytest.mark.slow
def test_the_cell_is_that_of_the_selected_probe_of_the_latent():
    setup, variables = setup_of(probe={"kinds": ("ridge",), "stages": ("gap", "stage1")})
    probes, scores = probing.measure_probes(setup, variables, "x", batch_size=64, bootstrap=20)
    tallies = decoding.cell_tally(setup, probes, scores)
    (wanted,) = [
        p
        for p in probes
        if (p.stage, p.input, p.probe, p.target) == ("gap", "latent", "selected", "cell")
    ]
    (tally,) = tallies.values()
    assert float(tally.per_seed[0]) == pytest.approx(wanted.accuracy)
    assert tally.chance == pytest.approx(1 / 9)


def test_untrained_networks_are_probed_beside_with_their_seeds():
    setup, variables = setup_of(probe={"untrained": 2})
    options = {"batch_size": 64, "bootstrap": 20}
    probes, scores = probing.measure_probes(setup, variables, "x", **options)
    assert [p.network for p in probes] == sorted((p.network for p in probes), reverse=True)
    assert {p.network: p.num_seeds for p in probes} == {"x": 1, "untrained x": 2}
    alone = dataclasses.replace(setup.config.probe, untrained=0)
    alone = dataclasses.replace(setup, config=dataclasses.replace(setup.config, probe=alone))
    own, own_scores = probing.measure_probes(alone, variables, "x", **options)
    assert own == probes[: len(own)]
    for seed in (0, 1):
        fresh = setup.untrained(1000 + seed)
        _, found = probing.measure_probes(alone, fresh, "y", **options)
        for number in range(len(own)):
            twin = scores[f"probe{len(own) + number}"][seed]
            np.testing.assert_array_equal(found[f"probe{number}"][0], twin)
    assert any((own_scores[f"probe{i}"] != scores[f"probe{len(own) + i}"]).any() for i in range(9))


def test_stacked_tallies_keep_seeds_apart_and_come_back_from_arrays():
    tallies = [
        {("zeros", "accuracy"): measured.Tally(np.array([s, 1.0]), np.array([1.0, 1.0]))}
        for s in (0.0, 1.0)
    ]
    joined = measured.stack(tallies)[("zeros", "accuracy")]
    np.testing.assert_array_equal(joined.per_seed, [0.5, 1.0])
    (m,) = measured.summarise("a", tallies[0], bootstrap=50)
    assert (m.value, m.num_images, m.num_answers, m.num_seeds) == (0.5, 2, 2, 1)
    back = measured.from_arrays(measured.to_arrays(tallies[0]), [m])
    np.testing.assert_array_equal(back[("zeros", "accuracy")].sums, [0.0, 1.0])
