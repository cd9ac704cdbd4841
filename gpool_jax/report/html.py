"""One self-contained HTML page: no script, no network, figures inside."""

import base64
import json
import logging
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

from gpool_jax import files
from gpool_jax.report import channel_tables, figures, quantities, table
from gpool_jax.report.canvas import to_png
from gpool_jax.report.overlays import Overlay
from gpool_jax.report.result import Result

_log = logging.getLogger("gpool_jax")


def write_report(
    result: Result,
    folder: Path,
    warn: Callable[[str], None] = _log.warning,
    *,
    overlays: Sequence[Overlay] = (),
) -> Path | None:
    """Write report.html and return its path, or None, with a warning, if a package is missing."""
    try:
        import jinja2

        drawn = [(title, to_png(figure)) for title, figure in figures.draw_all(result, overlays)]
    except ImportError as error:
        warn(f"report.html is not written: {error.name} is not installed.")
        return None
    template = resources.files("gpool_jax.report").joinpath("template.html")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string(template.read_text("utf-8")).render(
        result=result,
        header=table.HEADER,
        rows=[table.format_row(row) for row in result.rows],
        channel_blocks=channel_tables.channel_blocks(result),
        blocks=quantities.measurement_blocks(result.measurements),
        probe_header=table.PROBE_HEADER,
        probe_rows=table.probe_lines(result.probes),
        figures=[(caption, base64.b64encode(png).decode()) for caption, png in drawn],
        config=json.dumps(result.config, indent=1),
    )
    path = folder / "report.html"
    # A name of a file need not be UTF-8.
    files.write(path, page.encode(errors="replace"))
    return path
