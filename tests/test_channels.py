"""Rank and attack tiny networks end to end: exact masks, files, splits, and bad input."""

import dataclasses
import json
import types
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpool_jax import ops
from gpool_jax.config import AttackConfig
from gpool_jax.config.measurements import Method
from gpool_jax.errors import InputError, RunError
from gpool_jax.experiments import driver, targets, workdir
from gpool_jax.experiments.channels import (
    attack,
    files,
    images,
    plan,
    rank,
    refit,
    sweep,
)
from gpool_jax.experiments.channels.files import Ranking
from gpool_jax.experiments.channels.subject import Target, gated, measured_boxes
from gpool_jax.experiments.experiment import Measured
from gpool_jax.experiments.position import training as position
from gpool_jax.experiments.segmentation import measure as segmentation_measure
from gpool_jax.experiments.segmentation import training as segmentation
from gpool_jax.report import Result, read_result
from tests.helpers import pixel_dataset, tiny, tiny_pixels

METHODS = typing.get_args(Method)
RANK = {"regions": ("overall", "left", "right"), "num_images": 8, "grid": 2, "bootstrap": 10}
ATTACK = {
    "random_draws": 3,
    "matched_draws": 2,
    "bootstrap": 20,
    "num_images": 8,
    "overlays": 1,
    "caliper": None,
}


def _target(setup):
    variables = setup.init_state().variables
    # Kernels of He's size: PyTorch's default lets an untrained network fall silent, and
    # what is removed from a silent network moves no answer.
    params = jax.tree.map(lambda p: p * 6**0.5 if p.ndim > 1 else p, variables["params"])
    variables = {**variables, "params": params}
    return Target(targets.make_subject(setup), variables, ["A note."])


@pytest.fixture(scope="module")
def pixels():
    return _target(
        segmentation.prepare(tiny_pixels(rank=RANK, attack=ATTACK), dataset=pixel_dataset())
    )


@pytest.fixture(scope="module")
def canvas():
    config = tiny(rank=RANK, attack=ATTACK, n=2, model={"width": 1 / 16})
    return _target(position.prepare(config))


@pytest.fixture(params=[pytest.param("pixels", marks=pytest.mark.slow), "canvas"])
def target(request):
    return request.getfixturevalue(request.param)


def _images(target, names=("test",), count=8):
    return images.images_of(target.subject.setup, names, count, 4)


def _run_with_channels_zeroed(target, inputs, keep, fill):
    """The same counts by the plainest way: hook the map inside a whole pass of the network."""
    subject, setup = target.subject, target.subject.setup
    x = subject.stimulus(inputs["images"])
    _, features = setup.model.apply(target.variables, x)
    altered = np.array(features[subject.feature])
    altered[..., ~keep] = fill[~keep]
    altered = {**features, subject.feature: jnp.asarray(altered)}
    return subject.count(target.variables, altered, inputs["labels"])


def test_a_sweep_counts_what_running_the_network_again_would(target):
    channels = _channels(target)
    order = np.random.default_rng(0).permutation(channels)
    rankings = [Ranking("one", "left", order), Ranking("two", "overall", order[::-1])]
    laid = plan.make_plan(
        AttackConfig(counts=(1, 3, channels), random_draws=2, matched_draws=1),
        rankings,
        _activation(target),
        seed=0,
    )
    swept = sweep.sweep(
        target.subject,
        target.variables,
        _images(target),
        laid,
        _activation(target)[0],
        masks_per_pass=5,
    )
    inputs = _images(target).get(np.arange(8))
    mean = _activation(target)[0].astype(np.float32)
    for row in np.random.default_rng(1).choice(len(laid.keep), 6, replace=False):
        fill = mean if laid.use_mean[row] else np.zeros_like(mean)
        expected = _run_with_channels_zeroed(target, inputs, laid.keep[row], fill)
        for name, counts in swept.counts.items():
            np.testing.assert_array_equal(counts[row], expected[name])
    for counts in swept.counts.values():
        assert counts.shape[:2] == (len(laid.keep), 8)
        assert (counts != counts[:1]).any()  # what is removed does move answers


def _activation(target):
    rng = np.random.default_rng(2)
    channels = _channels(target)
    return rng.random(channels) + 0.1, rng.random(channels) + 0.1


