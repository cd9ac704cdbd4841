"""Probes: how well can a simple model decode a label from pooled features?

Rows are (image, cell) pairs; folds are groups of *images*, so that no image is on both sides of
a split. For fold k the probe is fitted on all folds but k and k + 1, its regularisation is
picked on fold k + 1, and its accuracy is reported on fold k: nothing is chosen on the rows it is
measured on.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from gpool_jax.ops import gradient_probes, ridge
from gpool_jax.ops.gradient_probes import Rows
from gpool_jax.ops.gradient_probes import fit_logistic as fit_logistic
from gpool_jax.ops.hold_out import hold_out
from gpool_jax.ops.ridge import STRENGTHS as STRENGTHS
from gpool_jax.ops.scaling import channel_scale
from gpool_jax.ops.scaling import sorted_latent as sorted_latent

KINDS = ("ridge", "logistic", "mlp")
PICKED_BY = ("accuracy", "likelihood")


def cross_validate(
    key: jax.Array,
    inputs: jax.Array,
    targets: jax.Array,
    fold: jax.Array,
    *,
    kinds: tuple[str, ...],
    num_classes: int,
    num_folds: int,
    sort: bool = False,
    keep: jax.Array | None = None,
) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Cross-validate probes, over kinds, folds and penalties in one program.

    The arguments are those of `held_out_logits`, which also raises for them.

    Returns:
      For each kind, bool [N]: whether the probe that never saw the row's image predicts its
      label; float32 [F]: accuracy of each fold's probe on its picking fold, to choose between
      kinds without looking at what is reported.
    """
    found = held_out_logits(
        key,
        inputs,
        targets,
        fold,
        kinds=kinds,
        num_classes=num_classes,
        num_folds=num_folds,
        sort=sort,
        keep=keep,
    )
    return {
        kind: (jnp.argmax(logits, axis=-1) == targets, picked)
        for kind, (logits, picked) in found.items()
    }


