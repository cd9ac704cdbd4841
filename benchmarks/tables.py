"""The tables, sentences and figures of the pages, from the committed results.

python -m benchmarks.tables            prints them
python -m benchmarks.tables --write    puts them into the pages
"""

import argparse
import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path

from benchmarks import (
    audit_tables,
    channel_tables,
    finding_figures,
    findings,
    record,
    speed_tables,
)
from gpool_jax.report import Result, audit_page, read_result
from gpool_jax.report.audit_result import read_audit
from gpool_jax.report.quantities import (
    QUANTITIES,
    Block,
    format_measurement,
    measurement_blocks,
)
from gpool_jax.report.table import HEADER, format_row, probe_lines

ROOT = Path(__file__).parent.parent
# Where tables stand.
PAGES = (
    ROOT / "README.md",
    ROOT / "benchmarks" / "SCALING.md",
    ROOT / "docs" / "project" / "performance.md",
    *sorted((ROOT / "docs" / "findings").glob("*.md")),
)
RESULTS = ROOT / "benchmarks" / "results"


def _markdown(lines: list[tuple[str, ...]]) -> str:
    header, *rest = lines
    rows = [header, ("---",) * len(header), *rest]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def accuracy_table(result: Result) -> str:
    """Every arm at every stated length; the best checkpoint where no length is stated."""
    rows = [row for row in result.rows if row.checkpoint != "best"] or result.rows
    return _markdown([HEADER, *[format_row(row) for row in rows]])


def probe_table(result: Result) -> str:
    """Cell and class, read from each input."""
    header, *lines = probe_lines(result.probes)
    return _markdown([header, *(line for line in lines if line[2] in ("cell", "class"))])


def shift_tables(result: Result) -> str:
    """What was measured under each protocol, arm by arm."""
    return _blocks(b for b in measurement_blocks(result.measurements) if "difference" not in b[0])


def shift_differences(result: Result) -> str:
    """Arms minus the baseline and AugShift's rivals: the first protocol, and the cells."""
    first = result.measurements[0].protocol
    wanted = (f"protocol {first}: difference", "cells of a canvas: difference")
    return _blocks(b for b in measurement_blocks(result.measurements) if b[0].startswith(wanted))


def sweep_table(folder: Path) -> str:
    """One seed: AugShift with one option changed at a time, under the first protocol."""
    quantities = ("accuracy", "shifted_accuracy", "consistency", "latent_distance", "shift_r2")
    titles = (QUANTITIES[q][0] for q in (*quantities, "cell_decoding"))
    header = ("varied", "arm", *titles)
    lines = []
    for path in sorted(folder.glob("*/results.json")):
        measurements = [m for m in read_result(path.parent).measurements if m.versus is None]
        first = measurements[0].protocol
        for arm in dict.fromkeys(m.arm for m in measurements):
            found = {
                m.quantity: format_measurement(m)
                for m in measurements
                if m.arm == arm and m.protocol in (first, "canvas") and m.quantity in QUANTITIES
            }
            cells = (found[q] for q in (*quantities, "cell_decoding"))
            lines.append((path.parent.name, arm, *cells))
    return _markdown([header, *lines])


def _blocks(blocks: Iterable[Block]) -> str:
    return "\n\n".join(
        f"{title[0].upper()}{title[1:]}:\n\n{_markdown([header, *lines])}"
        for title, header, lines in blocks
    )


def measured_on(result: Result) -> str:
    """One line: command, hardware, versions, wall time."""
    where = result.environment
    batch_size = result.config["train"]["batch_size"]
    minutes = [training_seconds(events, batch_size) / 60 for events in result.curves.values()]
    return (
        f"`{where['command']}`; {where['cpu']}, {where['device']}; jax "
        f"{where['packages']['jax']}, Python {where['python']}; training "
        f"{min(minutes):.1f} to {max(minutes):.1f} minutes a network."
    )


def training_seconds(events: list[dict], batch_size: int) -> float:
    """Time in the training loop, validation left out, from a run's metrics.jsonl."""
    seconds, done = 0.0, 0
    for event in events:
        if "images_per_second" in event:
            seconds += (event["step"] - done) * batch_size / event["images_per_second"]
            done = event["step"]
    return seconds