def _channels(target):
    setup = target.subject.setup
    x = jax.ShapeDtypeStruct(setup.input_shape, jnp.float32)
    _, features = jax.eval_shape(setup.model.apply, target.variables, x)
    return features[target.subject.feature].shape[-1]


def test_ablated_logits_are_those_of_a_whole_pass_with_the_channels_zeroed(pixels):
    subject, setup = pixels.subject, pixels.subject.setup
    x = subject.stimulus(_images(pixels).get(np.arange(2))["images"])
    keep = np.arange(_channels(pixels)) % 3 > 0

    class Zeroed(type(setup.model.backbone)):
        """The encoder, with channels of its last map put to zero in the middle of the pass."""

        def __call__(self, x, **options):
            found = super().__call__(x, **options)
            return found | {"pre_gap": found["pre_gap"] * keep.reshape(1, 1, 1, -1)}

    backbone = setup.model.backbone
    fields = {
        f.name: getattr(backbone, f.name)
        for f in dataclasses.fields(backbone)
        if f.name not in ("parent", "name")
    }
    whole = setup.model.clone(backbone=Zeroed(**fields))
    expected, _ = whole.apply(pixels.variables, x)
    _, features = setup.model.apply(pixels.variables, x)
    altered = {**features, "pre_gap": ops.ablate(features["pre_gap"], keep)}
    got, _ = setup.model.apply(
        pixels.variables, altered, start="pre_gap", size=x.shape[1:3], method="resume"
    )
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert (
        np.abs(np.asarray(got) - np.asarray(setup.model.apply(pixels.variables, x)[0])).max() > 1e-3
    )


@pytest.mark.slow
def test_counts_do_not_depend_on_chunks_and_batches(target):
    """One image a device and pass, or two; masks two by two, or all at once."""
    laid = plan.make_plan(
        AttackConfig(counts=(2,), random_draws=3, matched_draws=0), [], _activation(target), seed=0
    )
    found = [
        sweep.sweep(
            target.subject,
            target.variables,
            images.images_of(target.subject.setup, ("train",), 19, batch),
            laid,
            _activation(target)[0],
            masks_per_pass=masks,
        ).counts
        for batch, masks in ((1, 2), (2, 100))
    ]
    for name in found[0]:
        assert found[0][name].shape[1] == 19
        np.testing.assert_array_equal(found[0][name], found[1][name])
        assert (np.ptp(found[0][name], axis=1) > 0).any()  # images differ


def test_the_plan_holds_every_arm_and_no_mask_twice():
    channels, activation = 16, (np.ones(16), np.ones(16))
    order = np.arange(16)
    laid = plan.make_plan(
        AttackConfig(counts=(2, 8, 12, 16), random_draws=3, matched_draws=2),
        [Ranking("gate", "left", order)],
        activation,
        seed=0,
    )
    assert laid.keep[0].all()
    rows = np.concatenate([laid.keep, laid.use_mean[:, None]], axis=1)
    assert len(np.unique(rows, axis=0)) == len(rows)
    for arm, row in zip(laid.arms, laid.row, strict=True):
        kept = laid.keep[row].sum()
        assert kept == (arm.count if arm.action == "keep" else channels - arm.count)
        assert laid.use_mean[row] == (arm.action == "mean")
        if arm.ranking == "gate":
            first = laid.keep[row][order[: arm.count]]
            assert first.all() if arm.action == "keep" else not first.any()
        if arm.ranking.startswith("matched"):
            assert arm.count <= 8
            assert laid.keep[row][order[: arm.count]].all()
    number = {"gate": 4 * 3, "random": 4 * 3 * 3, "matched to gate": 2 * 2 * 2}
    for name, expected in number.items():
        assert sum(arm.ranking == name for arm in laid.arms) == expected


def test_default_counts_run_from_few_to_all():
    counts, table = plan.resolve_counts(AttackConfig(), 2048)
    assert counts == (32, 64, 128, 256, 512, 1024, 1536, 2048)
    assert table == 256
    assert plan.resolve_counts(AttackConfig(counts=(9, 3), table_count=5), 10) == ((3, 5, 9), 5)
    for bad in (AttackConfig(counts=(11,)), AttackConfig(table_count=11)):
        with pytest.raises(InputError, match=r"must be in \[1, 10\], the channels of the feature"):
            plan.resolve_counts(bad, 10)


