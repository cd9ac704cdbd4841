"""Committed results still load, and become one page with all their figures."""

import base64
import csv
import html
import io
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import jax
import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from gpool_jax.report import Result, figures, pages, read_result, write_report, write_result
from gpool_jax.report.canvas import colours_of, new_figure, to_png
from gpool_jax.report.environment import environment
from gpool_jax.report.overlays import Overlay
from gpool_jax.report.table import format_table

pytestmark = pytest.mark.usefixtures("rendered")

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
FOLDERS = sorted(path.parent for path in RESULTS.glob("**/results.json"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: str(f.relative_to(RESULTS)))
def test_a_committed_result_loads_and_is_written_as_it_was(folder, tmp_path):
    result = read_result(folder)
    write_result(result, tmp_path)
    assert read_result(tmp_path) == result
    table = format_table(result)
    if result.rows:
        assert f"{100 * result.rows[0].accuracy:.2f}" in table
    assert len(table.splitlines()) > len(result.rows)


def test_the_page_holds_every_number_and_figure(tmp_path):
    result = read_result(RESULTS / "compare_digits")
    page = write_report(result, tmp_path).read_text()
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    captions = re.findall("<figcaption>([^<]+)</figcaption>", page)
    starts = ("Accuracy of each arm", "Loss and", "Accuracy in percent", "GAPNet", "Number of each")
    assert [c.startswith(s) for c, s in zip(captions, starts, strict=True)] == [True] * 5
    questions = re.findall("<figure><h3>([^<]+)</h3>", page)
    assert len(questions) == 5
    assert all(question.endswith("?") for question in questions)
    sizes = [Image.open(io.BytesIO(base64.b64decode(p))).size for p in pictures]
    assert sizes == [(880, 1188), (880, 374)]
    for row in result.rows:
        assert f">{100 * row.accuracy:.2f}</td>" in page
    assert "http" not in page.split("<body>")[1].split("Configuration")[0]


def test_overlays_frame_predictions_only():
    image = np.full((6, 8, 3), 200, np.uint8)
    labels = np.zeros((6, 8), np.int32)
    labels[0] = 255
    overlay = Overlay(
        image, labels, {"intact": labels % 2, "removed": 1 - labels % 2}, (0, 0, 1, 1)
    )
    _, caption, figure = figures.draw_overlays([overlay], ["sky", "ground"])
    assert caption.startswith("Predictions")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["image", "labels", "intact", "removed"]
    assert [len(axes.patches) for axes in figure.axes] == [0, 0, 1, 1]


def test_a_picture_is_what_savefig_writes():
    def make():
        figure = new_figure(2, 1)
        figure.subplots().plot([0, 1], [1, 0])
        return figure

    saved = io.BytesIO()
    make().savefig(saved, format="png")
    wanted = np.asarray(Image.open(saved).convert("RGB"))
    found = np.asarray(Image.open(io.BytesIO(to_png(make()))))
    np.testing.assert_array_equal(found, wanted)


NAMES = ["$x$", "\\$", r"$\frac{$", "_background_", "<b>", "\x1b[31m", "\N{SNOWMAN}"]


def test_names_of_classes_are_written_as_they_are(tmp_path):
    maps = {
        "confusion": np.eye(len(NAMES)).tolist(),
        "confusion_of": "network <i>",
        "classes": NAMES,
    }
    labels = np.zeros((6, 8), np.int32)
    overlay = Overlay(np.full((6, 8, 3), 200, np.uint8), labels, {"$intact$": labels})
    result = Result(title="$t$ <script>", config={"data": {"path": "\udcff"}}, maps=maps)
    page = write_report(result, tmp_path, overlays=[overlay]).read_text("utf-8")
    assert "<script>" not in page
    assert "$t$ &lt;script&gt;" in page
    assert "network &lt;i&gt;" in page
    for name in NAMES:
        shown = html.escape(name).replace("&#x27;", "&#39;")
        assert f"<th>{shown}</th>" in page
    classes = ["$x$", *NAMES]
    _, _, figure = figures.draw_overlays([overlay], classes)
    to_png(figure)
    texts = [text for text in figure.findobj(Text) if text.get_text() in (*classes, "$intact$")]
    assert len(texts) >= len(classes)
    assert not any(text.get_parse_math() for text in texts if "$" in text.get_text())


def test_ticks_of_a_logarithmic_axis_stay_formulas():
    figure = new_figure(3, 2)
    axes = figure.subplots()
    axes.set_yscale("log")
    axes.plot([1, 2], [1, 1000])
    to_png(figure)
    ticks = [text for text in axes.get_yticklabels() if "mathdefault" in text.get_text()]
    assert ticks
    assert all(text.get_parse_math() for text in ticks)


@pytest.mark.parametrize(
    ("backend", "left"),
    [
        ("inline", "agg"),
        ("module://matplotlib_inline.backend_inline", "agg"),
        ("svg", "svg"),
    ],
)
def test_a_backend_that_is_missing_here_does_not_matter(backend, left):
    """`inline` is what notebooks put into MPLBACKEND; it comes with another package."""
    program = (
        "import sys\n"
        "sys.modules['matplotlib_inline'] = None\n"
        "import importlib.metadata\n"
        "importlib.metadata.entry_points = lambda **_: ()\n"
        "from gpool_jax.report.canvas import new_figure, to_png\n"
        "assert to_png(new_figure(1, 1)).startswith(b'\\x89PNG')\n"
        "import os, matplotlib\n"
        "print(os.environ['MPLBACKEND'], matplotlib.rcParams['backend'].lower())\n"
    )
    env = os.environ | {"MPLBACKEND": backend}
    words = [sys.executable, "-c", program]
    out = subprocess.run(words, env=env, check=True, capture_output=True, text=True).stdout
    assert out.split() == [backend, left]


@pytest.mark.parametrize("wide", [False, True])
def test_the_environment_says_whether_numbers_are_of_64_bits(wide):
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", wide)
    try:
        assert environment(1.0)["x64"] is wide
    finally:
        jax.config.update("jax_enable_x64", before)


def test_a_result_of_another_schema_is_refused_and_an_older_one_read(tmp_path):
    result = Result(title="t", config={})
    path = write_result(result, tmp_path)
    values = json.loads(path.read_text())
    assert values["schema"] == 1
    del values["schema"]
    path.write_text(json.dumps(values))
    assert read_result(tmp_path) == result
    path.write_text(json.dumps(values | {"schema": 2}))
    with pytest.raises(ValueError, match="schema 2; this version reads 1"):
        read_result(tmp_path)


def test_a_result_in_a_notebook(monkeypatch):
    result = read_result(RESULTS / "compare_digits")
    assert repr(result).startswith(f"<Result {result.title!r}: {len(result.rows)} rows")
    assert len(repr(result)) < 300
    shown = result._repr_html_()
    assert shown.count("<tr>") == 1 + len(result.rows)
    assert html.escape(result.notes[0]) in shown
    assert "&lt;b&gt;" in Result(title="<b>", config={})._repr_html_()
    with pytest.raises(ValueError, match="`part` must be one of rows, probes"):
        result.to_pandas("row")
    # The part of pandas that is used.
    monkeypatch.setitem(sys.modules, "pandas", types.SimpleNamespace(DataFrame=list))
    assert [line["accuracy"] for line in result.to_pandas()] == [r.accuracy for r in result.rows]
    assert len(result.to_pandas("probes")) == len(result.probes)


def test_a_method_has_one_colour_on_every_page():
    both, alone = colours_of(["flip", "gate", "mine"]), colours_of(["mine", "gate"])
    assert both["gate"] == alone["gate"]
    assert len(set(both.values())) == 3
    many = colours_of([*"abcdefgh", "flip"])
    assert len(many) == 9
    assert many["flip"] == both["flip"]
    assert many["flip"] not in [shade for name, shade in many.items() if name != "flip"]


def test_a_page_links_to_what_lies_beside_it_and_to_runs_with_pages(tmp_path):
    for name in ("results.json", "per_image.npz", "other.json", "a run/report.html", "b/x"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    found = pages.list_links(tmp_path, ["a run", "b", "c"])
    assert found == (["results.json", "per_image.npz"], ["a run"])
    result = Result("t", {}, environment={"seconds_per_run": {"a run": 1.0, "b": 2.0}})
    page = write_report(result, tmp_path).read_text()
    assert 'href="a%20run/report.html"' in page
    assert "other.json" not in page


def test_a_table_as_csv_quotes_what_needs_it():
    text = pages.to_csv(("name", "value"), [('a, "b"', "1.0")])
    assert list(csv.reader(io.StringIO(text))) == [["name", "value"], ['a, "b"', "1.0"]]
