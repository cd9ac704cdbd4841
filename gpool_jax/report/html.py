"""The page of a result."""

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from gpool_jax.report import channel_tables, figures, pages, quantities, table
from gpool_jax.report.heat import make_heats
from gpool_jax.report.overlays import Overlay
from gpool_jax.report.result import Result
from gpool_jax.report.tiles import make_tiles

_log = logging.getLogger("gpool_jax")


def write_report(
    result: Result,
    folder: Path,
    warn: Callable[[str], None] = _log.warning,
    *,
    overlays: Sequence[Overlay] = (),
) -> Path | None:
    """Write report.html and return its path, or None, with a warning, if a package is missing."""

    def make() -> str:
        return pages.render(
            "template.html",
            figures.draw_all(result, overlays),
            heats=make_heats(result),
            links=pages.list_links(folder, result.environment.get("seconds_per_run", ())),
            result=result,
            shown_tiles=make_tiles(result),
            header=table.HEADER,
            rows=[table.format_row(row) for row in result.rows],
            channel_blocks=channel_tables.channel_blocks(result),
            blocks=quantities.measurement_blocks(result.measurements),
            probe_rows=table.probe_lines(result.probes) if result.probes else [],
            config=json.dumps(result.config, indent=1),
        )

    return pages.write(folder / "report.html", make, warn)