@functools.partial(
    jax.jit, static_argnames=("kinds", "num_classes", "num_folds", "sort", "picked_by")
)
def held_out_logits(
    key: jax.Array,
    inputs: jax.Array,
    targets: jax.Array,
    fold: jax.Array,
    *,
    kinds: tuple[str, ...],
    num_classes: int,
    num_folds: int,
    sort: bool = False,
    keep: jax.Array | None = None,
    picked_by: str = "accuracy",
) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Predict every row by probes that never saw its image.

    Args:
      key: PRNG key for the MLP's initialisation.
      inputs: float [N, D].
      targets: int [N] in [0, num_classes).
      fold: int [N] in [0, num_folds): the same for all rows of an image.
      kinds: of "ridge" (closed form, one-hot targets), "logistic" (multinomial, L-BFGS) and "mlp"
        (one hidden layer of 64, Adam). What they share is computed once.
      num_classes: K.
      num_folds: F, at least 3.
      sort: give the probe each row sorted, its channels standardised before by the rows that it
        is fitted on.
      keep: bool [D], the channels that the probe is given; None: all. Under `vmap` over masks
        the inputs are summed up once for all ridge probes, if there are no more channels than
        rows.
      picked_by: what the penalty is picked for, "accuracy" or "likelihood". A confident probe
        can be as accurate and still waste bits: "likelihood" for `information_bits`.

    Returns:
      For each kind, float32 [N, K]: logits (of the ridge probe: estimates of the one-hot targets,
      no logits); float32 [F]: the score of each fold's probe on its picking fold.

    Raises:
      ValueError: for an unknown kind or `picked_by`, or fewer than 3 folds.

    References: Alain and Bengio, "Understanding intermediate layers using linear classifier
    probes", 2016; Stone, "Cross-validatory choice and assessment of statistical predictions",
    1974.
    """
    for name, values, known in (("kinds", kinds, KINDS), ("picked_by", (picked_by,), PICKED_BY)):
        if not set(values) <= set(known):
            raise ValueError(f"`{name}` must be one of {known}; got {values!r}.")
    one_hot = jax.nn.one_hot(targets, num_classes)
    fit_ridge = _ridge_fit(inputs, one_hot, fold, num_folds, sort, keep)

    def fit(folds: jax.Array) -> dict[str, jax.Array]:
        weight = folds[fold].astype(jnp.float32)
        rows = _standardised_rows(inputs, weight, sort, keep)
        linear = _rotated(rows)
        outputs = {"ridge": fit_ridge(folds, linear)} if "ridge" in kinds else {}
        for kind, fit_one, given in (
            ("logistic", gradient_probes.logistic, linear),
            ("mlp", gradient_probes.mlp, rows),
        ):
            if kind in kinds:
                fit_strength = functools.partial(
                    fit_one, key, given, targets, weight, num_classes=num_classes
                )
                outputs[kind] = jax.lax.map(fit_strength, jnp.array(STRENGTHS, jnp.float32))
        return outputs

    def score(logits: jax.Array) -> jax.Array:
        if picked_by == "accuracy":
            return (jnp.argmax(logits, axis=-1) == targets[None]).astype(jnp.float32)
        own = jax.nn.one_hot(targets, num_classes)[None]
        return (jax.nn.log_softmax(logits) * own).sum(axis=-1)

    return hold_out(fit, score, fold, num_folds)


@functools.partial(jax.jit, static_argnames="num_folds")
def cross_validate_regression(
    inputs: jax.Array, targets: jax.Array, fold: jax.Array, *, num_folds: int
) -> jax.Array:
    """Held-out predictions of a ridge regression, its penalty picked as in `cross_validate`.

    Args:
      inputs: float [N, D].
      targets: float [N, T].
      fold: int [N] in [0, num_folds): the same for all rows of an image.
      num_folds: F, at least 3.

    Returns:
      float32 [N, T]: predictions of the regression that never saw the row's image.

    Raises:
      ValueError: for fewer than 3 folds.
    """
    targets = targets.astype(jnp.float32)
    fit_ridge = _ridge_fit(inputs, targets, fold, num_folds, False, None)

    def fit(folds: jax.Array) -> dict[str, jax.Array]:
        rows = _standardised_rows(inputs, folds[fold].astype(jnp.float32), False, None)
        return {"ridge": fit_ridge(folds, _rotated(rows))}

    def score(predicted: jax.Array) -> jax.Array:
        return -((predicted - targets[None]) ** 2).sum(axis=-1)

    return hold_out(fit, score, fold, num_folds)["ridge"][0]


def _standardised_rows(
    inputs: jax.Array, weight: jax.Array, sort: bool, keep: jax.Array | None
) -> Rows:
    """Standardise the inputs [N, D] by the weighted rows; remove channels, then sort."""
    inputs = inputs.astype(jnp.float32)
    mean, scale = channel_scale(inputs, weight)
    scale = scale if keep is None else scale * keep.astype(scale.dtype)
    if not sort:
        centre = inputs.mean(axis=0)
        return Rows(inputs - centre[None], mean - centre, scale)
    x = sorted_latent((inputs - mean[None]) * scale[None])
    mean, scale = channel_scale(x, weight)
    return Rows(x - mean[None], jnp.zeros_like(mean), scale)


def _rotated(rows: Rows) -> Rows:
    """Turn rows [N, D] of more channels than rows so that the last D - N are zero: [N, N].

    Others are returned as they are. No linear probe with an L2 penalty knows the difference: its
    weights lie in the rows' span.
    """
    if rows.x.shape[1] <= len(rows.x):
        return rows
    z = jnp.linalg.qr(rows.written_out().T, mode="r").T
    return Rows(z, jnp.zeros(len(z)), jnp.ones(len(z)))


def _ridge_fit(
    inputs: jax.Array,
    targets: jax.Array,
    fold: jax.Array,
    num_folds: int,
    sort: bool,
    keep: jax.Array | None,
) -> Callable[[jax.Array, Rows], jax.Array]:
    """From the folds to fit [F], and their rows, to the predictions [S, N, T] of every penalty."""
    strengths = jnp.array(STRENGTHS, jnp.float32)
    sum_up = functools.partial(ridge.fold_moments, targets=targets, fold=fold, num_folds=num_folds)
    is_wide = inputs.shape[1] > len(inputs)
    moments = None if sort or is_wide else sum_up(inputs)

    def fit(folds: jax.Array, rows: Rows) -> jax.Array:
        if moments is not None:
            return ridge.predict(ridge.regress(moments, folds, strengths, keep=keep), inputs)
        # Each fold's rows are sorted by the scale of its own fitting rows.
        x = rows.written_out()
        return ridge.predict(ridge.regress(sum_up(x), folds, strengths, standardised=True), x)

    return fit
