"""Sentences on a comparison of heads: no more than its tables say."""

from gpool_jax.report import Probe, Row
from gpool_jax.report.result import CONTROLS


def say_rows(rows: list[Row]) -> list[str]:
    """State each arm's accuracy against chance, no more than the table says."""
    sentences = []
    for row in rows:
        if row.checkpoint != "best":
            continue
        beyond = "above" if row.low > row.chance else "below" if row.high < row.chance else "at"
        sentences.append(
            f"{row.task.capitalize()}, {row.arm}: {100 * row.accuracy:.1f} % "
            f"({100 * row.low:.1f} to {100 * row.high:.1f}), {beyond} chance "
            f"({100 * row.chance:.1f} %)."
        )
    return sentences


def answer(rows: list[Row]) -> list[str]:
    """Answer whether the order carries position: GAPNet's location against PermuteNet's.

    One sentence, of the best checkpoints' intervals; none where one of the two is missing.
    """
    best = {(row.task, row.arm): row for row in rows if row.checkpoint == "best"}

    def pair(task: str) -> tuple[Row, Row] | None:
        found = best.get((task, "GAPNet")), best.get((task, "PermuteNet"))
        return None if found[0] is None or found[1] is None else (found[0], found[1])

    location = pair("location")
    if location is None:
        return []
    kept, lost = location
    recognition = pair("recognition")
    # A GAPNet that does worse was trained badly, and says nothing about the order; nor does a
    # PermuteNet that has learnt nothing at all.
    unordered = [lost, *(recognition[1:] if recognition else ())]
    verdict = "Not shown by these networks"
    if not any(row.low > row.chance for row in unordered):
        verdict += ", as PermuteNet has learnt nothing yet"
    elif kept.low > max(lost.high, kept.chance):
        verdict = "Yes, in these networks"
    told = (
        f"{verdict}: with the channels in order (GAPNet) the cell is predicted in "
        f"{100 * kept.accuracy:.1f} %, without their order (PermuteNet) in "
        f"{100 * lost.accuracy:.1f} % (chance {100 * kept.chance:.1f} %)"
    )
    if recognition is None:
        return [f"{told}."]
    values = " and ".join(f"{100 * row.accuracy:.1f} %" for row in recognition)
    return [f"{told}; the class in {values} (chance {100 * recognition[0].chance:.1f} %)."]


def count_rows(rows: list[Row]) -> list[str]:
    """State, for each task, how many arms of a table are above chance, and which are not."""
    sentences = []
    for task in dict.fromkeys(row.task for row in rows):
        best = [row for row in rows if (row.task, row.checkpoint) == (task, "best")]
        rest = [row.arm for row in best if row.low <= row.chance]
        others = f"; not shown to be so: {'; '.join(rest)}" if rest else ""
        count = f"{len(best) - len(rest)} of {len(best)} arms are above chance"
        sentences.append(f"{task.capitalize()}: {count}{others}.")
    return sentences


def say_probes(probes: list[Probe]) -> list[str]:
    """State what probes read from each frozen network, against a code that is as legible.

    The untrained network comes first: no number on position stands without it.
    """
    read = {
        (p.network, p.target, p.input): p
        for p in probes
        if p.probe == "selected" and p.stage == "gap"
    }
    networks = sorted(
        dict.fromkeys(network for network, *_ in read), key=lambda n: not n.startswith("untrained")
    )
    sentences = [_say_network(network, read) for network in networks]
    if any("PermuteNet" in network for network in networks):
        sentences.insert(
            0,
            "A PermuteNet learns slowly: after a short training its accuracy is a lower bound on "
            "what can be learnt without the order.",
        )
    return sentences


def _say_network(network: str, read: dict[tuple[str, str, str], Probe]) -> str:
    """Say what is read from a latent in order and sorted, and whether the cell beats its null."""
    in_order, by_size = (
        [read[network, target, given].accuracy for target in ("cell", "class")]
        for given in ("latent", "sorted latent")
    )
    sentence = (
        f"{network}, latent in order -> sorted: cell {100 * in_order[0]:.0f} -> "
        f"{100 * by_size[0]:.0f} %, class {100 * in_order[1]:.0f} -> {100 * by_size[1]:.0f} %"
    )
    cell, code = (read.get((network, "cell", given)) for given in ("sorted latent", CONTROLS[0]))
    if cell is None or code is None:
        return f"{sentence}."
    verdict = "no more than such a code keeps"
    if cell.low > code.high:
        verdict = "more than such a code keeps: some of its position does not need the order"
    elif cell.high < code.low:
        verdict = "less than such a code keeps"
    kept = f"a random code as legible keeps {100 * code.accuracy:.0f} %"
    return f"{sentence}; of the cell, {kept}: {verdict}."
