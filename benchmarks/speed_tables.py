"""Tables of a benchmark record: ratios, and scaling for SCALING.md."""

from benchmarks.record import Record, Row, format_range, format_ratio, format_seconds

Cells = tuple[str, ...]


def ratios(record: Record) -> list[Cells]:
    """One line for each case with opponents: our time, and how many times faster we are."""
    header = (
        "work", "ours", "by shard_map", "faster than torch-tuned", "than torch-reference",
        "GFLOP/s", "of peak", "memory, ours / torch-tuned",
        "compile, cold / cached",
    )  # fmt: skip
    lines: list[Cells] = [header]
    for (suite, case), rows in _by_case(record).items():
        ours, tuned = rows["ours"], rows.get("torch-tuned")
        if tuned is None or ours.seconds is None:
            continue
        reference = rows.get("torch-reference")
        lines.append(
            (
                f"{suite}: {case}",
                format_seconds(ours.seconds.median),
                _seconds(rows.get("ours, shard_map")),
                format_ratio(tuned.speed_up),
                format_ratio(reference.speed_up if reference else None),
                _rate(ours),
                f"{100 * ours.peak_share:.0f} %" if ours.peak_share else "-",
                _memory(ours, tuned),
                _compile(ours),
            )
        )
    return lines


def plain(record: Record, suites: tuple[str, ...]) -> list[Cells]:
    """What is measured without an opponent."""
    lines: list[Cells] = [("what", "measured", "min to max")]
    for row in record.rows:
        if row.suite in suites and row.contender != "reference":
            lines.append((row.case, _measured(row), format_range(row.seconds)))
    return lines


def scaling(record: Record) -> list[Cells]:
    """A line for each value of what is varied."""
    lines: list[Cells] = [("varied", "step", "min to max", "GFLOP a step", "GFLOP/s", "of peak")]
    for row in record.rows:
        if row.suite == "scaling":
            lines.append(
                (
                    row.case,
                    _measured(row),
                    format_range(row.seconds),
                    f"{row.flops / 1e9:.2f}" if row.flops else "",
                    _rate(row),
                    f"{100 * row.peak_share:.0f} %" if row.peak_share else "",
                )
            )
    return lines


def measured_on(record: Record) -> str:
    """One line: command, hardware, versions."""
    machine, peaks = record.machine, record.machine["matmul_peak"]
    packages = machine["packages"]
    return (
        f"`{record.command}`; {machine['cpu']}, {machine['memory_gib']} GiB, {machine['device']}; "
        f"jax {packages['jax']}, torch {packages['torch']}, Python {machine['python']}; matmul "
        f"peak {peaks['float32'] / 1e9:.0f} GFLOP/s in float32."
    )


def _by_case(record: Record) -> dict[tuple[str, str], dict[str, Row]]:
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for row in record.rows:
        found.setdefault((row.suite, row.case), {})[row.contender] = row
    return found


def _measured(row: Row) -> str:
    if row.seconds is not None:
        return format_seconds(row.seconds.median)
    if row.unit == "bytes":
        return f"{row.value:,.0f} bytes"
    return f"{row.value:.3g} {row.unit}"


def _seconds(row: Row | None) -> str:
    return format_seconds(row.seconds.median) if row and row.seconds else "-"


def _rate(row: Row) -> str:
    return f"{row.flops / row.seconds.median / 1e9:.0f}" if row.flops and row.seconds else ""


def _memory(ours: Row, tuned: Row) -> str:
    if ours.memory_mib is None or tuned.memory_mib is None:
        return "-"
    return f"{ours.memory_mib:.0f} / {tuned.memory_mib:.0f} MiB"


def _compile(ours: Row) -> str:
    if ours.compile_cold is None:
        return "-"
    return f"{ours.compile_cold:.1f} / {ours.compile_cached:.1f} s"
