"""Scores of each image, and the lines that they become beside those of untrained twins."""

import dataclasses

import numpy as np

from gpool_jax import ops
from gpool_jax.report.audit_result import Line


@dataclasses.dataclass(frozen=True)
class Score:
    """One quantity of one network, image by image.

    Attributes:
      per_image: float [N]: its mean is the value.
      chance: the value of a guess, where there is one.
      unit: "share", "bits" or "ratio".
    """

    question: str
    quantity: str
    condition: str
    stage: str
    per_image: np.ndarray
    chance: float | None = None
    unit: str = "share"

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Tells the quantity from any other of the network."""
        return self.question, self.quantity, self.condition, self.stage


def make_line(scores: list[Score], *, control: str, bootstrap: int) -> Line:
    """Make the line of a network, or of its twins: one score each, of the same images."""
    first = scores[0]
    values = np.stack([score.per_image for score in scores]).astype(np.float64)
    interval = _interval(values, first.unit, bootstrap)
    return Line(
        question=first.question,
        quantity=first.quantity,
        condition=first.condition,
        stage=first.stage,
        control=control,
        unit=first.unit,
        value=float(values.mean()),
        low=interval[0],
        high=interval[1],
        chance=first.chance,
        num_images=values.shape[1],
        num_seeds=len(values),
        per_seed=[float(v) for v in values.mean(axis=1)],
    )


def make_lines(own: list[Score], twins: list[list[Score]], *, bootstrap: int) -> list[Line]:
    """Make the lines of a network, each followed by that of its twins."""
    lines = []
    found = [{score.key: score for score in twin} for twin in twins]
    for score in own:
        lines.append(make_line([score], control="", bootstrap=bootstrap))
        same = [twin[score.key] for twin in found if score.key in twin]
        if same:
            lines.append(make_line(same, control="untrained", bootstrap=bootstrap))
    return lines


def share_lines(
    networks: list[list[Score]], *, stage: str, control: str, bootstrap: int
) -> list[Line]:
    """Surviving shares of position and of content, and their paired difference.

    (sorted - chance) / (ordered - chance): what of an answer needs no order of the channels.
    `networks` are the scores of a network, or those of its twins, on the same images.
    """
    each = [_shares(_of_stage(scores, stage), bootstrap) for scores in networks]
    lines = []
    for name in each[0] if each else ():
        values = np.array([shares[name][0] for shares in each])
        draws = np.stack([shares[name][1] for shares in each], axis=1)
        value = float(values.mean())
        if len(each) == 1:
            low, high = (_quantile(draws[:, 0], share) for share in (0.025, 0.975))
        else:
            drawn = np.concatenate([draws, draws.mean(axis=1, keepdims=True)], axis=1)
            low, high = ops.seed_interval(value, values, drawn)
        lines.append(
            Line(
                *("share", name, "sorted of ordered", stage, control, "ratio"),
                value=value,
                low=low,
                high=high,
                chance=None,
                num_images=len(networks[0][0].per_image),
                num_seeds=len(each),
                per_seed=[float(v) for v in values],
            )
        )
    return lines


def _of_stage(scores: list[Score], stage: str) -> dict[str, Score]:
    return {f"{s.quantity} {s.condition}": s for s in scores if s.stage == stage}


def _shares(own: dict[str, Score], bootstrap: int) -> dict[str, tuple[float, np.ndarray]]:
    """Each share, and its values over resampled images."""
    found = {}
    for name, quantity in (("position", "cell"), ("content", "image")):
        ordered, unordered = own[f"{quantity} ordered"], own[f"{quantity} sorted"]
        found[name] = ops.surviving_share(
            ordered.per_image,
            unordered.per_image,
            chance=ordered.chance or 0.0,
            num_draws=bootstrap,
        )
    (content, contents), (position, positions) = found["content"], found["position"]
    return found | {"content minus position": (content - position, contents - positions)}


def _interval(values: np.ndarray, unit: str, bootstrap: int) -> tuple[float, float]:
    if unit == "correlation" or np.isnan(values).all():
        return float("nan"), float("nan")  # of the channels, not of images; or of nothing
    if unit == "share":
        return ops.bootstrap_interval(values, num_draws=bootstrap)
    return ops.bootstrap_ratio(values, np.ones_like(values), num_draws=bootstrap)


def _quantile(values: np.ndarray, share: float) -> float:
    finite = values[np.isfinite(values)]
    return float(np.quantile(finite, share)) if len(finite) else float("nan")