def test_every_method_scores_every_region_it_can(target):
    ranked = rank.score_channels(target.subject, target.variables, _images(target), METHODS)
    expected = {(m, r) for m in METHODS for r in RANK["regions"] if m != "class"}
    assert set(ranked.scores) == expected | {("class", "overall")}
    channels = _channels(target)
    for (method, _), found in ranked.scores.items():
        assert found.mean.shape == (channels,)
        assert np.isfinite(found.mean).all()
        if method not in ("random", "class"):
            assert found.per_image.shape == (8, channels)
        assert np.ptp(found.mean) > 0
    assert any("completeness gap" in note for note in ranked.notes)


def test_gate_scores_are_the_rise_of_the_loss_when_a_channel_is_removed(target):
    """To first order: so close one channel a little, and run the network again."""
    chosen = _images(target)
    ranked = rank.score_channels(target.subject, target.variables, chosen, ("gate",))
    inputs = chosen.get(np.arange(8))
    subject, channels = target.subject, _channels(target)
    features = subject.setup.model.apply(target.variables, subject.stimulus(inputs["images"]))[1]
    names = measured_boxes(subject.boxes)

    @jax.jit
    def losses(gate):
        closed = gated(subject, features, gate)
        values, weights = subject.region_losses(target.variables, closed, inputs["labels"])
        return (values * weights).sum(axis=1) / weights.sum(axis=1)

    step, ones = 0.02, np.ones((8, channels), np.float32)
    for channel in (0, channels - 1):
        shut, open_ = ones.copy(), ones.copy()
        shut[:, channel] -= step
        open_[:, channel] += step
        rise = dict(zip(names, (losses(shut) - losses(open_)) / (2 * step), strict=True))
        overall = ranked.scores["gate", "overall"].mean[channel]
        left = ranked.scores["gate", "left"].mean[channel]
        assert overall == pytest.approx(float(rise["overall"]), rel=0.05, abs=2e-3)
        expected = float(rise["left"] - rise["outside left"])
        assert left == pytest.approx(expected, rel=0.05, abs=2e-3)


def test_one_list_under_two_names_and_gradients_apart_are_said():
    order, rising = np.arange(6), np.arange(6.0)
    shuffled = np.array([0.0, 3, 1, 5, 2, 4])
    rankings = [
        Ranking("gate", "left", order, rising),
        Ranking("gate", "right", order, -rising),
        Ranking("mean", "left", order, rising),
        Ranking("mean", "right", order, rising),
        Ranking("flip", "left", order, rising),
        Ranking("flip", "right", order, shuffled),
        Ranking("integrated", "left", order, -shuffled),
        Ranking("integrated", "right", order, -shuffled),
    ]
    notes = rank.describe(rank.compare(rankings, ()))
    ends, twice, apart = notes[0], notes[1], notes[-1]
    assert ends.startswith("One list, read from both ends: gate left and gate right (-1.00).")
    assert "rank.contrast inside" in ends
    assert "mean left and mean right (+1.00)" in twice
    assert "flip" not in ends + twice
    assert "disagree (rank correlation: left -" in apart
    assert "right" not in apart
    assert rank.describe(rank.compare(rankings[4:6], ())) == []


def test_what_a_method_cannot_tell_is_said_and_left_out(pixels):
    config = dataclasses.replace(
        pixels.subject.setup.config.rank, regions=("overall", "centre", "top")
    )
    setup = dataclasses.replace(
        pixels.subject.setup, config=dataclasses.replace(pixels.subject.setup.config, rank=config)
    )
    subject = targets.make_subject(setup)
    ranked = rank.score_channels(
        subject, pixels.variables, _images(pixels), ("flip", "translation")
    )
    assert ("flip", "centre") not in ranked.scores
    assert ("translation", "centre") not in ranked.scores
    assert {("flip", "top"), ("translation", "top")} <= set(ranked.scores)
    assert sum("centre" in note for note in ranked.notes) == 2


