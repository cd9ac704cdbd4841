"""Where in the vector position lies, and what depends on the channels that carry it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from gpool_jax import ops
from gpool_jax.config import AuditConfig
from gpool_jax.experiments.audit import position
from gpool_jax.experiments.audit.latents import Classify, Latents
from gpool_jax.experiments.audit.scores import Score

# Channels whose responses to the cells are drawn.
_NUM_TUNED = 12
_NUM_DRIVERS = 3
FILLS = ("zero", "mean")
POSITION, RANDOM, MATCHED = "position channels", "random channels", "matched channels"


@dataclasses.dataclass(frozen=True)
class Channels:
    """What is known of each channel.

    Attributes:
      columns: column to values [C].
      order: int [C], channels by translation difference, the most first.
      tuning: float [k, n, n], mean responses of the first channels by cell.
      drivers: int [k, 3], the images that each of them responds to most, over all cells.
      scores: lines of the question "channels".
    """

    columns: dict[str, np.ndarray]
    order: np.ndarray
    tuning: np.ndarray
    drivers: np.ndarray
    scores: list[Score]


def describe(config: AuditConfig, latents: Latents, stage: str) -> Channels:
    """Split each channel's variance, and rank channels by translation and by flip difference."""
    latent = latents.cells[stage]
    num_images, _, channels = latent.shape
    shares = ops.variance_shares(jnp.asarray(latent))
    deviation = np.maximum(latent.reshape(-1, channels).std(axis=0), 1e-12)
    pairs = ops.absolute_translation_difference(jnp.asarray(latent))
    translation = np.asarray(pairs) / deviation
    flip = np.abs(latents.plain - latents.mirrored) / deviation
    order = ops.rank_channels(translation.mean(axis=0))
    columns = {
        "position": np.asarray(shares.position),
        "content": np.asarray(shares.content),
        "interaction": np.asarray(shares.interaction),
        "translation": translation.mean(axis=0),
        "flip": flip.mean(axis=0),
        "mean": latent.reshape(-1, channels).mean(axis=0),
        "variance": latent.reshape(-1, channels).var(axis=0),
        "translation_rank": np.argsort(order) + 1,
    }
    shown = order[: min(_NUM_TUNED, channels)]
    tuning = latent[:, :, shown].mean(axis=0).T.reshape(-1, config.n, config.n)
    responses = latent[:, :, shown].mean(axis=1)
    drivers = np.argsort(-responses, axis=0, kind="stable")[:_NUM_DRIVERS].T
    whole = _variance_split(latent)
    scores = [Score("channels", f"variance, {k}", "ordered", stage, v) for k, v in whole.items()]
    halves = [translation[i::2].mean(axis=0) for i in (0, 1)]
    correlations = {
        "translation with flip": (columns["translation"], columns["flip"]),
        "translation, two halves of the images": (halves[0], halves[1]),
    }
    for name, pair in correlations.items():
        value = np.full(num_images, ops.rank_correlation(*pair))
        scores.append(Score("channels", name, "rank correlation", stage, value, 0.0, "correlation"))
    return Channels(columns, order, tuning, drivers, scores)


def _variance_split(latent: np.ndarray) -> dict[str, np.ndarray]:
    """Shares of the whole vector's variance, channels standardised, by image: float [N] each.

    Their means over images are the shares. What an image adds to that of position counts twice,
    since the cells' means move with it (the influence function of a square): so is the interval.
    """
    x = np.asarray(ops.standardise(jnp.asarray(latent)), np.float64)
    overall = x.mean(axis=(0, 1))
    cell, image = x.mean(axis=0) - overall, x.mean(axis=1) - overall
    rest = x - overall - cell[None] - image[:, None]
    total = float(((x - overall) ** 2).mean()) or 1.0
    along = ((x - overall) * cell[None]).mean(axis=(1, 2)) / total
    return {
        "position": 2.0 * along - along.mean(),
        "content": (image**2).mean(axis=1) / total,
        "interaction": (rest**2).mean(axis=(1, 2)) / total,
    }


