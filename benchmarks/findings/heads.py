"""What GAPNet, PermuteNet and a head that is permuted at test can answer."""

from gpool_jax.report import Result, Row

_PERMUTED = "linear head, permuted at test"
# 20 epochs of batches of 48 among 45,000 images.
_PAPER_STEPS = 20 * 937
_LINK = "[heads](docs/findings/heads.md)"


def at_length(result: Result, arm: str, task: str, back: int = 0) -> Row:
    """An arm's accuracy after the longest stated training, or one that many before it."""
    found = [r for r in result.rows if (r.arm, r.task) == (arm, task) and r.checkpoint != "best"]
    return sorted(found, key=lambda row: row.steps)[-1 - back]


def beyond_chance(row: Row) -> str:
    """Say where the interval of an accuracy is against chance."""
    if row.low > row.chance:
        return "above chance"
    return "below chance" if row.high < row.chance else "indistinguishable from chance"


def is_rising(result: Result, arm: str, task: str) -> bool:
    """Tell whether the longest training beats the one before it."""
    return at_length(result, arm, task).low > at_length(result, arm, task, back=1).high


def say(result: Result) -> str:
    """Say what each head answers, and where that is against chance."""

    def cite(arm: str, task: str) -> str:
        row = at_length(result, arm, task)
        interval = f"{100 * row.low:.1f} to {100 * row.high:.1f}"
        return f"{100 * row.accuracy:.1f} % of {task} ({interval}, {beyond_chance(row)})"

    first = at_length(result, "GAPNet", "location")
    chances = [
        100 * at_length(result, "GAPNet", task).chance for task in ("location", "recognition")
    ]
    rising = [task for task in ("location", "recognition") if is_rising(result, "PermuteNet", task)]
    still = f"; with training {' and '.join(rising)} still rises" if rising else ""
    seeds = (
        "one seed, intervals over images" if first.num_seeds == 1 else f"{first.num_seeds} seeds"
    )
    return (
        f"After {first.steps[0]} steps (CIFAR-10, width {result.config['model']['width']:g}, {seeds}; "
        f"chance {chances[0]:.1f} and {chances[1]:.1f}) a GAPNet answers {cite('GAPNet', 'location')} "
        f"and {cite('GAPNet', 'recognition')}. A linear head whose channels are permuted at test only "
        f"answers {cite(_PERMUTED, 'location')} and {cite(_PERMUTED, 'recognition')}: it used the "
        f"order, whichever task it was trained on. Trained through permutation, a PermuteNet answers "
        f"{cite('PermuteNet', 'location')} and {cite('PermuteNet', 'recognition')}{still}. The paper's "
        f"networks are trained {_PAPER_STEPS / first.steps[0]:.0f} times as long."
    )


def rows(result: Result) -> list[tuple[str, ...]]:
    """The line of the README's table."""

    def pair(arm: str) -> str:
        found = [at_length(result, arm, task) for task in ("location", "recognition")]
        return " and ".join(f"{100 * row.accuracy:.0f} %" for row in found)

    chances = [at_length(result, "GAPNet", task).chance for task in ("location", "recognition")]
    chance = " and ".join(f"{100 * value:.0f}" for value in chances)
    return [
        (
            "What is learnt without the order?",
            f"by a PermuteNet, in a short training, {pair('PermuteNet')} of location and recognition "
            f"(chance {chance})",
            f"GAPNet: {pair('GAPNet')}; permuted at test only: {pair(_PERMUTED)}",
            _LINK,
        )
    ]
