"""Losses: one value per example, or per pixel."""

import jax
import jax.numpy as jnp
import numpy as np

INVARIANCE_NORMS = ("l1", "l2", "smooth_l1", "cosine")
LATENT_SCALES = ("none", "length", "batch")


def cross_entropy(
    logits: jax.Array, labels: jax.Array, *, label_smoothing: float = 0.0
) -> jax.Array:
    """Softmax cross-entropy in nats, float32 [B] whatever type the network computes in.

    Args:
      logits: [B, K].
      labels: int [B] in [0, K).
      label_smoothing: share of each label that is spread evenly over all K classes (Szegedy et
        al., 2016, section 7).
    """
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    chosen = jnp.take_along_axis(log_p, labels[:, None], axis=-1)[:, 0]
    return -((1.0 - label_smoothing) * chosen + label_smoothing * log_p.mean(axis=-1))


def pixel_cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    *,
    class_weights: jax.Array | None = None,
    focal_gamma: float = 0.0,
) -> tuple[jax.Array, jax.Array]:
    """Cross-entropy of every labelled pixel, or the focal loss, in float32.

    Args:
      logits: [..., K].
      labels: int [...]; values outside [0, K), such as 255, are ignored.
      class_weights: [K]; None: all 1.
      focal_gamma: a pixel's loss is multiplied by (1 - p)^gamma, p being the probability of its
        label (Lin et al., "Focal loss for dense object detection", 2017, equation 4); 0:
        cross-entropy.

    Returns:
      float32 [...] twice: the losses, not yet weighted, and the pixels' weights, both 0 where
      ignored. A mean is `(losses * weights).sum() / weights.sum()`.
    """
    num_classes = logits.shape[-1]
    labels = labels.astype(jnp.int32)
    labelled = (labels >= 0) & (labels < num_classes)
    labels = jnp.where(labelled, labels, 0)
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    # A choice and a sum: the gradient of a look-up would be a scatter.
    is_label = jax.nn.one_hot(labels, num_classes, dtype=bool)
    chosen = jnp.where(is_label, log_p, 0.0).sum(axis=-1)
    losses = -chosen
    if focal_gamma > 0:
        # The gradient of 0 ** gamma is infinite below gamma 1: keep away from 0.
        losses = losses * jnp.maximum(-jnp.expm1(chosen), 1e-7) ** focal_gamma
    weights = labelled.astype(jnp.float32)
    if class_weights is not None:
        weights = weights * jnp.asarray(class_weights, jnp.float32)[labels]
    return jnp.where(labelled, losses, 0.0), weights


def invariance_loss(
    latent: jax.Array,
    *,
    norm: str = "l2",
    normalise: str = "none",
    stop_gradient: bool = False,
    axis_name: str | None = None,
) -> jax.Array:
    r"""Distance between the latents of differently shifted views of one image: float32 [B].

    With d the difference of two views' latents over C channels: "l1" is the mean of \|d\|,
    "l2" the mean of d^2, "smooth_l1" the mean of d^2 / 2 where \|d\| < 1 and \|d\| - 1/2
    elsewhere (Huber), "cosine" one minus the cosine. With more than two views, the mean over
    all pairs. The paper names such a loss without a formula: norm, scale and branches are
    choices to be measured.

    Args:
      latent: [V, B, C], V at least 2.
      norm: one of `INVARIANCE_NORMS`.
      normalise: one of `LATENT_SCALES`. "none": the latents as they are; a network can reduce
        the loss by shrinking them. "length": each divided by its root mean square ("l2" is then
        twice the cosine loss); a network can reduce it by making all images' latents alike.
        "batch": each channel scaled to zero mean and unit variance over the views and images of
        the batch, so that only being close *compared with other images* counts.
      stop_gradient: hold the earlier view of each pair fixed and move the later one only;
        otherwise both move.
      axis_name: mapped axis over which the batch's mean and variance are taken.

    Raises:
      ValueError: for fewer than two views, an unknown norm or an unknown scale.
    """
    if latent.shape[0] < 2:
        raise ValueError(f"`latent` must hold at least 2 views; got {latent.shape[0]}.")
    if norm not in INVARIANCE_NORMS:
        raise ValueError(f"`norm` must be one of {INVARIANCE_NORMS}; got {norm!r}.")
    if normalise not in LATENT_SCALES:
        raise ValueError(f"`normalise` must be one of {LATENT_SCALES}; got {normalise!r}.")
    latent = latent.astype(jnp.float32)
    # A fixed view must not move through the statistics of the batch either.
    fixed = jax.lax.stop_gradient(latent) if stop_gradient else latent
    latent = _rescale(latent, fixed, normalise, axis_name)
    first, second = np.triu_indices(latent.shape[0], k=1)
    anchor, moved = latent[first], latent[second]
    if stop_gradient:
        anchor = jax.lax.stop_gradient(anchor)
    return jnp.mean(_distance(anchor, moved, norm), axis=0)


def _rescale(
    latent: jax.Array, measured: jax.Array, normalise: str, axis_name: str | None
) -> jax.Array:
    """Scale `latent`; for "batch", by the statistics of `measured`."""
    if normalise == "length":
        mean_square = jnp.mean(latent**2, axis=-1, keepdims=True)
        return latent * jax.lax.rsqrt(mean_square + 1e-12)
    if normalise == "batch":

        def mean(values: jax.Array) -> jax.Array:
            values = jnp.mean(values, axis=(0, 1), keepdims=True)
            return values if axis_name is None else jax.lax.pmean(values, axis_name)

        centre = mean(measured)
        # A channel that is silent over the whole batch stays silent.
        return (latent - centre) * jax.lax.rsqrt(mean((measured - centre) ** 2) + 1e-6)
    return latent


def _distance(a: jax.Array, b: jax.Array, norm: str) -> jax.Array:
    """[P, B, C] twice -> [P, B]."""
    if norm == "cosine":
        # The constant keeps the gradient of a latent of zeros finite.
        first, second = (jax.lax.rsqrt((v**2).sum(-1) + 1e-12) for v in (a, b))
        return 1.0 - (a * b).sum(-1) * first * second
    gap = jnp.abs(a - b)
    if norm == "l2":
        gap = gap**2
    elif norm == "smooth_l1":
        gap = jnp.where(gap < 1.0, 0.5 * gap**2, gap - 0.5)
    return gap.mean(-1)
