"""Cross-validation with a fold to pick on: nothing is chosen on the rows it is measured on."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def hold_out(
    fit: Callable[[jax.Array], dict[str, jax.Array]],
    score: Callable[[jax.Array], jax.Array],
    fold: jax.Array,
    num_folds: int,
) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Predict each fold by what is fitted without it, the penalty picked on the next fold.

    Args:
      fit: from the folds to fit, bool [F], to the outputs [S, N, T] of every penalty, for each
        kind of model.
      score: from outputs [S, N, T] to scores [S, N] of rows; larger is better.
      fold: int [N].
      num_folds: F.

    Returns:
      For each kind, the outputs [N, T], and the best penalty's mean score on the picking
      folds [F].
    """
    if num_folds < 3:
        raise ValueError(f"`num_folds` must be at least 3; got {num_folds}.")
    every = jnp.arange(num_folds)

    def one_fold(k: jax.Array) -> dict[str, tuple[jax.Array, jax.Array]]:
        pick = (k + 1) % num_folds
        outputs = fit((every != k) & (every != pick))
        return {kind: choose(k, pick, each) for kind, each in outputs.items()}

    def choose(k: jax.Array, pick: jax.Array, outputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        picking = (fold == pick).astype(jnp.float32)
        scores = (score(outputs) * picking[None]).sum(axis=1) / picking.sum()
        # What could not be solved is not picked.
        scores = jnp.where(jnp.isfinite(scores), scores, -jnp.inf)
        held_out = (fold == k)[:, None]
        return jnp.where(held_out, outputs[jnp.argmax(scores)], 0.0), scores.max()

    # One by one: with the memory of one, and no fold's line search waits for another's.
    folds = jax.lax.map(one_fold, every)
    return {kind: (outputs.sum(axis=0), picked) for kind, (outputs, picked) in folds.items()}
