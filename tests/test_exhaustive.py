"""The exact evaluation and the probes, against plain loops and made-up answers."""

import dataclasses
import functools
import shutil
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpool_jax import ops
from gpool_jax.errors import InputError
from gpool_jax.experiments import driver, programs, training
from gpool_jax.experiments.measures import held_out, probing
from gpool_jax.experiments.position import exhaustive
from gpool_jax.experiments.position import training as position
from gpool_jax.experiments.position.rows import make_maps, make_rows
from gpool_jax.report import read_result
from gpool_jax.report.result import CONTROLS
from tests.helpers import TINY_COMPARISON, slow_but_first, tiny


def prepared(**sections):
    setup = position.prepare(tiny(**sections))
    return setup, setup.init_state().variables


@functools.partial(jax.jit, static_argnums=0)
def apply(model, variables, canvas, permutation):
    return model.apply(variables, canvas, permutation=permutation)


def answer_one(setup, variables, image, cell, permutation=None):
    """One canvas, placed by hand, through the network by itself."""
    n, (height, width) = setup.config.n, image.shape[:2]
    pixels = (image / 255.0 - np.array(setup.dataset.mean)) / np.array(setup.dataset.std)
    canvas = np.zeros((1, n * height, n * width, image.shape[-1]), np.float32)
    row, column = divmod(cell, n)
    canvas[0, row * height : (row + 1) * height, column * width : (column + 1) * width] = pixels
    logits, _ = apply(setup.model, variables, canvas, permutation)
    return int(logits[0].argmax())


@pytest.mark.parametrize("task", ["location", "recognition"])
def test_every_image_in_every_cell_is_answered_as_one_by_one(task):
    # 21 images over 8 devices: the last batch is partly padding.
    setup, variables = prepared(
        task=task, model={"head": "linear"}, eval={"num_images": 21, "batch_size": 9}
    )
    answers = exhaustive.make_evaluate(setup)(variables)
    split = held_out.draw(setup, setup.config.eval.num_images)
    assert answers.kept.shape == (21, 9)
    for i in (0, 8, 20):
        for cell in (0, 4, 8):
            assert answers.kept[i, cell] == answer_one(setup, variables, split.images[i], cell)
            truth = cell if task == "location" else split.labels[i]
            assert answers.labels[i, cell] == truth


@pytest.mark.parametrize(
    "model", slow_but_first([{"head": "permutenet"}, {"permute_at": "stage3"}])
)
def test_answers_through_permutations_are_those_of_the_network_run_again(model):
    setup, variables = prepared(model=model, eval={"num_images": 8, "permutations": 3})
    answers = exhaustive.make_evaluate(setup)(variables)
    split = held_out.draw(setup, setup.config.eval.num_images)
    assert answers.permuted.shape == (8, 9, 3)
    seen = set()
    for draw in range(3):
        key = jax.random.key(setup.config.seed ^ exhaustive._TEST_KEY)
        each = ops.draw_permutations(
            jax.random.fold_in(key, draw), jnp.arange(8), setup.model.num_permutable
        )
        seen.add(bytes(np.asarray(each)))
        for i in (0, 5):
            found = answer_one(setup, variables, split.images[i], 4, each[i])
            assert answers.permuted[i, 4, draw] == found
    assert len(seen) == 3


@pytest.mark.parametrize("head", ["gapnet", "permutenet"])
def test_the_references_test_draws_a_cell_and_a_permutation_for_a_batch(head):
    setup, variables = prepared(
        model={"head": head}, eval={"num_images": 16, "reference": True, "batch_size": 18}
    )
    answers = exhaustive.make_evaluate(setup)(variables)
    split = held_out.draw(setup, 16)
    cells = answers.reference[..., 0]
    assert answers.reference.shape == (16, 9, 2)
    assert set(cells.ravel()) == set(range(9))
    assert len({tuple(row) for row in cells}) > 10
    row, _ = make_rows(setup, answers, "best", 7)[-1]
    right = answers.reference[..., 1] == cells
    assert row.arm.endswith(", tested as the reference")
    assert (row.accuracy, row.num_predictions) == (pytest.approx(right.mean()), 16 * 9)
    # Two images to a device, and all in the first batch of the reference's.
    for number in (0, 5):
        key = jax.random.key(setup.config.seed ^ exhaustive._REFERENCE_KEY)
        key = jax.random.fold_in(key, number)
        permutation = None
        if head == "permutenet":
            key = jax.random.fold_in(key, 0)
            permutation = ops.draw_permutation(key, setup.model.num_permutable)
        for i in (4, 5):
            cell, answer = answers.reference[i, number]
            assert answer == answer_one(setup, variables, split.images[i], cell, permutation)


