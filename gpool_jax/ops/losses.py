"""Losses, one value per example."""

import jax
import jax.numpy as jnp
import optax


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Softmax cross-entropy, in float32 whatever the network computes in.

    Args:
      logits: [B, K].
      labels: int [B] in [0, K).

    Returns:
      float32 [B], in nats.
    """
    return optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels)
