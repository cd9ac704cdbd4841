"""Sentences on the paper's claims, made by rule from the committed results.

A statement is made where an interval excludes the alternative; else it says that the two are
indistinguishable. `python -m benchmarks.tables --write` puts them into docs/findings/ and the
README, and draws the figures.
"""

import itertools
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks import channel_tables
from gpool_jax.report import Measurement, Result, Row, read_result
from gpool_jax.report.audit_result import Audited, Line, read_audit
from gpool_jax.report.channel_result import Removal, select

CELL = ("position", "cell", "ordered")
SHARE = "sorted of ordered"
RANKINGS = ("flip", "translation", "gate")
FILLS = ("zero", "mean")


def claims(results: Path) -> dict[str, str]:
    """Every paragraph, by the name of its block."""
    networks = audited(results)
    return {
        "claim survives": survives(networks),
        "claim order": order(networks),
        "claim erased": erased(networks),
        "claim heads": heads(read_result(results / "compare_cifar10_cpu")),
        "claim shift": shift(read_result(results / "invariance_cifar10_cpu")),
        "claim latent": latent(read_result(results / "invariance_cifar10_cpu")),
        "claim channels": channels(channel_tables.read_seeds(results / "channels_camvid")),
        "claim regions": regions(channel_tables.read_seeds(results / "channels_camvid")),
        "claim rankings": rankings(sorted((results / "channels_camvid").glob("*/ranking.json"))),
    }


def summary(results: Path) -> list[tuple[str, ...]]:
    """The README's table: question, finding, control, link."""
    networks = audited(results)
    cells = _pairs(networks, *CELL)
    kept = {
        (quantity, control): _range(
            line.value
            for network in networks
            if (line := network.line("share", quantity, SHARE, control=control))
        )
        for quantity in ("position", "content")
        for control in ("", "untrained")
    }
    compared = read_result(results / "compare_cifar10_cpu")
    shifted = read_result(results / "invariance_cifar10_cpu")
    attacks = channel_tables.read_seeds(results / "channels_camvid")

    def accuracy(arm: str, task: str) -> str:
        return f"{100 * _last_row(compared, arm, task).accuracy:.0f} %"

    def change(arm: str, versus: str, quantity: str) -> str:
        return _seeds(_measured(shifted, arm, versus, quantity))

    permuted = "linear head, permuted at test"
    before, after, other, answers = _erasure(networks)
    return [
        ("question", "finding", "control", ""),
        (
            "Does position survive pooling?",
            f"yes: the cell is read in {_range(own.value for _, own, _ in cells)} % of cases "
            f"(chance 11; {len(cells)} networks)",
            f"untrained: {_range(twin.value for *_, twin in cells)} %",
            _link("audits"),
        ),
        (
            "Is position in the order of the channels, and content not (the claim)?",
            f"{_outcome(networks)}: of position {kept['position', '']} % survives sorting, of "
            f"content {kept['content', '']} %",
            f"untrained: {kept['position', 'untrained']} % and {kept['content', 'untrained']} %",
            _link("audits"),
        ),
        (
            "What is learnt without the order?",
            f"PermuteNet: location {accuracy('PermuteNet', 'location')}, recognition "
            f"{accuracy('PermuteNet', 'recognition')} (chance 11, 10; a short training)",
            f"GAPNet: {accuracy('GAPNet', 'location')}, {accuracy('GAPNet', 'recognition')}; permuted "
            f"at test: {accuracy(permuted, 'location')}, {accuracy(permuted, 'recognition')}",
            _link("heads"),
        ),
        (
            "Does AugShift make answers consistent under shift?",
            f"yes: {change('AugShift', 'baseline', 'consistency')}",
            f"the augmentation alone: {change('shift augmentation', 'baseline', 'consistency')}; "
            f"the loss adds {change('AugShift', 'shift augmentation', 'consistency')}",
            _link("shift"),
        ),
        (
            "Does it remove position?",
            f"no: the cell changes by {change('AugShift', 'baseline', 'cell_decoding')}",
            "baseline",
            _link("shift"),
        ),
        (
            "Does segmentation rest on position channels?",
            _say_ranking(attacks, "flip") + "; " + _say_ranking(attacks, "translation"),
            "random channels, two fills; " + _say_ranking(attacks, "gate"),
            _link("channels"),
        ),
        (
            "Is an attack on one half of the image selective?",
            _say_regions(attacks),
            "random channels, two fills",
            _link("channels"),
        ),
        (
            "Can position be erased?",
            f"for linear probes, from {before} to {after} %; others still read {other} %",
            f"held-out images; {answers} % of the answers stay",
            _link("audits"),
        ),
    ]


