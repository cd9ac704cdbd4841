"""Tables of ranked and removed channels, for the terminal, the page and the README."""

from gpool_jax.report.channel_result import NONE, Agreement, Removal, Stability, select
from gpool_jax.report.quantities import Block
from gpool_jax.report.result import Result

ACTIONS = {
    "zero": "removed (set to zero)",
    "mean": "removed (set to their mean)",
    "keep": "kept, the rest set to zero",
}

_MINUS = ("minus random", "minus matched")


def channel_blocks(result: Result) -> list[Block]:
    """Make every table about channels, in reading order."""
    removals = result.removals
    blocks: list[Block] = []
    if removals:
        blocks.append(intact_block(removals))
    counts = sorted({r.count for r in removals if r.ranking != NONE})
    if counts:
        first = removals[0].quantity
        table_count = result.maps["table_count"]
        channels = result.maps["num_channels"]
        fill = result.maps.get("table_action", "zero")
        blocks += [
            curve_block(removals, quantity, fill)
            for quantity in dict.fromkeys(r.quantity for r in removals if r.measure == "value")
            if not quantity.startswith(("iou_", "pixel_"))
        ]
        others = [action for action in ACTIONS if action != fill]
        blocks += [curve_block(removals, first, action) for action in others]
        blocks.append(region_block(removals, first, fill, table_count, channels))
        blocks.append(selectivity_block(removals, first, fill, table_count, channels))
        blocks.append(class_block(removals, fill, table_count, channels))
    if result.agreements:
        blocks.append(agreement_block(result.agreements))
    if result.stability:
        blocks.append(stability_block(result.stability))
    return [block for block in blocks if block[2]]


def interval(r: Removal) -> str:
    """Format a value and its 95 % interval in percent, or in signed points for a difference."""
    sign = "" if r.measure == "value" else "+"
    if r.value != r.value:
        return "-"
    return f"{100 * r.value:{sign}.1f} ({100 * r.low:{sign}.1f} to {100 * r.high:{sign}.1f})"


def intact_block(removals: list[Removal]) -> Block:
    """Every quantity of every measured region with nothing removed."""
    found = {(r.quantity, r.measured): r for r in removals if r.ranking == NONE}
    regions = list(dict.fromkeys(r.measured for r in found.values()))
    lines = []
    for quantity in dict.fromkeys(r.quantity for r in found.values()):
        first = found[quantity, "overall"]
        title = first.title + (f" (chance {100 * first.chance:.1f})" if first.chance else "")
        cells = []
        for region in regions:
            r = found.get((quantity, region))
            classes = f", {r.num_classes} classes" if r is not None and r.num_classes else ""
            cells.append("-" if r is None else interval(r) + classes)
        lines.append((title, *cells, str(first.num_images)))
    return "Nothing removed, %", ("quantity", *regions, "images"), lines


def curve_block(removals: list[Removal], quantity: str, action: str) -> Block:
    """One quantity over the whole image, against how many channels are removed."""
    chosen = select(removals, quantity=quantity, action=action, measured="overall", measure="value")
    counts = sorted({r.count for r in chosen})
    found = {(r.ranking, r.region, r.count): r for r in chosen}
    lines = []
    for ranking, region in dict.fromkeys((r.ranking, r.region) for r in chosen):
        cells = []
        for count in counts:
            r = found.get((ranking, region, count))
            cells.append("-" if r is None else interval(r))
        draws = max(r.num_draws for r in chosen if (r.ranking, r.region) == (ranking, region))
        lines.append((ranking, region, *cells, str(draws)))
    what = "kept" if action == "keep" else "removed"
    title = chosen[0].title if chosen else quantity
    header = ("channels", "for", *(f"{count} {what}" for count in counts), "draws")
    return f"{title}, whole image, %: first channels {ACTIONS[action]}", header, lines


