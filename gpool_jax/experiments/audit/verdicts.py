"""A sentence for each question, made by rules from intervals.

Two numbers differ if their 95 % intervals do not overlap; otherwise they are called
indistinguishable. A statement on removed channels is made only if it holds under both fills and
against random and matched channels. No number on position stands without the untrained network's.
A share whose interval is wider than `WIDE` tells nothing: there are too few images.
"""

from gpool_jax.experiments.audit.channels import FILLS, MATCHED, POSITION, RANDOM
from gpool_jax.report.audit_result import Audited, Line

WIDE = 1.0


def compare(first: Line, second: Line) -> str:
    """Compare two lines by their intervals: more, less or indistinguishable."""
    if first.low > second.high:
        return "more"
    if first.high < second.low:
        return "less"
    return "indistinguishable"


def judge(network: Audited) -> dict[str, str]:
    """The verdict on each question that was measured."""
    found = {
        "position": _position(network),
        "order": _order(network),
        "removal": _removal(network),
        "erasure": _erasure(network),
        "shift": _shift(network),
    }
    return {question: sentence for question, sentence in found.items() if sentence}


def percent(line: Line) -> str:
    """A share with its interval: "78 % (74 to 81)"."""
    return f"{100 * line.value:.0f} % ({100 * line.low:.0f} to {100 * line.high:.0f})"


def _position(network: Audited) -> str:
    own = network.line("position", "cell", "ordered")
    if own is None:
        return ""
    chance = 100 * (own.chance or 0.0)
    text = (
        f"The cell is read from the pooled vector in {percent(own)} of cases (chance {chance:.0f})"
    )
    twin = network.line("position", "cell", "ordered", control="untrained")
    if twin is None:
        return text + "; no untrained twin was measured, so this says nothing about training."
    how = compare(own, twin)
    than = f"than from an untrained network's, {percent(twin)}"
    if how == "indistinguishable":
        return f"{text}, indistinguishable from an untrained network's {percent(twin)}."
    return f"{text}, {how} often {than}."


def _order(network: Audited) -> str:
    position, content, difference = (
        network.line("share", name, "sorted of ordered")
        for name in ("position", "content", "content minus position")
    )
    null = network.line("position", "cell", "sorted, random code")
    kept = network.line("position", "cell", "sorted")
    if position is None or content is None or difference is None:
        return ""
    for question, quantity in (("position", "cell"), ("content", "image")):
        ordered = network.line(question, quantity, "ordered")
        if ordered is not None and ordered.low <= (ordered.chance or 0.0):
            return f"Nothing is read on {question} from the vector in order: nothing can need it."
    if any(line.high - line.low > WIDE for line in (position, content, difference)):
        return "There are too few images to tell what survives without the order of the channels."
    text = (
        f"Without the order of its channels {percent(position)} of what it says on position "
        f"survives, and {percent(content)} of what it says on content"
    )
    if difference.low > 0:
        text += ": position needs the order more than content does"
    elif difference.high < 0:
        text += ": content needs the order more than position does"
    else:
        text += ": the two are indistinguishable"
    if null is not None and kept is not None:
        how = compare(kept, null)
        words = {"more": "more than", "less": "less than", "indistinguishable": "as much as"}[how]
        text += f". Sorted, it gives away {words} a random code that is as legible in order"
    return text + "."


def _removal(network: Audited) -> str:
    lines = [line for line in network.lines if line.question == "removal" and not line.control]
    answers = [line for line in lines if line.quantity == "answers kept"]
    if not answers:
        return ""
    found = {}
    for fill in FILLS:
        own = _removed(answers, POSITION, fill)
        for control in (RANDOM, MATCHED):
            other = _removed(answers, control, fill)
            if own is not None and other is not None:
                found[fill, control] = compare(own, other)
    count = answers[0].condition.split(" ")[0]
    text = f"Removing the {count} channels that carry most position"
    if len(found) < len(FILLS) * 2:
        return f"{text} has no matched control here: no statement."
    if set(found.values()) == {"less"}:
        return (
            f"{text} changes more answers than removing random or matched ones, whatever the fill."
        )
    if set(found.values()) == {"more"}:
        return (
            f"{text} changes fewer answers than removing random or matched ones, whatever the fill."
        )
    return f"{text} is indistinguishable from removing others, once both fills and controls count."


def _removed(lines: list[Line], name: str, fill: str) -> Line | None:
    return next((x for x in lines if f" {name} removed, {fill}" in x.condition), None)


def _erasure(network: Audited) -> str:
    before, after = (
        network.line("erasure", "cell", f"linear probe, {name}") for name in ("before", "erased")
    )
    other = network.line("erasure", "cell", "non-linear probe, erased")
    if before is None or after is None or other is None:
        return ""
    text = (
        f"Erasing the cell takes a linear probe from {percent(before)} to {percent(after)} and "
        f"leaves a non-linear one {percent(other)}"
    )
    kept = network.line("erasure", "answers kept", "erased")
    return f"{text}; {percent(kept)} of the answers stay." if kept is not None else f"{text}."


def _shift(network: Audited) -> str:
    line = network.shift("answers changed")
    if line is None:
        moved = network.shift("latent distance")
        if moved is None:
            return ""
        value = f"{moved.value:.2f} ({moved.low:.2f} to {moved.high:.2f})"
        return (
            f"Without a head there are no answers to change; a shift ({moved.condition}) moves "
            f"the vector by {value} of the distance between two images."
        )
    text = f"A shift ({line.condition}) changes {percent(line)} of the answers"
    twin = network.shift("answers changed", control="untrained")
    return (
        f"{text}; of an untrained network's, {percent(twin)}." if twin is not None else f"{text}."
    )
