"""Random keys that belong to an example, whichever device computes it."""

import jax


def example_keys(key: jax.Array, index: jax.Array) -> jax.Array:
    """Derive one key per example from its index in the global batch or data set.

    Folding in a *global* index makes every draw independent of how devices share the batch.

    Args:
      key: PRNG key shared by the whole batch.
      index: int [B], global index of each example.

    Returns:
      Keys [B].
    """
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, index)