def all_tables() -> dict[str, str]:
    """Name of a block of a page to its text."""
    blocks = findings.claims(RESULTS)
    blocks["findings summary"] = _markdown(findings.summary(RESULTS))
    blocks["audit output"] = audit_output(RESULTS / "audit" / "cifar_resnets")
    for folder in sorted(p.parent for p in RESULTS.glob("*/results.json")):
        result = read_result(folder)
        if result.rows:
            accuracy = f"{accuracy_table(result)}\n\n{measured_on(result)}"
            blocks[f"{folder.name} accuracy"] = accuracy
        if result.measurements:
            shift = f"{shift_tables(result)}\n\n{measured_on(result)}"
            blocks[f"{folder.name} shift"] = shift
            blocks[f"{folder.name} differences"] = shift_differences(result)
        if result.probes:
            blocks[f"{folder.name} probes"] = probe_table(result)
    for folder in sorted(RESULTS.glob("*_sweep")):
        blocks[f"{folder.name} sweep"] = sweep_table(folder)
    for folder in sorted(RESULTS.glob("channels_*")):
        blocks |= channel_blocks(folder)
    for folder in sorted(path.parent for path in RESULTS.glob("audit/*/audit.json")):
        table = _markdown(audit_tables.networks(folder))
        blocks[f"{folder.name} audit"] = f"{table}\n\n{audit_tables.audited_on(folder)}"
    for path in sorted(RESULTS.glob("*.json")):
        blocks |= speed_blocks(path)
    return blocks


def audit_output(folder: Path) -> str:
    """The lines that an audit of the first network of a folder ends with."""
    result = read_audit(folder / "audit.json")
    first = dataclasses.replace(result, networks=result.networks[:1])
    return f"```text\n{audit_page.format_lines(first)}\n```"


def speed_blocks(path: Path) -> dict[str, str]:
    """Tables of a record of `python -m benchmarks`."""
    found, name = record.read(path), path.stem
    where = speed_tables.measured_on(found)
    return {
        f"{name} ratios": f"{_markdown(speed_tables.ratios(found))}\n\n{where}",
        f"{name} alone": _markdown(speed_tables.plain(found, ("accuracy", "input", "startup"))),
        f"{name} scaling": f"{_markdown(speed_tables.scaling(found))}\n\n{where}",
    }


def channel_blocks(folder: Path) -> dict[str, str]:
    """Tables of ranked and removed channels, over the seeds of a network."""
    results = channel_tables.read_seeds(folder)
    first = results[0].removals[0].quantity
    quantities = {r.quantity: r.title for r in results[0].removals if r.count}
    main = [q for q in quantities if not q.startswith(("iou_", "pixel_"))]
    curves = "\n\n".join(
        f"{quantities[q][0].upper()}{quantities[q][1:]}, %:\n\n"
        f"{_markdown(channel_tables.curves(results, q))}"
        for q in main
    )
    return {
        f"{folder.name} curves": f"{curves}\n\n{attacked_on(results)}",
        f"{folder.name} regions": _markdown(channel_tables.regions(results, first)),
        f"{folder.name} selectivity": _markdown(channel_tables.selectivity(results, first)),
    }


def attacked_on(results: list[Result]) -> str:
    """One line: commands, hardware, versions, images."""
    where = results[0].environment
    commands = ", ".join(f"`{result.environment['command']}`" for result in results)
    images = results[0].removals[0].num_images
    return (
        f"{commands}; {images} test images, {len(results)} training "
        f"seed{'s' if len(results) > 1 else ''}; {where['cpu']}, {where['device']}; jax "
        f"{where['packages']['jax']}, Python {where['python']}."
    )


def fill(text: str, blocks: dict[str, str]) -> str:
    """Replace what stands between `<!-- NAME -->` and `<!-- end -->` by the table of that name."""
    for name, table in blocks.items():
        pattern = rf"(<!-- {re.escape(name)} -->\n)(?:(?!<!-- end).)*(<!-- end -->)"
        text = re.sub(pattern, lambda m, t=table: f"{m[1]}{t}\n{m[2]}", text, flags=re.DOTALL)
    return text


def main() -> None:
    """Print the tables, or write them into the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        blocks = all_tables()
        for page in PAGES:
            page.write_text(fill(page.read_text(), blocks))
        finding_figures.draw_all(RESULTS, ROOT / "docs" / "findings")
        (ROOT / "docs" / "images" / "stimulus.png").write_bytes(finding_figures.stimulus())
        return
    for name, table in all_tables().items():
        print(f"{name}\n{table}\n")


if __name__ == "__main__":
    main()