def remove(
    config: AuditConfig,
    latents: Latents,
    stage: str,
    channels: Channels,
    classify: Classify | None,
) -> tuple[list[Score], list[str]]:
    """Remove the channels that carry most position, beside random and matched ones.

    Probes are fitted again on what is left. Without a head only they are measured.
    """
    latent = latents.cells[stage]
    num_channels = latent.shape[2]
    count = min(max(1, round(config.removed * num_channels)), num_channels // 2)
    if count < 1:
        return [], [f"A vector of {num_channels} channels leaves none to compare with."]
    first = channels.order[:count]
    key = jax.random.key(config.seed)
    random = ops.random_orders(key, config.draws, num_channels)[:, :count]
    mean, variance = (channels.columns[name] for name in ("mean", "variance"))
    matched = ops.matched_channels(
        key, first, mean, variance, num_draws=config.draws, caliper=config.caliper
    )
    sets = {POSITION: first[None], RANDOM: random, MATCHED: matched}
    notes = [_balance(config, first, matched, mean, variance)]
    scores: list[Score] = []
    for name, drawn in sets.items():
        if not len(drawn):
            continue
        kept = [np.isin(np.arange(num_channels), removed, invert=True) for removed in drawn]
        if classify is not None:
            for fill in FILLS:
                scores += _answers(latents.plain, kept, classify, fill, name, count, stage, mean)
        scores += _refitted(config, latent, kept, name, count, stage)
    return scores, notes


def _answers(
    plain: np.ndarray,
    kept: list[np.ndarray],
    classify: Classify,
    fill: str,
    name: str,
    count: int,
    stage: str,
    mean: np.ndarray,
) -> list[Score]:
    """Agreement with the network's own answer, and KL divergence from it in bits."""
    own = jax.nn.log_softmax(classify(jnp.asarray(plain)))
    value = jnp.asarray(mean if fill == "mean" else np.zeros_like(mean), jnp.float32)
    same, apart = [], []
    for keep in kept:
        changed = jnp.where(jnp.asarray(keep)[None], jnp.asarray(plain), value[None])
        found = jax.nn.log_softmax(classify(changed))
        same.append(np.asarray(found.argmax(-1) == own.argmax(-1), np.float64))
        apart.append(np.asarray((jnp.exp(own) * (own - found)).sum(-1)) / np.log(2.0))
    condition = f"{count} {name} removed, {fill}"
    return [
        Score("removal", "answers kept", condition, stage, np.mean(same, axis=0)),
        Score("removal", "divergence", condition, stage, np.mean(apart, axis=0), None, "bits"),
    ]


def _refitted(
    config: AuditConfig,
    latent: np.ndarray,
    kept: list[np.ndarray],
    name: str,
    count: int,
    stage: str,
) -> list[Score]:
    """Position and content of what is left, read by probes that are fitted to it."""
    num_images, cells, _ = latent.shape
    cell = np.tile(np.arange(cells), (num_images, 1))
    hits, found = [], []
    for keep in kept:
        left = np.ascontiguousarray(latent[:, :, keep])
        hits.append(position.cell_hits(left, cell, cells, folds=config.folds, kinds=("ridge",)))
        x = ops.standardise(jnp.asarray(left))
        found.append(np.asarray(ops.content_matches(x)).mean(axis=1))
    condition = f"{count} {name} removed, fitted again"
    return [
        Score("removal", "cell", condition, stage, np.mean(hits, axis=0), 1.0 / cells),
        Score("removal", "image", condition, stage, np.mean(found, axis=0), 1.0 / num_images),
    ]


def _balance(
    config: AuditConfig,
    first: np.ndarray,
    matched: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
) -> str:
    if not len(matched):
        return (
            f"No set of channels matches those that carry most position within "
            f"{config.caliper:g} spreads of log mean and log variance: there is no matched control."
        )
    differences = ops.standardised_differences(first, matched, mean, variance)
    means, variances = (f"{value:+.2f}" for value in differences)
    return (
        f"Matched channels differ from the position channels by {means} in log mean and "
        f"{variances} in log variance (standardised), over {len(matched)} draws."
    )
