"""The four numbers at the top of a page, each with what it is to be held against."""

from gpool_jax.report.channel_result import NONE, select, table_actions
from gpool_jax.report.result import Result, Row

Tile = tuple[str, str, str]
_MOST = 4


def make_tiles(result: Result) -> list[Tile]:
    """Tiles (title, value, beside it) of what the command asked."""
    for make in (_of_rows, _of_shifts, _of_removals, _of_probes):
        found = make(result)
        if found:
            return found[:_MOST]
    return []


def _of_rows(result: Result) -> list[Tile]:
    """Each network's best accuracy, as it was trained."""
    best = [row for row in result.rows if row.checkpoint == "best"]
    trained = [row for row in best if " at test" not in row.arm and "tested as" not in row.arm]
    return [(f"{row.task}, {row.arm}", _percent(row.accuracy), _beside(row)) for row in trained]


def _beside(row: Row) -> str:
    interval = f"{100 * row.low:.0f} to {100 * row.high:.0f}"
    return f"{interval}; chance {100 * row.chance:.0f}"


def _of_shifts(result: Result) -> list[Tile]:
    """Consistency under the first protocol: of the baseline, and of the best others."""
    first = next((m.protocol for m in result.measurements if m.quantity == "consistency"), None)
    arms = [
        m
        for m in result.measurements
        if (m.quantity, m.protocol, m.versus) == ("consistency", first, None)
    ]
    arms.sort(key=lambda m: (m.arm != "baseline", -m.value))
    return [
        (
            f"consistency, {m.arm}",
            _percent(m.value),
            f"{100 * m.low:.0f} to {100 * m.high:.0f}; {first}",
        )
        for m in arms
    ]


def _of_removals(result: Result) -> list[Tile]:
    """The first quantity with nothing removed, and with what each ranking puts first."""
    removals = select(result.removals, measured="overall", measure="value")
    intact = select(removals, ranking=NONE)
    if not intact:
        return []
    first, chance = intact[0], intact[0].chance
    beside = "" if chance is None else f"chance {100 * chance:.0f}"
    found = [(f"{first.title}, nothing removed", _percent(first.value), beside)]
    if "table_count" not in result.maps:
        return found
    count, fills = result.maps["table_count"], table_actions(result.maps)
    shown = select(removals, quantity=first.quantity, count=count, region="overall")

    def values(ranking: str) -> str:
        by_fill = {r.action: r.value for r in select(shown, ranking=ranking)}
        return " / ".join(_percent(by_fill[fill]) for fill in fills if fill in by_fill)

    rankings = dict.fromkeys(r.ranking for r in shown)
    how, random = " / ".join(fills), values("random")
    return found + [
        (f"{count} channels by {name}, {how}", values(name), f"random: {random}")
        for name in rankings
        if not name.startswith(("random", "matched", "class"))
    ]


def _of_probes(result: Result) -> list[Tile]:
    """The cell and the class, read from the latent."""
    return [
        (
            f"{p.target} from the {p.input}, {p.network}",
            _percent(p.accuracy),
            f"chance {100 * p.chance:.0f}",
        )
        for p in result.probes
        if (p.probe, p.input) == ("selected", "latent") and p.target in ("cell", "class")
    ]


def _percent(value: float) -> str:
    return "-" if value != value else f"{100 * value:.1f} %"
