"""Self-contained HTML pages: no script, no network, figures inside."""

import base64
from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path
from typing import Any

from gpool_jax import files
from gpool_jax.report.canvas import to_png


def render(template: str, figures: Iterable[tuple[str, Any]], **values: Any) -> str:
    """Render a template of this folder, with (caption, figure) as PNGs in `figures`.

    Raises:
      ImportError: if jinja2, or what draws the figures, is not installed.
    """
    import jinja2

    def read(name: str) -> str:
        return resources.files("gpool_jax.report").joinpath(name).read_text("utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(read), autoescape=True, undefined=jinja2.StrictUndefined
    )
    drawn = [(title, base64.b64encode(to_png(figure)).decode()) for title, figure in figures]
    return environment.get_template(template).render(figures=drawn, **values)


def write(path: Path, make: Callable[[], str], warn: Callable[[str], None]) -> Path | None:
    """Write the page that `make` renders; None, with a warning, if a package is missing."""
    try:
        page = make()
    except ImportError as error:
        warn(f"{path.name} is not written: {error.name} is not installed.")
        return None
    # A name of a file need not be UTF-8.
    files.write(path, page.encode(errors="replace"))
    return path