def test_an_image_without_labels_moves_no_gate_score(pixels):
    chosen = _images(pixels, count=8)
    with_one = rank.score_channels(pixels.subject, pixels.variables, chosen, ("gate",))
    data = pixel_dataset()
    labels = data.test.labels.copy()
    rows = (np.arange(8) * len(labels)) // 8
    labels[rows[3]] = 255
    setup = dataclasses.replace(
        pixels.subject.setup,
        dataset=dataclasses.replace(data, test=dataclasses.replace(data.test, labels=labels)),
    )
    subject = targets.make_subject(setup)
    chosen = images.images_of(setup, ("test",), 8, 4)
    without = rank.score_channels(subject, pixels.variables, chosen, ("gate",)).scores[
        "gate", "left"
    ]
    full = with_one.scores["gate", "left"]
    rest = np.arange(8) != 3
    np.testing.assert_allclose(without.mean, full.per_image[rest].mean(axis=0), atol=1e-6)


@pytest.mark.slow
def test_rank_and_attack_measure_and_write_nothing(target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ranked, attacked = rank.measure(target), attack.measure(target, [])
    assert not list(tmp_path.iterdir())
    _write_files(ranked.files, tmp_path)
    rankings = files.read_all((str(tmp_path),))
    assert {(r.method, r.region) for r in rankings} >= {("gate", "left"), ("flip", "overall")}
    for ranking in rankings:
        assert ranking.splits == ("train", "val")
        np.testing.assert_array_equal(ranking.order, ops.rank_channels(ranking.scores))
    assert {a.region for a in ranked.result.agreements} == {"", *RANK["regions"]}
    # An attack ranks in the same way, by its own methods.
    own = target.subject.setup.config.attack.methods
    assert {name.split("_")[1] for name in attacked.files} == set(own)
    assert attacked.files.items() <= ranked.files.items()
    # One class for a whole image cannot be laid over it.
    assert len(attacked.overlays) == (1 if target.subject.class_names else 0)
    _check_numbers(attacked.result)
    # What is measured is measured on the evaluation images, and on no others.
    inputs = _images(target).get(np.arange(8))
    channels = _channels(target)
    nothing = _run_with_channels_zeroed(target, inputs, np.ones(channels, bool), np.zeros(channels))
    name = target.subject.quantities[attacked.result.removals[0].quantity].counts
    assert attacked.arrays["masks"][0] == "none"
    np.testing.assert_array_equal(attacked.arrays[name][0], nothing[name])


@pytest.mark.slow
def test_the_predictions_of_a_picture_are_those_that_are_counted(pixels):
    measured = attack.measure(pixels, [])
    (overlay,) = measured.overlays
    # Each method's ranking, and one set of random channels.
    methods = (*AttackConfig().methods, "random")
    assert [title.split(",")[0] for title in overlay.answers] == ["nothing removed", *methods]
    counts = dict(zip(measured.arrays["masks"], measured.arrays["classes"], strict=True))
    for title, predicted in overlay.answers.items():
        name = "none"
        if title != "nothing removed":
            ranking, region, _ = title.split(", ")
            name = f"{ranking}, {region}, draw 0, zero"
        labelled = overlay.labels != 255
        hits = [((predicted == k) & (overlay.labels == k)).sum() for k in range(3)]
        answered = [((predicted == k) & labelled).sum() for k in range(3)]
        # The first image of the evaluation, the whole of it.
        np.testing.assert_array_equal(counts[name][0, 0, 0], hits)
        np.testing.assert_array_equal(counts[name][0, 0, 2], answered)


def test_writing_replaces_the_rankings_of_an_earlier_run_and_no_others(tmp_path):
    def write(name):
        measured = Measured(Result("tiny", {}), {"counts": np.arange(3)}, files={name: "new"})
        output = driver.Output(tmp_path, workdir.Owner("rank", "a run", "1"), pytest.fail)
        return driver.measure(tiny(), output, lambda: measured, further=further)

    further, mine = "", tmp_path / "ranking_mine_overall.json"
    mine.write_text("mine")
    write("ranking_gate_left.json")
    written = write("ranking_flip_left.json")
    assert read_result(tmp_path) == written
    assert written.environment["wall_seconds"] >= 0
    assert dataclasses.replace(written, environment={}) == Result("tiny", {})
    rankings = {path.name: path.read_text() for path in tmp_path.glob("ranking_*.json")}
    assert rankings == {"ranking_mine_overall.json": "mine", "ranking_flip_left.json": "new"}
    assert np.load(tmp_path / "per_image.npz")["counts"].tolist() == [0, 1, 2]
    assert "tiny" in (tmp_path / "report.html").read_text()
    # Where a command owns all names of a pattern, it begins only if it does.
    further = "ranking_*.json"
    with pytest.raises(InputError, match=r"ranking_mine_overall.json is not of an earlier gpool"):
        write("ranking_flip_left.json")
    mine.unlink()
    write("ranking_gate_left.json")
    assert [path.name for path in tmp_path.glob(further)] == ["ranking_gate_left.json"]


def test_a_command_that_ended_while_it_wrote_may_be_run_again(tmp_path, monkeypatch):
    measured = Measured(Result("tiny", {}), files={"ranking_flip_left.json": "new"})

    def write():
        output = driver.Output(tmp_path, workdir.Owner("rank", "a run", "1"), pytest.fail)
        return driver.measure(tiny(), output, lambda: measured, further="ranking_*.json")

    def full(*args, **options):
        raise RunError("no space")

    monkeypatch.setattr(driver, "write_report", full)
    with pytest.raises(RunError, match="no space"):
        write()
    assert (tmp_path / "ranking_flip_left.json").exists()
    monkeypatch.undo()
    write()
    assert (tmp_path / "report.html").exists()


def test_a_random_ranking_is_no_control(pixels):
    notes = []
    order = np.arange(_channels(pixels))
    rankings = [Ranking("random", "left", order), Ranking("gate", "left", order)]
    assert attack._without_random(rankings, notes) == rankings[1:]
    assert "Random rankings are left out" in notes[0]
    with pytest.raises(InputError, match="there is no ranking to attack with"):
        attack._without_random(rankings[:1], notes)


def test_a_region_without_labels_has_no_gate_ranking(pixels):
    data = pixel_dataset()
    labels = data.test.labels.copy()
    labels[:, :, :20] = 255  # all of the left half
    setup = dataclasses.replace(
        pixels.subject.setup,
        dataset=dataclasses.replace(data, test=dataclasses.replace(data.test, labels=labels)),
    )
    subject = targets.make_subject(setup)
    chosen = images.images_of(setup, ("test",), 8, 4)
    ranked = rank.score_channels(subject, pixels.variables, chosen, ("gate",))
    assert set(ranked.scores) == {("gate", "overall")}
    assert sum("it has no ranking gate" in note for note in ranked.notes) == 2


def _check_numbers(result):
    """Values, drops and selectivities fit together, with the controls beside them."""
    first = result.removals[0].quantity
    value = {
        (r.ranking, r.region, r.action, r.count, r.measured): r.value
        for r in result.removals
        if (r.quantity, r.measure) == (first, "value")
    }
    table = result.maps["table_count"]
    seen = set()
    for r in result.removals:
        if r.measure == "value" or r.quantity != first:
            continue
        key = (r.ranking, r.region, r.action, r.count)

        def drop(measured, key=key):
            return value["none", "overall", "none", 0, measured] - value[(*key, measured)]

        expected = drop(r.measured)
        if r.measure == "selectivity":
            expected -= drop(f"outside {r.measured}")
        if r.versus is None:
            assert r.value == pytest.approx(expected, abs=1e-9, nan_ok=True)
            assert r.low <= r.value + 1e-9 or r.num_draws > 1
        else:
            seen.add((r.measure, r.versus))
            assert r.count == table
    assert {("drop", "random"), ("selectivity", "matched to gate"), ("drop", "class")} <= seen


def _write_files(texts, folder):
    for name, text in texts.items():
        (folder / name).write_text(text)


def _write_ranking(ranking, folder, **options):
    texts = files.to_files([ranking], **options)
    _write_files(texts, folder)
    (name,) = texts
    return folder / name


def test_rankings_in_the_authors_format(tmp_path):
    ranking = Ranking("gate", "left", np.array([2, 0, 1]), np.array([0.5, -1.0, 2.0]), 7, ("val",))
    path = _write_ranking(ranking, tmp_path, authors_format=True)
    assert json.loads(path.read_text()) == {"left": [2, 0, 1]}
    path = path.rename(tmp_path / "right_ordered_signed_difference.json")
    read = files.read(path)
    # As published, the file for the right half says "left" inside.
    assert (read.region, read.order.tolist(), read.scores) == ("right", [2, 0, 1], None)
    own = files.read(_write_ranking(ranking, tmp_path))
    assert (own.method, own.region, own.num_images, own.splits) == ("gate", "left", 7, ("val",))
    np.testing.assert_array_equal(own.scores, ranking.scores)


@pytest.mark.data
def test_the_authors_rankings_are_read(data_dir):
    folder = data_dir.parent / "reference"
    found = [files.read(path) for path in sorted(folder.glob("*.json"))]
    assert {r.region for r in found} == {"overall", "left", "right"}
    assert all(len(r.order) == 2048 for r in found)
    left, right = (next(r.order for r in found if r.region == n) for n in ("left", "right"))
    # What the authors' two lists are known to have in common.
    assert ops.overlap_at(left, right, 100) == 0.19
    with pytest.raises(InputError, match="ranks 2048 channels; the network's feature has 128"):
        files.check_channels(found[0], 128)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[1, 2]", "must hold one list of channels"),
        ('{"a": [0, 1], "b": [1, 0]}', "it holds 'a', 'b'"),
        ('{"overall": [0, 1.5]}', "must hold whole numbers"),
        ('{"overall": [0, 1, 1]}', "names channel 1 twice"),
        ('{"overall": [0, 1, 3]}', "names channel 3 and ranks 3 channels"),
        ('{"overall": [0, 1], "method": "gate", "scores": [1]}', "1 scores of 2 channels"),
        ('{"overall": []}', "must hold whole numbers"),
        ('{"overall": [0, 1%s]}' % ("0" * 30), r"names channel 10{30} and ranks 2 channels"),
        ('{"overall": [0], "method": ["x"]}', r"a name as method; got \['x'\]"),
        ('{"overall": [0], "method": "x", "scores": [1%s]}' % ("0" * 400), "list of finite"),
        ('{"overall": [0], "method": "gate", "scores": 5}', "a list of finite numbers"),
        ('{"overall": [0], "method": "gate", "scores": ["a"]}', "a list of finite numbers"),
        ('{"overall": [0], "method": "gate", "scores": [NaN]}', "a list of finite numbers"),
        ('{"overall": [0], "method": "gate", "split": 3}', "must name its splits; got 3"),
        ('{"overall": [0], "method": "gate", "n": null}', "a whole number as n; got None"),
    ],
)
def test_rankings_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "ranking_x_overall.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        files.read(path)