def test_sums_of_the_latent_leave_the_padding_out():
    setup, variables = prepared(eval={"num_images": 21, "batch_size": 9})
    answers = exhaustive.make_evaluate(setup)(variables)
    pooled = probing._pool(
        setup, variables, held_out.draw(setup, setup.config.eval.num_images), ("gap",), 9
    )["gap"]
    assert pooled.shape[0] == 21
    np.testing.assert_allclose(answers.latent_sum, pooled.sum(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(answers.latent_square_sum, (pooled**2).sum(0), rtol=1e-4, atol=1e-5)


def test_a_gapnet_has_no_permuted_arm_and_a_fixed_permutation_is_always_the_same():
    setup, variables = prepared()
    assert exhaustive.make_evaluate(setup)(variables).permuted is None
    setup, variables = prepared(model={"head": "permutenet", "permutation": "fixed"})
    permuted = exhaustive.make_evaluate(setup)(variables).permuted
    assert (permuted[..., 0] == permuted[..., 1]).all()


def hand_made_answers(kept, permuted=None):
    cells = kept.shape[1]
    labels = np.broadcast_to(np.arange(cells), kept.shape)
    zeros = np.zeros((cells, 3))
    return exhaustive.Predictions(labels, kept, permuted, zeros, zeros)


def test_rows_and_maps_count_right_answers():
    setup, _ = prepared(n=2, model={"head": "linear"})
    kept = np.array([[0, 1, 2, 3], [0, 1, 2, 0], [0, 1, 3, 3], [0, 1, 2, 3]])
    permuted = np.stack([kept, np.zeros_like(kept)], axis=-1)
    rows = [r for r, _ in make_rows(setup, hand_made_answers(kept, permuted), "best", 7)]
    assert [r.arm for r in rows] == ["linear head", "linear head, permuted at test"]
    assert [r.accuracy for r in rows] == [14 / 16, (14 + 4) / 32]
    assert [r.num_predictions for r in rows] == [16, 32]
    assert rows[0].chance == 0.25
    assert rows[0].low < rows[0].accuracy < rows[0].high <= 1
    maps = make_maps(setup, hand_made_answers(kept, permuted))
    np.testing.assert_allclose(maps["per_cell"], [[1, 1], [0.75, 0.75]])
    np.testing.assert_allclose(maps["confusion"][3], [0.25, 0, 0, 0.75])


def test_the_headline_of_a_permutenet_is_the_permuted_answer():
    setup, _ = prepared(n=2, model={"head": "permutenet"})
    kept = np.tile(np.arange(4), (5, 1))
    permuted = np.zeros((5, 4, 2), int)
    rows = [r for r, _ in make_rows(setup, hand_made_answers(kept, permuted), "best", 7)]
    assert [(r.arm, r.accuracy) for r in rows] == [
        ("PermuteNet", 0.25),
        ("PermuteNet, order kept at test", 1.0),
    ]


@pytest.mark.slow
def test_probes_tell_order_from_content_on_made_up_latents(monkeypatch):
    """Cell in the order of two channels, class in their size: sorting keeps only the class."""
    setup, variables = prepared(n=2, probe={"num_images": 60, "folds": 5})

    def pool(setup, variables, split, stages, batch_size):
        size = 1.0 + split.labels[:, None, None].astype(np.float32)
        column = np.arange(4) % 2
        latent = np.stack([1.0 - column, column], axis=-1)[None] * size
        rng = np.random.default_rng(0)
        return {"gap": (latent + 0.01 * rng.normal(size=latent.shape)).astype(np.float32)}

    monkeypatch.setattr(probing, "_pool", pool)
    setup = dataclasses.replace(
        setup,
        config=dataclasses.replace(
            setup.config, probe=dataclasses.replace(setup.config.probe, kinds=("mlp",))
        ),
    )
    probes, _ = probing.measure_probes(setup, variables, "x", batch_size=64, bootstrap=2)
    found = {(p.input, p.target): p.accuracy for p in probes}
    assert found[("latent", "column")] > 0.95
    assert abs(found[("permuted latent", "column")] - 0.5) < 0.15
    assert abs(found[("sorted latent", "column")] - 0.5) < 0.15
    assert abs(found[("latent", "row")] - 0.5) < 0.15
    assert found[("sorted latent", "class")] > 0.6
    # The controls: of the cell alone, and at chance where there is nothing to read.
    assert {target for name, target in found if name in CONTROLS} == {"cell"}
    assert abs(found[("labels shuffled", "cell")] - 0.25) < 0.1


def test_stages_are_named_and_all_is_spelt_out():
    setup, _ = prepared(probe={"stages": ("all",)})
    assert probing.resolve_stages(setup) == ("stem", "stage1", "stage2", "stage3", "stage4", "gap")
    setup, _ = prepared(probe={"stages": ("stage7",)})
    with pytest.raises(InputError, match=r"`probe.stages` must be among .*stem.*; got 'stage7'"):
        probing.resolve_stages(setup)


class Lowered(list):
    """One entry for each program lowered in the block, eager operations included."""

    def __enter__(self):
        jax.monitoring.register_event_duration_secs_listener(self._listen)
        return self

    def __exit__(self, *error):
        jax.monitoring.unregister_event_duration_listener(self._listen)

    def _listen(self, event, seconds, **_facts):
        if event == "/jax/core/compile/jaxpr_to_mlir_module_duration":
            self.append(seconds)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A comparison of two seeds, in a process that has run one of another seed."""
    folder = tmp_path_factory.mktemp("compared")
    probe = dataclasses.replace(TINY_COMPARISON.probe, untrained=1)
    config = dataclasses.replace(TINY_COMPARISON, probe=probe, num_seeds=2)
    one = dataclasses.replace(config, seed=5, num_seeds=1)
    programs.forget()
    facts = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probing, "_untrained", {})  # of other tests
        spies = []
        for name in ("make_pool_batch", "_fit_all"):
            spies.append(mock.Mock(wraps=getattr(probing, name)))
            patch.setattr(probing, name, spies[-1])
        for some, name in ((one, "one"), (config, "run")):
            with Lowered() as lowered:
                result = driver.run(some, folder / name, warn=pytest.fail)
            facts.append((len(lowered), *(spy.call_count for spy in spies)))
    return config, folder / "run", result, facts


@pytest.mark.slow
def test_a_comparison_of_several_seeds_compiles_what_one_seed_compiles(compared):
    *_, ((lowered, pooled, fitted), (lowered_after, pooled_after, fitted_after)) = compared
    # Two heads have one encoder, and one untrained network.
    assert (pooled, fitted) == (1, 3)
    assert lowered >= 7  # step, validation and evaluation of both, and the features
    assert lowered_after == 0
    assert (pooled_after, fitted_after) == (1, 9)


@pytest.mark.slow
def test_a_comparison_puts_heads_tasks_seeds_and_lengths_in_one_table(compared):
    _, folder, result, _ = compared
    arms = {(r.arm, r.checkpoint) for r in result.rows}
    names = ("linear head", "linear head, permuted at test", "PermuteNet")
    assert arms >= {(name, c) for name in names for c in ("step 3", "step 6", "best")}
    for row in result.rows:
        assert (row.num_seeds, len(row.per_seed), len(row.steps)) == (2, 2, 2)
        assert row.accuracy == pytest.approx(np.mean(row.per_seed))
        assert row.low <= row.accuracy <= row.high
    first = read_result(folder / "location-linear-seed0").rows
    second = read_result(folder / "location-linear-seed1").rows
    row = next(r for r in result.rows if (r.arm, r.checkpoint) == ("linear head", "step 6"))
    ours = [
        next(r for r in rows if (r.arm, r.checkpoint) == ("linear head", "step 6"))
        for rows in (first, second)
    ]
    assert row.per_seed == pytest.approx([r.accuracy for r in ours])
    assert {p.num_seeds for p in result.probes} == {2}


@pytest.mark.slow
def test_a_finished_comparison_is_not_trained_again(compared, monkeypatch):
    config, folder, result, _ = compared
    monkeypatch.setattr(training, "train", lambda *a, **k: pytest.fail("trained again"))
    again = driver.run(config, folder, warn=pytest.fail)
    assert again.rows == result.rows


@pytest.mark.slow
def test_a_comparison_can_be_measured_again_otherwise(compared, tmp_path):
    config, folder, *_ = compared
    other = dataclasses.replace(config, eval=dataclasses.replace(config.eval, num_images=12))
    # What is wrong with a run is said of the comparison, too.
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    log = copy / "location-linear-seed1" / "metrics.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[1:]))
    said = []
    result = driver.evaluate(config, other, copy, tmp_path / "out", warn=said.append)
    assert {row.num_images for row in result.rows} == {12}
    assert {row.num_images for row in read_result(copy).rows} == {24}
    (note,) = [note for note in result.notes if "metrics.jsonl is not as it was" in note]
    assert note.startswith("location-linear-seed1: ")
    changed = dataclasses.replace(config, seed=5)
    with pytest.raises(InputError, match="seed: 0 -> 5"):
        driver.evaluate(config, changed, folder, tmp_path / "out", warn=pytest.fail)
