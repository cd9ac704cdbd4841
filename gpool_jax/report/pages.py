"""Self-contained HTML pages: no network, figures inside, one script that sorts tables."""

import base64
import csv
import io
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from gpool_jax import files
from gpool_jax.report.canvas import Drawn, encode_png, to_png

# Files that a command leaves beside its page.
_FILES = ("results.json", "audit.json", "per_image.npz", "channels.csv", "config.json", "data.json")


def render(template: str, figures: Iterable[Drawn], **values: Any) -> str:
    """Render a template of this folder, with (question, caption, PNG) of each of `figures`.

    Raises:
      ImportError: if jinja2, or what draws the figures, is not installed.
    """
    import jinja2

    def read(name: str) -> str:
        return resources.files("gpool_jax.report").joinpath(name).read_text("utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(read), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["png"] = lambda pixels: _embed(encode_png(pixels))
    environment.globals["csv"] = lambda header, rows: _embed(to_csv(header, rows).encode())
    drawn = [(question, caption, _embed(to_png(figure))) for question, caption, figure in figures]
    return environment.get_template(template).render(figures=drawn, **values)


def _embed(content: bytes) -> str:
    return base64.b64encode(content).decode()


def list_links(folder: Path, runs: Iterable[str] = ()) -> tuple[list[str], list[str]]:
    """List the files beside a page, and those of some runs' folders that have a page."""
    beside = [name for name in _FILES if (folder / name).is_file()]
    return beside, [name for name in runs if (folder / name / "report.html").is_file()]


def to_csv(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as the text of a .csv file."""
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    return text.getvalue()


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