def test_it_says_of_rankings_whose_images_are_unknown_that_they_are():
    subject = types.SimpleNamespace(setup=types.SimpleNamespace(config=tiny()))
    for splits, said in (
        ((), True),
        (("holdout",), True),
        (("train", "x"), True),
        (("val",), False),
    ):
        ranking = Ranking("mine", "left", np.arange(2), splits=splits)
        text = attack._describe_rankings(subject, [ranking], 3)
        assert ("mine does not say which images it was made on" in text) == said


def test_rankings_made_on_the_evaluation_images_are_refused(tmp_path, pixels):
    config = pixels.subject.setup.config
    order = np.arange(_channels(pixels))
    _write_ranking(Ranking("gate", "left", order, splits=("test",)), tmp_path)
    with pytest.raises(InputError, match="was made on the split test, which `attack.splits`"):
        attack.with_rankings(config, (str(tmp_path),))
    path = tmp_path / "ranking_gate_left.json"
    content = json.loads(path.read_text()) | {"split": "test"}
    path.write_text(json.dumps(content))  # one split, not in a list
    with pytest.raises(InputError, match="was made on the split test, which `attack.splits`"):
        attack.with_rankings(config, (str(tmp_path),))
    path = _write_ranking(
        Ranking("gate", "left", order, splits=("val",), feature="stage2"), tmp_path
    )
    with pytest.raises(InputError, match="ranks the channels of stage2; `rank.feature` is pre_gap"):
        attack.with_rankings(config, (str(path),))
    path = _write_ranking(Ranking("gate", "0,0,1,0.2", order, splits=("val",)), tmp_path)
    changed, rankings = attack.with_rankings(config, (str(path),))
    assert changed.rank.regions == ("overall", "0,0,1,0.2")
    assert len(rankings) == 1
    with pytest.raises(InputError, match=r"holds no ranking_\*.json"):
        attack.with_rankings(config, (str(tmp_path / ".."),))


