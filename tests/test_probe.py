"""Probes: against closed forms, on data whose answer is known, and blind to the held-out rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpool_jax import ops
from gpool_jax.experiments.measures import probing
from gpool_jax.ops import gradient_probes, probe, ridge
from gpool_jax.ops.hold_out import hold_out
from tests import reference
from tests.helpers import slow_but_first

pytestmark = pytest.mark.usefixtures("strict_types")

KEY = jax.random.key(0)


def blobs(seed=0, images=60, cells=4, channels=6, noise=0.3):
    """Rows (image, cell) whose mean is the cell's."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(cells, channels))
    x = centres[None] + noise * rng.normal(size=(images, cells, channels))
    fold = np.repeat(np.arange(images) % 5, cells)
    return x.reshape(-1, channels).astype(np.float32), np.tile(np.arange(cells), images), fold


def correct(x, y, fold, kind, classes=4):
    options = {"kinds": (kind,), "num_classes": classes, "num_folds": 5}
    answers = probe.cross_validate(KEY, x, jnp.asarray(y), jnp.asarray(fold), **options)
    return np.asarray(answers[kind][0])


def held_out(x, y, fold, kind, **options):
    rows = (jnp.asarray(x), jnp.asarray(y), jnp.asarray(fold))
    options = {"num_classes": 4, "num_folds": 5, **options}
    return probe.held_out_logits(KEY, *rows, kinds=(kind,), **options)[kind][0]


@pytest.mark.parametrize("sort", [False, True])
@pytest.mark.parametrize("channels", [6, 300])
def test_kinds_fitted_together_are_those_fitted_alone(channels, sort):
    x, y, fold = blobs(images=20, channels=channels, noise=2.0)
    rows = jnp.asarray(x), jnp.asarray(y), jnp.asarray(fold)
    options = {"num_classes": 4, "num_folds": 5, "sort": sort}
    together = probe.held_out_logits(KEY, *rows, kinds=("ridge", "logistic"), **options)
    assert set(together) == {"ridge", "logistic"}
    for kind, (logits, picked) in together.items():
        alone, alone_picked = probe.held_out_logits(KEY, *rows, kinds=(kind,), **options)[kind]
        if kind == "ridge":
            np.testing.assert_allclose(logits, alone, atol=5e-3)
        else:  # the flattest are not at their optimum after so many steps
            assert np.abs(jax.nn.softmax(logits) - jax.nn.softmax(alone)).mean() < 0.02
        np.testing.assert_allclose(picked, alone_picked, atol=1e-6)


@pytest.mark.parametrize("kind", probe.KINDS)
def test_a_probe_reads_what_is_there_and_nothing_else(kind):
    x, y, fold = blobs()
    assert correct(x, y, fold, kind).mean() > 0.97
    shuffled = np.random.default_rng(1).permutation(y)
    assert abs(correct(x, shuffled, fold, kind).mean() - 0.25) < 0.12


def test_ridge_gives_the_closed_form_answers():
    x, y, fold = blobs(noise=1.5)
    found = correct(x, y, fold, "ridge")
    expected = np.zeros_like(found)
    for k in range(5):
        picking, fitting = fold == (k + 1) % 5, (fold != k) & (fold != (k + 1) % 5)
        answers = [reference.ridge_answers(x, y, fitting, s, 4) for s in probe.STRENGTHS]
        best = int(np.argmax([(a == y)[picking].sum() for a in answers]))
        expected[fold == k] = (answers[best] == y)[fold == k]
    assert 0.3 < expected.mean() < 0.95
    # A tie of two scores may fall either way in float32.
    assert (found == expected).mean() > 0.99


