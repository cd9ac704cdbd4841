"""The audit, of networks of which the answers are known."""

import copy
import dataclasses
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpool_jax.cli.audit import _judge as judge
from gpool_jax.cli.main import main
from gpool_jax.config import AuditConfig
from gpool_jax.data.images import collection
from gpool_jax.errors import InputError
from gpool_jax.experiments import workdir
from gpool_jax.experiments.audit import audit as auditing
from gpool_jax.experiments.audit import channels, output, verdicts
from gpool_jax.experiments.audit.page import Page, audit
from gpool_jax.networks import Preprocess, from_function
from gpool_jax.report.audit_page import format_lines
from gpool_jax.report.audit_result import (
    LINE_QUESTIONS,
    Audited,
    Line,
    measures,
    read_audit,
)

CONFIG = AuditConfig(
    n=2, folds=3, twins=2, draws=2, max_shift=2, shifts_per_distance=2, bootstrap=100
)
SIDE = 12
PREPROCESS = Preprocess(size=(SIDE, SIDE), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def make_images(count=12):
    rng = np.random.default_rng(0)
    colours = rng.integers(40, 216, (count, 1, 1, 3))
    noise = rng.integers(-30, 31, (count, SIDE, SIDE, 3))
    return collection.load((colours + noise).astype(np.uint8), None, seed=0)


def knows_nothing(seed=0):
    """Colours, circularly blurred: a mean over space cannot know where they are."""
    kernel = np.random.default_rng(seed).normal(size=(3, 8)).astype(np.float32)

    def encode(x):
        blurred = sum(jnp.roll(x, by, axis) for by in (-1, 0, 1) for axis in (1, 2))
        return {"map": jax.nn.relu(blurred @ kernel)}

    return encode


def knows_the_place_alone(x):
    """Where something is, whatever it is: one channel a quadrant, and four that are dead."""
    there = (jnp.abs(x).sum(-1, keepdims=True) > 0).astype(jnp.float32)
    half = (jnp.arange(SIDE) >= SIDE // 2).astype(jnp.int32)
    quadrant = jax.nn.one_hot(2 * half[:, None] + half[None], 8)
    return {"map": there * quadrant[None]}


@pytest.fixture(scope="module")
def result():
    head = np.random.default_rng(1).normal(size=(8, 5)).astype(np.float32)
    circular = from_function(
        knows_nothing(),
        classify=lambda latent: latent @ head,
        preprocess=PREPROCESS,
        name="circular",
    )
    place = from_function(knows_the_place_alone, preprocess=PREPROCESS, name="place")
    seen = []
    networks = [
        dataclasses.replace(
            circular,
            untrained=lambda seed: from_function(
                knows_nothing(seed + 1),
                classify=lambda latent: latent @ head,
                preprocess=PREPROCESS,
                name="twin",
            ),
        ),
        place,
    ]
    found = auditing.audit(
        networks, make_images(), CONFIG, inspect=lambda net, latents: seen.append((net, latents))
    )
    return found, dict((net.name, latents) for net, latents in seen)


def value(network, *key, **fields):
    return network.line(*key, **fields).value


@pytest.mark.slow
def test_a_network_that_cannot_know_position_says_nothing_on_it(result):
    found, latents = result
    network = found.networks[0]
    cells = latents["circular"].cells["map"]
    np.testing.assert_allclose(cells, cells[:, :1] + 0 * cells, atol=1e-5)
    assert value(network, "channels", "variance, position", "ordered") < 1e-6
    for order in ("ordered", "permuted", "sorted"):
        line = network.line("position", "cell", order)
        assert line.value < 0.5
        assert line.chance == 0.25
    assert value(network, "content", "image", "ordered") == 1.0
    assert value(network, "shift", "answers changed", "circular") == 0.0
    assert value(network, "shift", "latent distance", "circular, 2 px") < 1e-4


@pytest.mark.slow
def test_a_network_that_knows_the_place_alone_says_nothing_else(result):
    network = result[0].networks[1]
    assert value(network, "position", "cell", "ordered") == 1.0
    assert value(network, "position", "cell", "bits") > 1.9
    assert value(network, "content", "image", "ordered") == pytest.approx(1 / 12)
    # The values are the same in every cell, in another order: sorted, nothing is left.
    assert value(network, "position", "cell", "sorted") < 0.5
    assert value(network, "share", "position", "sorted of ordered") < 0.4
    assert np.isnan(value(network, "share", "content", "sorted of ordered"))
    assert value(network, "position", "cell", "ordered, labels shuffled") < 0.6
    assert network.num_outputs is None
    assert "removal" not in network.verdicts
    assert "no answers to change; a shift (crop" in network.verdicts["shift"]
    assert any("no untrained twin" in note for note in network.notes)


@pytest.mark.slow
def test_twins_stand_beside_with_their_seeds(result):
    network = result[0].networks[0]
    twin = network.line("content", "image", "ordered", control="untrained")
    assert (twin.num_seeds, len(twin.per_seed)) == (2, 2)
    own = {(x.question, x.quantity, x.condition, x.stage) for x in network.lines if not x.control}
    twins = {(x.question, x.quantity, x.condition, x.stage) for x in network.lines if x.control}
    # Not every network has channels that match those that carry most position.
    assert twins <= own
    assert all("matched" in condition for _, _, condition, _ in own - twins)


@pytest.mark.slow
def test_answers_are_counted_as_a_loop_counts_them(result):
    found, latents = result
    seen = latents["circular"]
    head = np.random.default_rng(1).normal(size=(8, 5)).astype(np.float32)
    network = found.networks[0]
    for protocol in CONFIG.protocols:
        still = (seen.centred @ head).argmax(-1)
        changed = [
            (seen.shifted[protocol][i, d, v] @ head).argmax() != still[i]
            for i in range(12)
            for d in range(2)
            for v in range(2)
        ]
        assert value(network, "shift", "answers changed", protocol) == np.mean(changed)
    order = np.argsort(network.channels["translation_rank"])
    keep = np.ones(8)
    keep[order[:2]] = 0
    own = (seen.plain @ head).argmax(-1)
    kept = ((seen.plain * keep) @ head).argmax(-1) == own
    assert value(network, "removal", "answers kept", "2 position channels removed, zero") == (
        kept.mean()
    )


@pytest.mark.slow
def test_the_files_hold_what_was_found(result, tmp_path):
    found, latents = result
    owner = workdir.Owner("audit", "two networks", "1")
    paths = output.write(found, tmp_path, owner)
    assert [path.name for path in paths] == ["audit.json", "channels.csv", "report.html"]
    again = read_audit(tmp_path / "audit.json")
    assert [network.verdicts for network in again.networks] == [
        network.verdicts for network in found.networks
    ]
    assert json.loads((tmp_path / "audit.json").read_text())["schema"] == 1
    about = again.environment
    assert 0 < about["pass_seconds"] <= about["wall_seconds"] + 0.1
    rows = (tmp_path / "channels.csv").read_text().splitlines()
    assert len(rows) == 1 + 8 + 8
    page = (tmp_path / "report.html").read_text()
    for line in (line for network in found.networks for line in network.lines):
        assert line.quantity.startswith(LINE_QUESTIONS[line.question])
    asked = {line.question for network in found.networks for line in network.lines}
    assert asked | {"class"} == set(LINE_QUESTIONS)  # of images without labels
    for sentence in found.networks[0].verdicts.values():
        assert sentence.split("'")[0] in page
    assert "of them passes of networks" in page
    assert page.count("<script") == 1  # the one that sorts tables
    tuned = sum(len(network.tuning) for network in found.networks)
    assert page.count('alt="images that drive') == tuned
    text = format_lines(found).splitlines()
    assert len(text) <= 25
    assert text[1].startswith("circular")
    net = from_function(knows_the_place_alone, preprocess=PREPROCESS, name="place")
    output.write_eraser(net, latents["place"], tmp_path / "eraser.npz")
    with np.load(tmp_path / "eraser.npz") as eraser:
        erased = latents["place"].cells["map"] @ eraser["matrix"].T + eraser["bias"]
    means = erased.mean(axis=0)
    np.testing.assert_allclose(means, means[:1] + 0 * means, atol=1e-3)
    seen = dataclasses.replace(
        latents["place"],
        mirrored=latents["place"].plain + 1,
        centred=latents["place"].plain + 2,
    )
    output.write_latents(net, seen, tmp_path / "latents.npz")
    with np.load(tmp_path / "latents.npz") as arrays:
        np.testing.assert_array_equal(arrays["cells map"], latents["place"].cells["map"])
        assert arrays["shifted crop"].shape == (12, 2, 2, 8)
        assert (str(arrays["network"]), str(arrays["stage"])) == ("place", "map")
        for name in ("plain", "mirrored", "centred"):
            np.testing.assert_array_equal(arrays[name], getattr(seen, name))


def line(value, low, high, **fields):
    facts = {"stage": "map", "control": "", "unit": "share", "chance": 0.25, "num_images": 9}
    return Line(value=value, low=low, high=high, **(facts | fields))


def network_of(*lines):
    return Audited("net", "map", 4, 2, list(lines), {}, [], {}, [])


def test_verdicts_follow_intervals():
    cell = {"question": "position", "quantity": "cell", "condition": "ordered"}
    own = line(0.8, 0.7, 0.9, **cell)
    twins = {
        "more often": (0.5, 0.4, 0.6),
        "less often": (0.95, 0.91, 1.0),
        "indistinguishable": (0.8, 0.7, 0.9),
    }
    for word, twin in twins.items():
        found = verdicts.judge(network_of(own, line(*twin, control="untrained", **cell)))
        assert word in found["position"]
    assert "says nothing about training" in verdicts.judge(network_of(own))["position"]


@pytest.mark.parametrize(
    ("zero", "mean", "word"),
    [
        ((0.1, 0.0, 0.2), (0.1, 0.0, 0.2), "more answers"),
        ((0.1, 0.0, 0.2), (0.6, 0.5, 0.7), "indistinguishable"),
    ],
)
def test_a_statement_on_removed_channels_holds_under_both_fills(zero, mean, word):
    removal = {"question": "removal", "quantity": "answers kept"}
    lines = []
    for fill, own in (("zero", zero), ("mean", mean)):
        lines.append(line(*own, condition=f"2 position channels removed, {fill}", **removal))
        for control in ("random", "matched"):
            condition = f"2 {control} channels removed, {fill}"
            lines.append(line(0.6, 0.5, 0.7, condition=condition, **removal))
    assert word in verdicts.judge(network_of(*lines))["removal"]
    assert "no statement" in verdicts.judge(network_of(*lines[:2]))["removal"]


def test_a_share_that_few_images_leave_open_is_no_verdict():
    lines = [
        line(0.3, low, high, question="share", quantity=name, condition="sorted of ordered")
        for name, low, high in (
            ("position", 0.2, 0.4),
            ("content", -1.0, 1.3),
            ("content minus position", -1.2, 1.0),
        )
    ]
    assert "too few images" in verdicts.judge(network_of(*lines))["order"]


@pytest.mark.slow
def test_short_names_of_measures(result):
    found = measures(result[0].networks[0])
    assert {"position.cell.ordered", "shift.answers_changed.crop"} <= found.keys()


def test_what_cannot_be_audited_is_one_line():
    net = from_function(knows_the_place_alone, preprocess=PREPROCESS, name="place")
    with pytest.raises(InputError, match="at least 10; got 3"):
        auditing.audit([net], make_images(3), CONFIG)
    with pytest.raises(InputError, match="names must differ"):
        auditing.audit([net, net], make_images(), CONFIG)


BAD_WORDS = {
    "no network": (["--workdir", "OUT"], "audit needs a network"),
    "no workdir": (["timm:x"], "`--workdir` must name the folder"),
    "no such file": (["no.pth", "--model", "resnet18", "--workdir", "OUT"], "no.pth"),
    "no such name": (["torch:x", "--workdir", "OUT"], "torch:x"),
    "no function": (["python:json:nothing", "--workdir", "OUT"], "nothing"),
    "condition": (["timm:x", "--workdir", "OUT", "--fail-if", "much"], "`--fail-if` must be like"),
    "two erasers": (
        ["timm:x", "timm:y", "--workdir", "OUT", "--export-eraser", "e.npz"],
        "goes with one network",
    ),
    "field": (["timm:x", "--workdir", "OUT", "--num-image", "3"], "Did you mean --num-images"),
    "value": (["timm:x", "--workdir", "OUT", "--n", "two"], "--n"),
    "eraser": (["timm:x", "--workdir", "OUT", "--export-eraser", "no/e.npz"], "no folder for no/e"),
    "two latents": (
        ["timm:x", "timm:y", "--workdir", "OUT", "--export-latents", "e.npz"],
        "goes with one network",
    ),
    "not .npz": (["timm:x", "--workdir", "OUT", "--export-eraser", "e.txt"], "must end in .npz"),
    "seed": (["timm:x", "--workdir", "OUT", "--seed", "-1"], "`seed` must be in"),
    "nothing": (["", "--workdir", "OUT"], "`network` must not be empty"),
    "question": (
        ["timm:x", "--workdir", "OUT", "--fail-if", "shifts.x > 1"],
        "must begin with one of position, content, class, share, channels, removal, erasure, shift",
    ),
    "no number": (
        ["timm:x", "--workdir", "OUT", "--fail-if", "shift.answers_changed.x > nan"],
        "must be like",
    ),
    "no quantity": (
        ["timm:x", "--workdir", "OUT", "--fail-if", "shift.nosuch.crop > 0.2"],
        "must go on with one of shift.answers_changed, shift.latent_distance; got 'shift.nosuch",
    ),
    "among images": (
        ["timm:x", "--workdir", "OUT", "--images", "OUT/.."],
        "must not lie in the folder of images",
    ),
    "one file": (
        ["timm:x", "--workdir", "OUT", "--export-eraser", "e.npz", "--export-latents", "e.npz"],
        "another file than",
    ),
    "latents": (["timm:x", "--workdir", "OUT", "--export-latents", "no/l.npz"], "no folder for no"),
    "canvas": (["timm:x", "--workdir", "OUT", "--canvas", "round"], "round"),
}


@pytest.mark.parametrize("case", BAD_WORDS)
def test_bad_words_are_one_line_and_nothing_is_written(case, tmp_path, capsys):
    words, message = BAD_WORDS[case]
    out = tmp_path / "out"
    code = main(["audit", *(word.replace("OUT", str(out)) for word in words)])
    errors = capsys.readouterr().err
    assert code == 2
    assert message in errors
    assert errors.count("\n") == 1
    assert not out.exists()


def test_a_file_that_is_no_earlier_export_is_kept(tmp_path, capsys):
    path = tmp_path / "data.npz"
    np.savez(path, images=np.zeros(3))
    words = ["audit", "timm:x", "--workdir", str(tmp_path / "out"), "--export-eraser", str(path)]
    assert main(words) == 2
    assert "is there and is no earlier export" in capsys.readouterr().err
    np.savez(path, network=np.array("x"), stage=np.array("y"))
    assert main(words) == 2
    assert "no earlier export" not in capsys.readouterr().err


@pytest.mark.slow
def test_a_condition_that_holds_is_said_and_has_a_code_of_its_own(result, capsys):
    found = dataclasses.replace(result[0], networks=result[0].networks[:1])
    assert judge(found, [("position.cell.ordered", "<", -1.0)]) == 0
    assert judge(found, [("position.cell.ordered", "<", 2.0)]) == 3
    assert capsys.readouterr().err.startswith("gpool: circular: position.cell.ordered is 0.")
    with pytest.raises(InputError, match="is not measured of circular, but position.cell.ordered"):
        judge(found, [("position.cel.ordered", "<", 2.0)])


@pytest.mark.slow
def test_answers_that_are_not_finite_and_twins_that_are_none_are_said():
    def make(seed):
        return from_function(
            knows_nothing(),
            classify=lambda latent: latent[:, :2] / (latent[:, :2] * 0),
            preprocess=PREPROCESS,
            name="broken",
        )

    with pytest.raises(InputError, match="`network`: the answers of broken are not finite"):
        auditing.audit([make(0)], make_images(), CONFIG)

    def bare(seed):
        return dataclasses.replace(make(seed), classify=None)

    same = dataclasses.replace(bare(0), untrained=bare)
    config = dataclasses.replace(CONFIG, stages="pooled", protocols=("crop",), twins=1)
    found = auditing.audit([same], make_images(), config)
    assert [n for n in found.networks[0].notes if "twin of seed 0 is the network itself" in n]


@pytest.mark.slow
def test_from_python_a_page_gives_tables_and_shows_itself(result, tmp_path):
    page = Page(result[0])
    assert {row["network"] for row in page.position.rows} == {"circular", "place"}
    assert page.line("content", "image", "ordered").value == 1.0
    assert "<h2>circular</h2>" in page._repr_html_()
    assert page.plot().axes
    assert copy.copy(page).result is result[0]
    with pytest.raises(AttributeError, match="`question` must be one of channels, content"):
        page.colour  # noqa: B018
    names = [path.name for path in page.save(tmp_path / "page")]
    assert names == ["audit.json", "channels.csv", "report.html"]


BAD_OPTIONS = {
    "unknown": ({"cells": 3}, "unknown option of an audit: cells"),
    "one cell": ({"n": 1}, "`n` must be at least 2"),
    "too many cells": ({"n": 13}, "`n` must be at most 12 for inputs of 12 pixels; got 13"),
    "folds": ({"folds": 2}, r"`folds` must be in \[3, 10\]; got 2"),
    "removed": ({"removed": 0.9}, r"`removed` must be in \(0, 0.5\]; got 0.9"),
    "shift": ({"max_shift": 12}, "`max_shift` must be at most 11"),
    "twins": ({"twins": -1}, "`twins` must be at least 0"),
    "draws": ({"draws": 0}, "`draws` must be at least 1"),
    "bootstrap": ({"bootstrap": 0}, "`bootstrap` must be at least 1"),
    "batch": ({"batch_size": 0}, "`batch_size` must be at least 1"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options_are_one_line(case):
    options, message = BAD_OPTIONS[case]
    net = from_function(knows_the_place_alone, preprocess=PREPROCESS, name="place")
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
    with pytest.raises(InputError, match=message):
        audit(net, pixels, **options)


def test_no_network_and_networks_of_many_colours_are_refused():
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
    with pytest.raises(InputError, match="there is none to audit"):
        audit([], pixels)
    many = Preprocess(size=(SIDE, SIDE), mean=(0.5,) * 4, std=(0.25,) * 4)
    net = from_function(lambda x: {"map": x}, preprocess=many, name="many")
    with pytest.raises(InputError, match="takes 4 colour channels"):
        audit(net, pixels)


def test_passes_of_twins_are_timed_too():
    def make(seed):
        return from_function(lambda x: {"map": x}, preprocess=PREPROCESS, name=f"seed {seed}")

    seconds = []
    net = auditing._timed(dataclasses.replace(make(0), untrained=make), seconds)
    inputs = np.zeros(PREPROCESS.shape(2), np.float32)
    net.encode(inputs)
    twin = net.untrained(3)
    twin.encode(inputs)
    twin.encode(inputs)
    assert len(seconds) == 3
    assert min(seconds) > 0
    assert twin.name == "seed 3"


def test_the_images_that_drive_a_channel_are_those_of_its_largest_means():
    rng = np.random.default_rng(3)
    latent = rng.normal(size=(12, CONFIG.n**2, 5)).astype(np.float32)
    latent[:, :, 2] += 5 * np.arange(CONFIG.n**2)  # ranks first
    plain = latent.mean(axis=1)
    latents = types.SimpleNamespace(cells={"map": latent}, plain=plain, mirrored=plain[::-1])
    found = channels.describe(CONFIG, latents, "map")
    assert found.order[0] == 2
    for channel, drivers in zip(found.order, found.drivers, strict=True):
        by_mean = sorted(range(12), key=lambda image: -latent[image, :, channel].mean())
        assert drivers.tolist() == by_mean[:3]
