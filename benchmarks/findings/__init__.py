"""Sentences on the paper's claims, made by rule from the committed results.

A word such as "more" or "reversed" is derived from intervals; where they overlap, the sentence says
"indistinguishable" or "no statement". `python -m benchmarks.tables --write` puts the paragraphs into
docs/findings/ and the rows into the README.
"""

from pathlib import Path

from benchmarks import channel_tables
from benchmarks.findings import audits, channels, heads, shift
from gpool_jax.report import read_result

Rows = list[tuple[str, ...]]


def claims(results: Path) -> dict[str, str]:
    """Every paragraph, by the name of its block."""
    networks = audits.read(results)
    shifted = read_result(results / "invariance_cifar10_cpu")
    attacks = channel_tables.read_seeds(results / "channels_camvid")
    rankings = sorted((results / "channels_camvid").glob("*/ranking.json"))
    return {
        "claim survives": audits.survives(networks),
        "claim order": audits.order(networks),
        "claim erased": audits.erased(networks),
        "claim heads": heads.say(read_result(results / "compare_cifar10_cpu")),
        "claim shift": shift.consistency(shifted),
        "claim latent": shift.latent(shifted),
        "claim channels": channels.removal(attacks),
        "claim regions": channels.regions(attacks),
        "claim rankings": channels.agreement(rankings),
    }


def summary(results: Path) -> Rows:
    """The README's table: question, finding, control, link."""
    return [
        ("question", "finding", "control", ""),
        *audits.rows(audits.read(results)),
        *heads.rows(read_result(results / "compare_cifar10_cpu")),
        *shift.rows(read_result(results / "invariance_cifar10_cpu")),
        *channels.rows(channel_tables.read_seeds(results / "channels_camvid")),
    ]