def test_regressions_from_sums_equal_those_on_the_rows_themselves():
    # Folds of unequal size, one of a single row: blocks that reach beyond a fold must not count.
    rng = np.random.default_rng(4)
    x = (rng.normal(size=(70, 5)) * [1, 1e3, 1e-3, 1, 1] + [0, 5e3, 0, 50, 0]).astype(np.float32)
    y, fold = (
        rng.normal(size=(70, 2)).astype(np.float32),
        rng.permutation([0] * 40 + [1] * 29 + [2]),
    )
    moments = ridge.fold_moments(x, jnp.asarray(y), jnp.asarray(fold), num_folds=3)
    assert moments.size.tolist() == [40, 29, 1]
    regress = jax.jit(ridge.regress)
    for folds in ([1, 1, 1], [0, 1, 1], [1, 0, 0]):
        fitting = np.asarray(folds, bool)[fold]
        for keep in (np.ones(5, bool), np.array([1, 0, 1, 1, 0], bool)):
            found = regress(
                moments, jnp.asarray(folds), jnp.array([1e-2, 1.0]), keep=jnp.asarray(keep)
            )
            for s, strength in enumerate((1e-2, 1.0)):
                expected = reference.ridge_predictions(x[:, keep], y, fitting, strength)
                np.testing.assert_allclose(ridge.predict(found, x)[s], expected, atol=1e-5)


@pytest.mark.parametrize("sort", [False, True])
def test_rows_that_are_not_written_out_are_the_standardised_ones(sort):
    rng = np.random.default_rng(6)
    x = (rng.normal(size=(30, 4)) * [1, 1e2, 1e-2, 1] + [0, 1e3, 5, -20]).astype(np.float32)
    weight, keep = rng.random(30) < 0.5, np.array([1, 1, 0, 1])
    kernel = rng.normal(size=(4, 3)).astype(np.float32)
    exact = reference.standardise(x.astype(np.float64), weight)
    if sort:
        keep = np.ones(4)
        exact = reference.standardise(np.sort(exact, axis=1), weight)
    given = map(jnp.asarray, (x, weight))
    rows = probe._standardised_rows(*given, sort, jnp.asarray(keep))
    np.testing.assert_allclose(rows.times(kernel), exact * keep @ kernel, atol=2e-3)
    # What is multiplied is near zero, so that accelerators may round it.
    assert np.abs(rows.x.mean(axis=0) * rows.scale).max() < 1


WIDE = ((3, True), (3, False), (90, True), (90, False))


