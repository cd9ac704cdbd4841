"""Randomness that belongs to an example, wherever the example is computed."""

import jax


def example_keys(key: jax.Array, index: jax.Array) -> jax.Array:
    """One key per example, from its place in the global batch or data set.

    Folding in a *global* index makes every draw independent of how the batch is
    cut over devices.

    Args:
      key: PRNG key shared by the whole batch.
      index: int [B], global index of each example.

    Returns:
      Keys [B].
    """
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, index)