def _link(page: str) -> str:
    return f"[{page}](docs/findings/{page}.md)"


def audited(results: Path) -> list[Audited]:
    """The networks of all committed audits."""
    paths = sorted(results.glob("audit/*/audit.json"))
    return [network for path in paths for network in read_audit(path).networks]


def _pairs(networks: Iterable[Audited], *key: str) -> list[tuple[str, Line, Line]]:
    """The line of each network and that of its untrained twins."""
    found = []
    for network in networks:
        own, twins = (network.line(*key, control=control) for control in ("", "untrained"))
        if own is not None and twins is not None:
            found.append((network.name, own, twins))
    return found


def _compare(pairs: Sequence[tuple[str, Line, Line]]) -> tuple[int, int, int]:
    """How many are above, below, and indistinguishable from the other."""
    above = sum(own.low > other.high for _, own, other in pairs)
    below = sum(own.high < other.low for _, own, other in pairs)
    return above, below, len(pairs) - above - below


def _range(values: Iterable[float]) -> str:
    """The least and the largest of some shares, in percent."""
    percent = [f"{100 * value:.0f}" for value in sorted(values)]
    return "\u2013".join(dict.fromkeys((percent[0], percent[-1])))


def survives(networks: Sequence[Audited]) -> str:
    """Whether position survives pooling, and whether training put it there."""
    pairs = _pairs(networks, *CELL)
    above, below, same = _compare(pairs)
    chance = pairs[0][1].chance or 0.0
    beyond = sum(twin.low > chance for *_, twin in pairs)
    return (
        f"In {len(pairs)} trained networks the cell is read from the pooled vector in "
        f"{_range(own.value for _, own, _ in pairs)} % of cases, on held-out images (chance "
        f"{100 * chance:.0f}); from untrained twins in "
        f"{_range(twin.value for *_, twin in pairs)} %. A trained network gives away more than its "
        f"untrained twins in {above} of {len(pairs)}, less in {below}, and in {same} they are "
        f"indistinguishable. Untrained, it is above chance in {beyond} of {len(pairs)}."
    )


def order(networks: Sequence[Audited]) -> str:
    """Whether position needs the channels' order more than content does."""
    words = []
    for control, name in (("", "trained networks"), ("untrained", "their untrained twins")):
        position, content, minus = _shares(networks, control)
        more, less = sum(line.low > 0 for line in minus), sum(line.high < 0 for line in minus)
        words.append(
            f"in {name} {_range(line.value for line in position)} % of what is said on position and "
            f"{_range(line.value for line in content)} % of what is said on content survive sorting, "
            f"content survives better in {more} of {len(minus)}, position in {less}"
        )
    return (
        "The paper's claim is that position is in the order of the channels and semantics largely "
        f"is not. Put to whole networks: {words[0]}; {words[1]}. Among the trained, the claim is "
        f"{_outcome(networks)}."
    )


def _shares(networks: Iterable[Audited], control: str) -> tuple[tuple[Line, ...], ...]:
    """Lines of the surviving shares: position, content, and their difference."""
    names = ("position", "content", "content minus position")
    asked = [
        [net.line("share", name, SHARE, control=control) for name in names] for net in networks
    ]
    return tuple(zip(*(lines for lines in asked if all(lines)), strict=True))


def _outcome(networks: Iterable[Audited]) -> str:
    *_, minus = _shares(networks, "")
    found = {int(line.low > 0) - int(line.high < 0) for line in minus}
    if found == {1}:
        return "true of all of them"
    return "reversed in all of them" if found == {-1} else "true of some and reversed in others"