@pytest.mark.parametrize(("rank", "sort"), slow_but_first(WIDE))
def test_more_channels_than_rows_are_rotated_into_the_rows(rank, sort):
    """Also where few directions hold nearly everything, and small penalties are hard to solve."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(40, rank)) @ rng.normal(size=(rank, 90)) + 1e-3 * rng.normal(size=(40, 90))
    x = (x + rng.normal(size=90)).astype("f4")
    y, fold = rng.integers(0, 3, 40), np.arange(40) % 4
    keep = (rng.random(90) < 0.8) | sort  # of sorted rows, those removed would be constant
    kinds = ("ridge", "logistic")
    options = {"num_classes": 3, "num_folds": 4, "sort": sort, "keep": jnp.asarray(keep)}
    wide = probe.held_out_logits(KEY, *map(jnp.asarray, (x, y, fold)), kinds=kinds, **options)
    # Every row three times is the same probe, of more rows than channels.
    rows = [jnp.asarray(np.repeat(each, 3, axis=0)) for each in (x, y, fold)]
    tall = probe.held_out_logits(KEY, *rows, kinds=kinds, **options)
    assert len(rows[0]) > x.shape[1] > len(x)
    for kind in kinds:
        found, wanted = np.asarray(wide[kind][0]), np.asarray(tall[kind][0])[::3]
        if kind == "ridge":
            np.testing.assert_allclose(found, wanted, atol=2e-2)
        else:  # the flattest are not at their optimum after so many steps
            apart = np.abs(jax.nn.softmax(found) - jax.nn.softmax(wanted))
            assert apart.mean() < 0.02
    regressed = probe.cross_validate_regression(
        jnp.asarray(x), jnp.asarray(x[:, :2]), jnp.asarray(fold), num_folds=4
    )
    assert np.isfinite(regressed).all()


def test_a_penalty_that_could_not_be_solved_is_not_picked():
    fold = jnp.arange(6) % 3
    outputs = jnp.stack([jnp.full((6, 1), jnp.nan), jnp.ones((6, 1))])
    found, picked = hold_out(lambda folds: {"a": outputs}, lambda out: out[..., 0], fold, 3)["a"]
    assert found.ravel().tolist() == [1.0] * 6
    assert picked.tolist() == [1.0] * 3


def test_rows_in_more_than_one_block_are_each_summed_once(monkeypatch):
    monkeypatch.setattr(ridge, "_BLOCK", 4)
    fold = jnp.array([2, 0, 0, 0, 0, 0, 2, 1, 0, 1, 2, 0])
    x = jnp.asarray(np.random.default_rng(5).normal(size=(12, 3)), jnp.float32)
    moments = ridge.fold_moments(x, x[:, :1], fold, num_folds=3)
    for k in range(3):
        own = np.asarray(x, np.float64)[np.asarray(fold) == k]
        centred = own - own.mean(axis=0)
        np.testing.assert_allclose(moments.gram[k], centred.T @ centred, atol=1e-5)
        np.testing.assert_allclose(moments.cross[k], centred.T @ centred[:, :1], atol=1e-5)


def test_a_probe_of_some_channels_is_that_of_a_latent_that_has_no_others():
    x, y, fold = blobs(noise=1.5)
    keep = np.array([True, False, True, True, False, True])
    some = held_out(x, y, fold, "ridge", sort=True, keep=jnp.asarray(keep))
    expected = held_out(x * keep, y, fold, "ridge", sort=True, keep=jnp.ones(6, bool))
    np.testing.assert_allclose(some, expected, atol=1e-5)
    masks = jnp.asarray(np.stack([keep, ~keep]))
    swept = jax.vmap(lambda mask: held_out(x, y, fold, "ridge", keep=mask))(masks)
    np.testing.assert_allclose(swept[1], held_out(x[:, ~keep], y, fold, "ridge"), atol=1e-5)


def test_a_sorted_probe_does_not_depend_on_the_scale_of_channels():
    # The next layer can undo a scale, so it may not change what is found; sorted raw, it does.
    x, y, fold = blobs(noise=1.0)
    scaled = x * np.array([1, 100, 0.01, 1, 3, 1], np.float32) + 7
    found = held_out(x, y, fold, "ridge", sort=True)
    np.testing.assert_allclose(held_out(scaled, y, fold, "ridge", sort=True), found, atol=1e-4)
    raw, raw_scaled = (held_out(probe.sorted_latent(z), y, fold, "ridge") for z in (x, scaled))
    assert np.abs(raw - raw_scaled).max() > 0.1


def test_channels_are_standardised_by_the_fitting_rows_alone():
    # An outlier in the held-out fold must not move what is predicted of that fold's other rows.
    x, y, fold = blobs(noise=1.0)
    outlier = x.copy()
    outlier[np.flatnonzero(fold == 0)[0]] = 1e3
    rest = np.flatnonzero(fold == 0)[1:]
    for sort in (False, True):
        before, after = (held_out(z, y, fold, "ridge", sort=sort) for z in (x, outlier))
        np.testing.assert_allclose(after[rest], before[rest], atol=1e-5)


def test_sorted_rows_are_standardised_by_the_fitting_rows_before_and_after():
    x, _, fold = blobs(noise=1.0)
    fitting = fold > 1
    before = np.sort(reference.standardise(x, fitting), axis=1)
    rows = probe._standardised_rows(jnp.asarray(x), jnp.asarray(fitting), True, None)
    found = rows.times(jnp.eye(x.shape[1]))
    np.testing.assert_allclose(found, reference.standardise(before, fitting), atol=1e-4)


def test_the_penalty_can_be_picked_for_likelihood():
    # A confident probe may be as accurate and still waste bits.
    x, y, fold = blobs(noise=2.5, channels=40)
    rows = jnp.asarray(x), jnp.asarray(y), jnp.asarray(fold)
    options = {"kinds": ("ridge",), "num_classes": 4, "num_folds": 5, "picked_by": "likelihood"}
    found, scores = probe.held_out_logits(KEY, *rows, **options)["ridge"]
    for k in range(5):
        picking, fitting = fold == (k + 1) % 5, (fold != k) & (fold != (k + 1) % 5)
        expected = [
            reference.ridge_predictions(x, np.eye(4)[y], fitting, s) for s in probe.STRENGTHS
        ]
        likelihood = [-reference.cross_entropy(e[picking], y[picking]).mean() for e in expected]
        np.testing.assert_allclose(scores[k], max(likelihood), atol=1e-5)
        chosen = expected[int(np.argmax(likelihood))]
        np.testing.assert_allclose(found[fold == k], chosen[fold == k], atol=1e-4)


def test_logistic_agrees_with_scikit_learn():
    from sklearn import linear_model

    x, y, _ = blobs(noise=1.0)
    weight = jnp.ones(len(y))
    z = ops.standardise(jnp.asarray(x))
    rows = gradient_probes.Rows(z, jnp.zeros(z.shape[1]), jnp.ones(z.shape[1]))
    logits = gradient_probes.logistic(KEY, rows, jnp.asarray(y), weight, 1e-2, 4)
    model = linear_model.LogisticRegression(C=1 / (1e-2 * len(y)), tol=1e-8, max_iter=1000)
    expected = model.fit(np.asarray(z), y).predict_log_proba(np.asarray(z))
    np.testing.assert_allclose(jax.nn.log_softmax(logits), expected, atol=2e-2)


def test_an_image_memorised_is_not_an_image_known():
    # Every row of an image is the image's own random code and so is its label:
    # folds of rows would score 100 %, folds of images are left at chance.
    rng = np.random.default_rng(2)
    codes, labels = rng.normal(size=(60, 30)), rng.integers(0, 4, 60)
    x = np.repeat(codes, 4, axis=0).astype(np.float32)
    y, image = np.repeat(labels, 4), np.repeat(np.arange(60), 4)
    by_image = correct(x, y, image % 5, "ridge").mean()
    by_row = correct(x, y, np.arange(240) % 5, "ridge").mean()
    assert by_row > by_image + 0.2


def test_the_sorted_latent_is_the_maximal_invariant():
    x = np.random.default_rng(3).normal(size=(5, 8)).astype(np.float32)
    permuted = np.stack([np.random.default_rng(i).permutation(row) for i, row in enumerate(x)])
    np.testing.assert_array_equal(probe.sorted_latent(x), probe.sorted_latent(permuted))
    assert not np.array_equal(probe.sorted_latent(x[:1]), probe.sorted_latent(x[1:2]))


def test_a_dead_channel_changes_nothing():
    x, y, fold = blobs()
    dead = np.concatenate([x, np.full((len(x), 1), 1e6, np.float32)], axis=1)
    np.testing.assert_array_equal(correct(x, y, fold, "ridge"), correct(dead, y, fold, "ridge"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "tree", "num_folds": 5}, "`kinds` must be one of"),
        ({"kind": "ridge", "num_folds": 5, "picked_by": "luck"}, "`picked_by` must be one of"),
        ({"kind": "ridge", "num_folds": 2}, "`num_folds` must be at least 3; got 2"),
    ],
)
def test_bad_options_are_refused(options, message):
    x, y, fold = blobs()
    with pytest.raises(ValueError, match=message):
        held_out(x, y, fold, **options)


def test_of_kinds_that_are_as_good_the_first_is_selected(monkeypatch):
    def tie(key, x, labels, fold, *, kinds, num_folds, **options):
        # As jit returns it: sorted by name.
        right = {"logistic": jnp.zeros(len(x), bool), "ridge": jnp.ones(len(x), bool)}
        return {kind: (right[kind], jnp.full(num_folds, 0.5)) for kind in sorted(kinds)}

    monkeypatch.setattr(probe, "cross_validate", tie)
    rows, fold = jnp.zeros((6, 2)), np.arange(6) % 3
    for kinds, wanted in ((("ridge", "logistic"), True), (("logistic", "ridge"), False)):
        found = probing.fit_kinds(KEY, rows, np.zeros(6, int), fold, 2, kinds=kinds)
        assert (found["selected"] == wanted).all()
