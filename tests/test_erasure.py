"""Erasure of the cell: what the theorem promises, and the same as the authors' own code."""

import jax
import numpy as np
import pytest

from gpool_jax import ops
from gpool_jax.ops import erasure
from tests import reference

pytestmark = pytest.mark.usefixtures("strict_types")

CELLS = 4


def latents(seed=0, images=50, channels=12, strength=1.0):
    """Rows of images in cells, channels mixed so that they are correlated."""
    rng = np.random.default_rng(seed)
    mix, code = rng.normal(size=(channels, channels)), rng.normal(size=(CELLS, channels))
    cell = np.tile(np.arange(CELLS), images)
    x = rng.normal(size=(len(cell), channels)) @ mix + strength * code[cell] + 4
    return x.astype(np.float32), cell


def cross_covariance(x, cell):
    x, z = np.asarray(x, np.float64), np.eye(CELLS)[cell]
    return (x - x.mean(0)).T @ (z - z.mean(0)) / len(x)


def test_the_map_is_that_of_the_theorem():
    x, cell = latents()
    eraser = erasure.fit_eraser(x, cell)
    matrix, bias = reference.leace(x, cell)
    np.testing.assert_allclose(eraser.matrix, matrix, atol=1e-8)
    np.testing.assert_allclose(eraser.bias, bias, atol=1e-8)
    assert eraser.left.shape == (12, CELLS - 1)
    expected = x.astype(np.float64) @ matrix.T + bias
    np.testing.assert_allclose(jax.jit(erasure.erase)(x, eraser), expected, atol=1e-4)
    every = erasure.erase(x.reshape(50, CELLS, 12), eraser)
    np.testing.assert_allclose(every.reshape(x.shape), expected, atol=1e-4)


@pytest.mark.parametrize("channels", [12, 60], ids=["full rank", "more channels than rows"])
@pytest.mark.parametrize("shrinkage", [0.0, 0.1])
def test_no_cell_has_a_mean_of_its_own_afterwards(channels, shrinkage):
    x, cell = latents(images=12, channels=channels)
    assert np.abs(cross_covariance(x, cell)).max() > 0.05
    eraser = erasure.fit_eraser(x, cell, shrinkage=shrinkage)
    erased = erasure.erase(x, eraser)
    np.testing.assert_allclose(cross_covariance(erased, cell), 0.0, atol=1e-5)
    np.testing.assert_allclose(erased.mean(axis=0), x.mean(axis=0), atol=1e-4)
    # Once is enough.
    np.testing.assert_allclose(eraser.matrix @ eraser.matrix, eraser.matrix, atol=1e-8)
    np.testing.assert_allclose(erasure.erase(erased, eraser), erased, atol=1e-4)


def test_latents_that_the_cell_plays_no_part_in_are_left_alone():
    # Rounding in the cross-covariance must not be taken for directions of the cell.
    rng = np.random.default_rng(1)
    same = rng.normal(size=(50, 1, 12)) * np.logspace(-3, 3, 12)
    x = np.broadcast_to(same, (50, CELLS, 12)).reshape(-1, 12).astype(np.float32)
    eraser = erasure.fit_eraser(x, np.tile(np.arange(CELLS), 50))
    np.testing.assert_array_equal(erasure.erase(x, eraser), x)


def test_no_other_eraser_changes_less():
    x, cell = latents()
    cross = cross_covariance(x, cell)
    basis = np.linalg.svd(cross)[0][:, : CELLS - 1]
    centred = x - x.mean(axis=0, dtype=np.float64)

    def change(matrix):
        return ((centred @ (matrix - np.eye(12)).T) ** 2).sum(axis=1).mean()

    least = change(erasure.fit_eraser(x, cell).matrix)
    rng = np.random.default_rng(2)
    for readers in (basis, *(basis + 0.3 * rng.normal(size=basis.shape) for _ in range(20))):
        other = np.eye(12) - basis @ np.linalg.solve(readers.T @ basis, readers.T)
        np.testing.assert_allclose(other @ cross, 0.0, atol=1e-10)
        assert change(other) > least * (1 + 1e-6)


def test_the_next_layer_can_do_it():
    x, cell = latents()
    rng = np.random.default_rng(3)
    kernel = rng.normal(size=(12, 5)).astype(np.float32)
    bias = rng.normal(size=5).astype(np.float32)
    eraser = erasure.fit_eraser(x, cell)
    folded, offset = erasure.fold(eraser, kernel, bias)
    assert (folded.dtype, offset.dtype) == (np.float32, np.float32)
    expected = np.asarray(erasure.erase(x, eraser)) @ kernel + bias
    np.testing.assert_allclose(x @ folded + offset, expected, atol=1e-3)
    with pytest.raises(
        ValueError, match=r"`kernel` must have 12 inputs, as the eraser; got \(3, 5"
    ):
        erasure.fold(eraser, kernel[:3], bias)


def test_shrinkage_changes_other_rows_less_where_rows_are_few():
    # Fewer rows than channels: their covariance has directions without variance by chance.
    x, cell = latents(channels=60, images=100)
    fit, rest = slice(0, 40), slice(40, None)

    def change(shrinkage):
        eraser = erasure.fit_eraser(x[fit], cell[fit], shrinkage=shrinkage)
        return float(((erasure.erase(x[rest], eraser) - x[rest]) ** 2).mean())

    assert change(0.1) < 0.9 * change(0.0)


def test_it_equals_the_authors_own_code():
    torch = pytest.importorskip("torch")
    concept_erasure = pytest.importorskip("concept_erasure")
    x, cell = (torch.from_numpy(np.asarray(part)) for part in latents())
    # Their defaults shrink the covariance and leave weak correlations in.
    fitter = concept_erasure.LeaceFitter.fit(
        x.double(),
        torch.nn.functional.one_hot(cell, CELLS).double(),
        shrinkage=False,
        constrain_cov_trace=False,
        svd_tol=1e-8,
    )
    eraser = erasure.fit_eraser(x.numpy(), cell.numpy())
    np.testing.assert_allclose(eraser.matrix, fitter.eraser.P.numpy(), atol=1e-8)
    theirs = fitter.eraser(x.double()).numpy()
    np.testing.assert_allclose(erasure.erase(x.numpy(), eraser), theirs, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent": np.ones(4)}, r"`latent` must be \[N, C\] and `cell` \[N\]; got shapes \(4,\)"),
        ({"cell": np.zeros(3, int)}, r"got shapes \(4, 2\) and \(3,\)"),
        ({"latent": np.full((4, 2), np.nan)}, "`latent` must be finite"),
        ({"cell": np.zeros(4, int)}, "`cell` must hold at least 2 different cells; got 1"),
        ({"shrinkage": 1.0}, r"`shrinkage` must be in \[0, 1\); got 1.0"),
    ],
)
def test_bad_inputs_are_refused(change, message):
    given = {"latent": np.eye(4)[:, :2], "cell": np.arange(4) % 2, **change}
    with pytest.raises(ValueError, match=message):
        ops.fit_eraser(given.pop("latent"), given.pop("cell"), **given)