def region_block(
    removals: list[Removal], quantity: str, action: str, count: int, channels: int
) -> Block:
    """Drop by each attack (rows) in each region (columns), in points."""
    chosen = select(removals, quantity=quantity, action=action, count=count, measure="drop")
    chosen = select(chosen, versus=None)
    # The drop outside a region is part of the selectivity, in the next table.
    regions = list(
        dict.fromkeys(r.measured for r in chosen if not r.measured.startswith("outside "))
    )
    found = {(r.ranking, r.region, r.measured): r for r in chosen}
    lines = [
        (ranking, region, *(interval(found[ranking, region, m]) for m in regions))
        for ranking, region in dict.fromkeys((r.ranking, r.region) for r in chosen)
    ]
    title = chosen[0].title if chosen else quantity
    return (
        f"Drop of {title} in points by measured region: {count} of {channels} channels "
        f"{ACTIONS[action]}",
        ("channels", "attacked region", *regions),
        lines,
    )


def selectivity_block(
    removals: list[Removal], quantity: str, action: str, count: int, channels: int
) -> Block:
    """Drop inside the attacked region minus drop outside, also minus the controls'."""
    chosen = select(removals, quantity=quantity, action=action, count=count, measure="selectivity")
    found = {(r.ranking, r.measured, (r.versus or "").split(" ")[0]): r for r in chosen}
    lines = []
    for ranking, region in dict.fromkeys((r.ranking, r.measured) for r in chosen):
        cells = []
        for versus in ("", "random", "matched"):
            r = found.get((ranking, region, versus))
            cells.append("-" if r is None else interval(r))
        first = found[ranking, region, ""]
        lines.append((ranking, region, *cells, str(first.num_images), str(first.num_draws)))
    title = chosen[0].title if chosen else quantity
    return (
        f"Region selectivity of {title} in points: {count} of {channels} channels "
        f"{ACTIONS[action]}",
        ("channels", "attacked region", "inside - outside", *_MINUS, "images", "draws"),
        lines,
    )


def class_block(removals: list[Removal], action: str, count: int, channels: int) -> Block:
    """IoU of each class over the whole image, for the whole image's rankings and controls."""
    chosen = [r for r in removals if r.quantity.startswith("iou_") and r.measure == "value"]
    intact = {r.quantity: r for r in chosen if r.ranking == NONE}
    chosen = select(chosen, action=action, count=count, measured="overall")
    found = {(r.quantity, r.ranking): r for r in chosen}
    rankings = list(dict.fromkeys(r.ranking for r in chosen))
    lines = []
    for quantity in dict.fromkeys(r.quantity for r in chosen):
        cells = [interval(found[quantity, ranking]) for ranking in rankings]
        lines.append((intact[quantity].title, interval(intact[quantity]), *cells))
    return (
        f"IoU of each class, whole image, %: {count} of {channels} channels {ACTIONS[action]}",
        ("class", "none removed", *rankings),
        lines,
    )


def agreement_block(agreements: list[Agreement]) -> Block:
    """Rank correlation and overlap of every two rankings."""
    counts = list(dict.fromkeys(count for a in agreements for count in a.overlap))
    channels = agreements[0].num_channels
    lines = [
        (
            a.region or "-",
            a.first,
            a.second,
            "-" if a.correlation is None else f"{a.correlation:+.2f}",
            *(f"{100 * a.overlap[c]:.0f}" if c in a.overlap else "-" for c in counts),
        )
        for a in agreements
    ]
    header = (
        "region",
        "first",
        "second",
        "rank correlation",
        *(f"overlap at {c}, % (chance {100 * min(1.0, int(c) / channels):.0f})" for c in counts),
    )
    return "How similar rankings are", header, lines


def stability_block(stability: list[Stability]) -> Block:
    """Rank correlation and overlap of each ranking with those of resampled images."""
    counts = list(dict.fromkeys(count for s in stability for count in s.overlap))
    lines = [
        (
            s.region,
            s.method,
            f"{s.correlation:+.2f} ({s.low:+.2f} to {s.high:+.2f})",
            *(f"{100 * s.overlap[c]:.0f}" if c in s.overlap else "-" for c in counts),
            str(s.num_images),
        )
        for s in stability
    ]
    overlaps = (f"overlap at {c}, %" for c in counts)
    header = ("region", "ranking", "rank correlation", *overlaps, "images")
    return "How similar a ranking is to itself on resampled images", header, lines
