"""What audits of whole networks say: position and content, in order, sorted, and erased."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from gpool_jax.report.audit_result import Audited, Line, read_audit

CELL = ("position", "cell", "ordered")
SHARE = "sorted of ordered"
_ERASED = ("linear probe, before", "linear probe, erased", "non-linear probe, erased")
_LINK = "[audits](docs/findings/audits.md)"


def read(results: Path) -> list[Audited]:
    """The networks of all committed audits."""
    paths = sorted(results.glob("audit/*/audit.json"))
    return [network for path in paths for network in read_audit(path).networks]


def spread(values: Iterable[float]) -> str:
    """The least and the largest of some shares, in percent: "23-45"."""
    percent = [f"{100 * value:.0f}" for value in sorted(values)]
    return "\u2013".join(dict.fromkeys((percent[0], percent[-1])))


def compare(pairs: Iterable[tuple[Line, Line]]) -> tuple[int, int, int]:
    """How many lines are above the other, below it, and indistinguishable from it."""
    found = [int(own.low > other.high) - int(own.high < other.low) for own, other in pairs]
    return found.count(1), found.count(-1), found.count(0)


def signs(differences: Iterable[Line]) -> tuple[int, int, int]:
    """How many differences are above 0, below it, and indistinguishable from it."""
    found = [int(line.low > 0) - int(line.high < 0) for line in differences]
    return found.count(1), found.count(-1), found.count(0)


def outcome(differences: Sequence[Line]) -> str:
    """Of how many networks the claim is true, by content's share minus position's."""
    true, reverse, open_ = signs(differences)
    parts = [
        f"{word} {count}"
        for word, count in (("true of", true), ("reversed in", reverse), ("undecided in", open_))
        if count
    ]
    return f"{', '.join(parts)} of {len(differences)}"


def survives(networks: Sequence[Audited]) -> str:
    """Say whether position survives pooling, and whether training put it there."""
    pairs = _pairs(networks, *CELL)
    above, below, same = compare(pairs)
    chance = pairs[0][0].chance or 0.0
    return (
        f"In {len(pairs)} trained networks the cell is read from the pooled vector in "
        f"{spread(own.value for own, _ in pairs)} % of cases, on held-out images, above chance "
        f"({100 * chance:.0f}) in {sum(own.low > chance for own, _ in pairs)}; from untrained twins in "
        f"{spread(twin.value for _, twin in pairs)} %, above chance in "
        f"{sum(twin.low > chance for _, twin in pairs)}. A trained network gives away more than its "
        f"untrained twins in {above} of {len(pairs)}, less in {below}, and in {same} they are "
        "indistinguishable."
    )


def order(networks: Sequence[Audited]) -> str:
    """Say whether position needs the channels' order more than content does."""
    words = []
    for control, name in (("", "trained networks"), ("untrained", "their untrained twins")):
        position, content, minus = _shares(networks, control)
        words.append(
            f"in {name} {spread(line.value for line in position)} % of what is said on position and "
            f"{spread(line.value for line in content)} % of what is said on content survive sorting "
            f"(the claim is {outcome(minus)})"
        )
    return (
        "The paper's claim is that position is in the order of the channels and semantics largely "
        f"is not. Put to whole networks: {words[0]}; {words[1]}."
    )


def erased(networks: Sequence[Audited]) -> str:
    """Say whether position can be erased, and what that costs."""
    before, after, other, answers = _erasure(networks, "")
    _, twin_after, twin_other, _ = _erasure(networks, "untrained")
    return (
        f"Erasing the cell in closed form takes a linear probe on held-out images from {before} % to "
        f"{after} % (untrained twins: to {twin_after} %); a non-linear probe still reads {other} % "
        f"(untrained: {twin_other} %), and {answers} % of the answers stay."
    )


def rows(networks: Sequence[Audited]) -> list[tuple[str, ...]]:
    """Lines of the README's table."""
    cells = _pairs(networks, *CELL)
    position, content, minus = _shares(networks, "")
    twins = _shares(networks, "untrained")
    before, after, other, answers = _erasure(networks, "")
    twin_other = _erasure(networks, "untrained")[2]
    chance = 100 * (cells[0][0].chance or 0.0)
    return [
        (
            "Does position survive pooling?",
            f"the cell is read in {spread(own.value for own, _ in cells)} % of cases (chance "
            f"{chance:.0f}; {len(cells)} networks)",
            f"untrained: {spread(twin.value for _, twin in cells)} %",
            _LINK,
        ),
        (
            "Is position in the order of the channels, and content not (the claim)?",
            f"{outcome(minus)}: of position {spread(x.value for x in position)} % survives sorting, of "
            f"content {spread(x.value for x in content)} %",
            f"untrained, {outcome(twins[2])}: {spread(x.value for x in twins[0])} % and "
            f"{spread(x.value for x in twins[1])} %",
            _LINK,
        ),
        (
            "Can position be erased?",
            f"a linear probe falls from {before} to {after} %, a non-linear one reads {other} %; "
            f"{answers} % of the answers stay",
            f"held-out images; untrained, non-linear: {twin_other} %",
            _LINK,
        ),
    ]


def _pairs(networks: Iterable[Audited], *key: str) -> list[tuple[Line, Line]]:
    """The line of each network and that of its untrained twins."""
    found = []
    for network in networks:
        own, twins = (network.line(*key, control=control) for control in ("", "untrained"))
        if own is not None and twins is not None:
            found.append((own, twins))
    return found


def _shares(networks: Iterable[Audited], control: str) -> tuple[tuple[Line, ...], ...]:
    """Lines of the surviving shares: position, content, and content minus position."""
    names = ("position", "content", "content minus position")
    asked = [
        [net.line("share", name, SHARE, control=control) for name in names] for net in networks
    ]
    return tuple(zip(*(lines for lines in asked if all(lines)), strict=True))


def _erasure(networks: Sequence[Audited], control: str) -> tuple[str, ...]:
    """Ranges over networks: a linear probe before and after, another after, answers kept."""
    keys = [("erasure", "cell", name) for name in _ERASED] + [("erasure", "answers kept", "erased")]
    columns = [[net.line(*key, control=control) for net in networks] for key in keys]
    return tuple(spread(line.value for line in column if line) for column in columns)