def test_the_same_images_under_two_names_are_refused(pixels):
    setup, data = pixels.subject.setup, pixels.subject.setup.dataset
    assert images.check_disjoint(setup, ("train", "val"), ("test",)) == []
    with pytest.raises(InputError, match="both name val"):
        images.check_disjoint(setup, ("train", "val"), ("val",))
    same = dataclasses.replace(setup, dataset=dataclasses.replace(data, test=data.train))
    with pytest.raises(InputError, match="are also among those of train, val"):
        images.check_disjoint(same, ("train", "val"), ("test",))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"feature": "stage9"},
            "`rank.feature` must be one of stem, stage1, .*pre_gap; got 'stage9'",
        ),
        ({"regions": ("lft",)}, "`rank.regions` must be among overall"),
        ({"regions": ("0,0,0.001,0.001",)}, "holds no pixel|holds the centre of no cell"),
        ({"regions": ("0,0,1,1",)}, "say overall"),
    ],
)
def test_features_and_regions_that_are_not_there(target, section, message):
    setup = target.subject.setup
    config = dataclasses.replace(
        setup.config, rank=dataclasses.replace(setup.config.rank, **section)
    )
    with pytest.raises(InputError, match=message):
        targets.make_subject(dataclasses.replace(setup, config=config))


def test_a_network_trained_through_permutation_has_no_channels_to_rank():
    setup = position.prepare(tiny(model={"head": "permutenet"}))
    with pytest.raises(InputError, match="no channels of its own to rank"):
        targets.make_subject(setup)


