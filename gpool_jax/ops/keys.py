"""Random keys that belong to an example, whichever device computes it."""

import jax


def example_keys(key: jax.Array, index: jax.Array) -> jax.Array:
    """Derive one key per example [B] from its global index, int [B], in the batch or data set.

    Folding in a *global* index makes every draw independent of how devices share the batch.
    """
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, index)
