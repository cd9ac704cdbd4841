"""Losses, one value per example."""

import jax
import jax.numpy as jnp


def cross_entropy(
    logits: jax.Array, labels: jax.Array, *, label_smoothing: float = 0.0
) -> jax.Array:
    """Softmax cross-entropy, in float32 whatever the network computes in.

    Args:
      logits: [B, K].
      labels: int [B] in [0, K).
      label_smoothing: share of each label spread evenly over all K classes
        (Szegedy et al., 2016, section 7).

    Returns:
      float32 [B], in nats.
    """
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    chosen = jnp.take_along_axis(log_p, labels[:, None], axis=-1)[:, 0]
    return -((1.0 - label_smoothing) * chosen + label_smoothing * log_p.mean(axis=-1))