@pytest.mark.slow
def test_probes_find_what_the_head_of_a_trained_network_finds(canvas):
    subject = canvas.subject
    subject.fit_probes(canvas.variables, _images(canvas, ("train",), 40))
    inputs = _images(canvas, ("train",), 40).get(np.arange(40))
    features = subject.setup.model.apply(canvas.variables, subject.stimulus(inputs["images"]))[1]
    channels = _channels(canvas)
    removed = gated(subject, features, jnp.zeros(channels, bool))
    whole = subject.count(canvas.variables, features, inputs["labels"])
    nothing = subject.count(canvas.variables, removed, inputs["labels"])
    score = subject.quantities["location"].score
    # Fitted on these very images: far above chance; without any channel, at chance.
    assert score(np.asarray(whole["location"]).sum(axis=0))[0] > 0.5
    assert score(np.asarray(nothing["location"]).sum(axis=0))[0] == pytest.approx(0.25)


@pytest.mark.slow
def test_probes_are_fitted_again_for_what_tables_show(canvas):
    subject, variables = canvas.subject, canvas.variables
    subject.fit_probes(variables, _images(canvas, ("train",), 40))
    order = np.arange(_channels(canvas))
    laid = plan.make_plan(
        AttackConfig(counts=(2, 6), table_count=6, random_draws=2, matched_draws=0),
        [Ranking("gate", "left", order)],
        _activation(canvas),
        seed=0,
    )
    found = refit.count_refitted(subject, variables, _images(canvas), laid)
    inputs = _images(canvas).get(np.arange(8))
    latent = subject.pooled(variables, inputs["images"])
    # No mask but those of the tables: zero and mean fill of one ranking and two draws.
    assert {len(counts) for counts in found.values()} == {1 + 2 * 3}
    for name, counts in found.items():
        for row, count in zip(laid.table_masks(), counts, strict=True):
            probe = refit.fit_without(subject.moments[name], laid.keep[row][None])
            logits = (latent - probe.mean) @ probe.kernel[0, 0] + probe.offset
            np.testing.assert_array_equal(count, subject.judge(logits, inputs["labels"], name))
    assert (found["location_refit"][0] != found["location_refit"][1]).any()


def test_probes_are_not_fitted_again_where_the_latent_loses_no_channels():
    setup = position.prepare(tiny(rank={**RANK, "feature": "stage2"}, n=2))
    assert targets.make_subject(setup).pool is None


@pytest.mark.slow
def test_training_then_ranking_then_attacking_a_run(tmp_path):
    data = pixel_dataset()
    config = tiny_pixels(rank=RANK, attack=ATTACK)
    setup = segmentation.prepare(config, dataset=data)
    driver.train(setup, tmp_path / "run")
    setup, snapshots = driver.load(setup, tmp_path / "run", pytest.fail)
    result = segmentation_measure.measure(setup, snapshots).result
    assert result.removals[0].quantity == "miou"
    assert 0 < result.removals[0].value < 1
    assert result.removals[0].num_classes <= 3
    assert "val_miou" in (tmp_path / "run" / "metrics.jsonl").read_text()