def erased(networks: Sequence[Audited]) -> str:
    """Whether position can be erased, and what that costs."""
    before, after, other, answers = _erasure(networks)
    return (
        f"Erasing the cell in closed form takes a linear probe on held-out images from {before} % to "
        f"{after} %; a non-linear probe still reads {other} %, and {answers} % of the answers stay."
    )


def _erasure(networks: Sequence[Audited]) -> tuple[str, ...]:
    """Ranges over networks: a linear probe before and after, another after, answers kept."""
    asked = [[net.line("erasure", "cell", condition) for condition in _ERASED] for net in networks]
    columns = zip(*(lines for lines in asked if all(lines)), strict=True)
    kept = [net.line("erasure", "answers kept", "erased") for net in networks]
    found = [[line.value for line in column if line] for column in (*columns, kept)]
    return tuple(_range(values) for values in found)


_ERASED = ("linear probe, before", "linear probe, erased", "non-linear probe, erased")


def heads(result: Result) -> str:
    """What GAPNet, PermuteNet and a head that is permuted at test can answer."""

    def say(arm: str, task: str) -> str:
        row = _last_row(result, arm, task)
        return f"{100 * row.accuracy:.0f} % ({100 * row.low:.0f} to {100 * row.high:.0f})"

    permuted = "linear head, permuted at test"
    steps = _last_row(result, "GAPNet", "location").steps[0]
    return (
        f"After {steps} steps (CIFAR-10, an eighth of ResNet-18's width, one seed, "
        f"intervals over images) a GAPNet answers {say('GAPNet', 'location')} of location and "
        f"{say('GAPNet', 'recognition')} of recognition. A linear head whose channels are permuted "
        f"at test only falls to {say(permuted, 'location')} and {say(permuted, 'recognition')}, chance "
        "for both tasks: it used the order, whichever task it was trained on. Trained through "
        f"permutation, a PermuteNet reaches {say('PermuteNet', 'location')} and "
        f"{say('PermuteNet', 'recognition')} (chance 11 and 10), and location is still rising: the "
        "opposite of the asymmetry that the abstract states, in trainings too short to call it refuted."
    )


def _last_row(result: Result, arm: str, task: str) -> Row:
    """An arm's accuracy after the longest stated training."""
    rows = [r for r in result.rows if (r.arm, r.task) == (arm, task) and r.checkpoint != "best"]
    return max(rows, key=lambda row: row.steps)


def _seeds(measurement: Measurement) -> str:
    """A difference with Student's interval over training seeds, and what it shows."""
    values = 100 * np.array(measurement.per_seed)
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    low, high = values.mean() - half, values.mean() + half
    word = "" if low > 0 or high < 0 else ", indistinguishable from 0"
    return f"{values.mean():+.1f} points ({low:.1f} to {high:.1f}{word})"


def _measured(result: Result, arm: str, versus: str | None, quantity: str) -> Measurement:
    first = result.measurements[0].protocol
    (found,) = (
        m
        for m in result.measurements
        if (m.arm, m.versus, m.quantity) == (arm, versus, quantity)
        and m.protocol in (first, "canvas")
    )
    return found


def shift(result: Result) -> str:
    """Whether AugShift makes a network less sensitive to shifts, and at what cost."""
    base, augmented = "baseline", "shift augmentation"

    def say(arm: str, versus: str, quantity: str) -> str:
        return _seeds(_measured(result, arm, versus, quantity))

    seeds = result.measurements[0].num_seeds
    level = 100 * _measured(result, base, None, "consistency").value
    return (
        f"Two copies of an image, shifted by up to 4 pixels, get one answer in {level:.0f} % of cases "
        f"from the baseline (CIFAR-10, thin ResNet-18, 600 steps; differences over {seeds} training "
        f"seeds, Student's t). AugShift changes that by {say('AugShift', base, 'consistency')}, shift "
        f"augmentation alone by {say(augmented, base, 'consistency')}, BlurPool by "
        f"{say('BlurPool-3', base, 'consistency')}, AugShift with BlurPool by "
        f"{say('AugShift + BlurPool-3', base, 'consistency')}. The loss adds "
        f"{say('AugShift', augmented, 'consistency')} to the augmentation, and changes accuracy on "
        f"unshifted images by {say('AugShift', augmented, 'accuracy')}. Its weight was chosen on test "
        "images of another seed; `--consistency.split val` chooses it on validation images."
    )


