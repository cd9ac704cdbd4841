"""How much predictions and latents change when the input is shifted.

Every agreement is a (sum, count) per image: quotients of totals are exact over unequal batches,
and images can be resampled for intervals.
"""

import jax
import jax.numpy as jnp

Tally = tuple[jax.Array, jax.Array]


def pair_agreement(predictions: jax.Array, labels: jax.Array) -> dict[str, Tally]:
    """Agreement over views in pairs: view 0 with 1, 2 with 3, ...

    `predictions`, int [B, S], S even, is the class predicted for each view; `labels` is int [B].

    Returns:
      `consistency`, the share of pairs that agree (Zhang, "Making convolutional networks
      shift-invariant again", 2019, section 4.1); and `consistency_given_correct`, the share of
      correct views whose partner is correct too. Each float32 ([B], [B]).
    """
    first, second = predictions[:, 0::2], predictions[:, 1::2]
    right = predictions == labels[:, None]
    both = right[:, 0::2] & right[:, 1::2]
    return {
        "consistency": _tally(first == second),
        "consistency_given_correct": (
            2.0 * both.sum(axis=1).astype(jnp.float32),
            right.sum(axis=1).astype(jnp.float32),
        ),
    }


def grid_agreement(predictions: jax.Array, labels: jax.Array, num_classes: int) -> dict[str, Tally]:
    """Agreement over all ordered pairs of different views; otherwise as `pair_agreement`.

    Counting how often each of the classes is predicted gives the pairs without making them: n
    predictions of one class are n (n - 1) agreeing pairs.
    """
    views = predictions.shape[1]
    votes = jax.nn.one_hot(predictions, num_classes, dtype=jnp.float32).sum(axis=1)
    right = (predictions == labels[:, None]).sum(axis=1).astype(jnp.float32)
    pairs = jnp.full_like(right, views * (views - 1))
    return {
        "consistency": ((votes * (votes - 1.0)).sum(axis=1), pairs),
        "consistency_given_correct": (right * (right - 1.0), right * (views - 1)),
    }


def accuracy_under_shift(
    predictions: jax.Array, clean: jax.Array, labels: jax.Array
) -> dict[str, Tally]:
    """Accuracy without shift, over shifts, and in the worst case.

    `predictions` [B, S] are those of the shifts, `clean` [B] that of the unshifted image.

    Returns:
      `accuracy`, `shifted_accuracy`, and `worst_case_accuracy` (correct on the unshifted image
      and on every shift of it), each float32 ([B], [B]).
    """
    right = predictions == labels[:, None]
    clean_right = clean == labels
    return {
        "accuracy": _tally(clean_right[:, None]),
        "shifted_accuracy": _tally(right),
        "worst_case_accuracy": _tally((right.all(axis=1) & clean_right)[:, None]),
    }


def agreement_by_distance(
    predictions: jax.Array, clean: jax.Array, distance: jax.Array, num_distances: int
) -> Tally:
    """Agreement with the prediction for the unshifted image, by distance shifted.

    From predictions [B, S], `clean` [B] and `distance` [B, S] in [0, num_distances), all int, to
    float32 ([B, num_distances], [B, num_distances]).
    """
    bins = jax.nn.one_hot(distance, num_distances, dtype=jnp.float32)
    agree = (predictions == clean[:, None]).astype(jnp.float32)
    return (agree[:, :, None] * bins).sum(axis=1), bins.sum(axis=1)


def view_changes(
    logits: jax.Array, clean_logits: jax.Array, latent: jax.Array, clean_latent: jax.Array
) -> dict[str, jax.Array]:
    """Distance of each view's outputs from those of the unshifted image.

    `logits` [B, S, K] and `latent` [B, S, C] are the views', `clean_logits` [B, K] and
    `clean_latent` [B, C] the image's.

    Returns:
      float32 [B, S] each: `probability_change`, the absolute change of the probability of the
      class predicted for the unshifted image (Azulay and Weiss, 2019); `latent_distance`,
      Euclidean; `latent_cosine`.
    """
    probability = jax.nn.softmax(logits.astype(jnp.float32))
    clean_probability = jax.nn.softmax(clean_logits.astype(jnp.float32))
    predicted = clean_logits.argmax(axis=-1)
    of_predicted = jnp.take_along_axis(probability, predicted[:, None, None], axis=-1)[..., 0]
    clean_of_predicted = jnp.take_along_axis(clean_probability, predicted[:, None], axis=-1)
    latent, anchor = latent.astype(jnp.float32), clean_latent.astype(jnp.float32)[:, None, :]
    norms = jnp.linalg.norm(latent, axis=-1) * jnp.linalg.norm(anchor, axis=-1)
    return {
        "probability_change": jnp.abs(of_predicted - clean_of_predicted),
        "latent_distance": jnp.linalg.norm(latent - anchor, axis=-1),
        "latent_cosine": (latent * anchor).sum(axis=-1) / jnp.maximum(norms, 1e-12),
    }


def _tally(values: jax.Array) -> Tally:
    """Sum and count of [B, S] over S."""
    values = values.astype(jnp.float32)
    return values.sum(axis=1), jnp.full(values.shape[0], values.shape[1], jnp.float32)
