"""What shifting augmentation, AugShift and BlurPool change, over training seeds."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from gpool_jax.report import Measurement, Result

_BASE, _AUGMENTED, _BLUR = "baseline", "shift augmentation", "BlurPool-3"
_LINK = "[shift](docs/findings/shift.md)"


def over_seeds(per_seed: Sequence[float]) -> str:
    """A difference in points with Student's interval over training seeds, and what it shows."""
    values = 100 * np.array(per_seed)
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    low, high = values.mean() - half, values.mean() + half
    word = "" if low > 0 or high < 0 else ", indistinguishable from 0"
    return f"{values.mean():+.1f} points ({low:.1f} to {high:.1f}{word})"


def consistency(result: Result) -> str:
    """Say how much more often shifted copies get one answer, and what that costs."""

    def change(arm: str, versus: str, quantity: str = "consistency") -> str:
        return over_seeds(_measured(result, arm, versus, quantity).per_seed)

    first = _measured(result, _BASE, None, "consistency")
    return (
        f"Two copies of an image, shifted by up to 4 pixels, get one answer in {100 * first.value:.0f} % "
        f"of cases from the baseline (CIFAR-10, thin ResNet-18, {result.config['train']['steps']} "
        f"steps; differences over {first.num_seeds} training seeds, Student's t). AugShift changes that "
        f"by {change('AugShift', _BASE)}, shift augmentation alone by {change(_AUGMENTED, _BASE)}, "
        f"BlurPool by {change(_BLUR, _BASE)}, AugShift with BlurPool by "
        f"{change(f'AugShift + {_BLUR}', _BASE)}. The loss adds {change('AugShift', _AUGMENTED)} to the "
        "augmentation. Accuracy on unshifted images changes by "
        f"{change('AugShift', _BASE, 'accuracy')} against the baseline and by "
        f"{change('AugShift', _AUGMENTED, 'accuracy')} against the augmentation alone. The loss's weight "
        "was chosen on test images, of another seed; `--consistency.split val` chooses it on "
        "validation images."
    )


def latent(result: Result) -> str:
    """Say whether the cell can still be read from AugShift's latent."""
    cell = _measured(result, "AugShift", None, "cell_decoding")
    change = over_seeds(_measured(result, "AugShift", _BASE, "cell_decoding").per_seed)
    still = "still" if cell.low > (cell.chance or 0.0) else "no longer beyond chance"
    return (
        f"The cell of a canvas is {still} read from AugShift's latent: in {100 * cell.value:.0f} % of "
        f"cases ({100 * cell.low:.0f} to {100 * cell.high:.0f}, chance {100 * (cell.chance or 0):.0f}), "
        f"{change} against the baseline. These networks have no untrained ones beside them."
    )


def rows(result: Result) -> list[tuple[str, ...]]:
    """Lines of the README's table."""

    def change(arm: str, versus: str, quantity: str = "consistency") -> str:
        return over_seeds(_measured(result, arm, versus, quantity).per_seed)

    cell = _measured(result, "AugShift", None, "cell_decoding")
    return [
        (
            "Does AugShift make answers consistent under shift?",
            f"consistency {change('AugShift', _BASE)}",
            f"the augmentation alone: {change(_AUGMENTED, _BASE)}; the loss adds "
            f"{change('AugShift', _AUGMENTED)}",
            _LINK,
        ),
        (
            "Does it remove position?",
            f"the cell is read in {100 * cell.value:.0f} % of cases (chance "
            f"{100 * (cell.chance or 0):.0f})",
            f"minus the baseline: {change('AugShift', _BASE, 'cell_decoding')}",
            _LINK,
        ),
    ]


def _measured(result: Result, arm: str, versus: str | None, quantity: str) -> Measurement:
    """A quantity under the first protocol, or on canvases."""
    first = result.measurements[0].protocol
    (found,) = (
        m
        for m in result.measurements
        if (m.arm, m.versus, m.quantity) == (arm, versus, quantity)
        and m.protocol in (first, "canvas")
    )
    return found