def latent(result: Result) -> str:
    """Whether AugShift removes position from the latent."""
    cell = _measured(result, "AugShift", None, "cell_decoding")
    return (
        "It does not remove position. The cell of a canvas is read from AugShift's latent in "
        f"{100 * cell.value:.0f} % of cases (chance 11), "
        f"{_seeds(_measured(result, 'AugShift', 'baseline', 'cell_decoding'))} against the baseline: "
        "consistent answers and an unreadable position are different things."
    )


def _holds(found: Sequence[Removal]) -> bool:
    return len(found) > 0 and all(removal.low > 0 for removal in found)


def channels(results: Sequence[Result]) -> str:
    """What segmentation rests on: channels beyond random ones, under both fills, in every seed."""
    count = int(results[0].maps["table_count"])
    words = [_say_ranking(results, ranking) for ranking in RANKINGS]
    size = results[0].removals[0].num_images
    return (
        f"A small DeepLabv3 on CamVid, {len(results)} training seeds, {size} test frames: the {count} of "
        "128 channels that rank first, removed, cost beyond random ones, over seeds and both fills "
        f"(zero, mean): {'; '.join(words)}. Only what is above zero in every seed and under both fills is "
        "stated. Channels that carry position by the paper's flip difference, or by translation, are "
        "not shown to matter more than others. Frames of a video are not independent, which these "
        "intervals do not know."
    )


def _say_ranking(results: Sequence[Result], ranking: str) -> str:
    """Range over seeds and fills of what removal costs beyond random channels, in points."""
    drops = [
        removal
        for result in results
        for removal in select(
            result.removals,
            ranking=ranking,
            region="overall",
            count=int(result.maps["table_count"]),
            measured="overall",
            measure="drop",
            versus="random",
            quantity="miou",
        )
        if removal.action in FILLS
    ]
    points = [100 * removal.value for removal in drops]
    verdict = "more than random" if _holds(drops) else "no statement"
    return f"{ranking} {min(points):+.1f} to {max(points):+.1f} points ({verdict})"


def regions(results: Sequence[Result]) -> str:
    """Whether an attack on one half of the image is selective."""
    count = int(results[0].maps["table_count"])
    return (
        f"Removing {count} channels ranked for one half of the image, more is lost there than "
        f"elsewhere, beyond random channels, in every seed and under both fills: that "
        f"{_say_regions(results)}, of "
        "three rankings and two sides. Rankings of left and right by a signed difference are one list "
        "from both ends."
    )


def _say_regions(results: Sequence[Result]) -> str:
    """Name the rankings and sides of which selectivity holds in all seeds under both fills."""
    holding = []
    for ranking, region in itertools.product(RANKINGS, ("left", "right")):
        found = [
            removal
            for result in results
            for removal in select(
                result.removals,
                ranking=ranking,
                region=region,
                count=int(result.maps["table_count"]),
                measured=region,
                measure="selectivity",
                versus="random",
                quantity="miou",
            )
            if removal.action in FILLS
        ]
        if _holds(found):
            holding.append(f"{ranking} on the {region}")
    return (
        f"holds for {', '.join(holding)} alone" if holding else "holds for no ranking and no side"
    )


def rankings(paths: Sequence[Path]) -> str:
    """Whether the paper's ranking agrees with the one that holds content fixed."""
    found = []
    for path in paths:
        found += [
            each["correlation"]
            for each in json.loads(path.read_text())["agreements"]
            if (each["region"], each["first"], each["second"]) == ("overall", "flip", "translation")
        ]
    numbers = " and ".join(f"{value:.2f}" for value in found)
    return (
        "The paper's flip difference and the translation difference, which moves one crop and so "
        f"holds content fixed, rank channels differently: their rank correlation is {numbers} "
        f"({len(found)} training seeds)."
    )
