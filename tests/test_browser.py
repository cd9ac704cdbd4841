"""Pages in a real browser, wide and narrow: nothing overflows, no error in the console."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpool_jax.report import audit_page, read_result, write_report
from gpool_jax.report.audit_result import read_audit

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
PAGES = ["compare_digits", "invariance_cifar10_cpu", "channels_camvid/seed0", "audit"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium here"),
    pytest.mark.usefixtures("rendered"),
]

# What a reader would see: the width that is used, and whether a click on a heading sorts.
PROBE = """<script type="module">
const seen = {window: innerWidth, page: document.documentElement.scrollWidth};
document.querySelectorAll("details").forEach((folded) => { folded.open = true; });
const longest = [...document.querySelectorAll("details table")].reduce(
  (a, b) => (a.rows.length >= b.rows.length ? a : b));
const numeric = [...longest.rows[1].cells].findIndex((cell) => cell.className === "number");
const head = longest.tHead.rows[0].cells[numeric];
const values = () => [...longest.tBodies[0].rows].map(
  (row) => parseFloat(row.cells[numeric].textContent));
head.click(); seen.down = values();
head.click(); seen.up = values();
parent.postMessage(JSON.stringify(seen), "*");
</script>"""
# A window cannot be made as narrow as a telephone; a frame in it can.
FRAME = """<pre id=probe></pre><script>
addEventListener("message", (e) => { document.getElementById("probe").textContent = e.data; });
</script><iframe src="probed.html" style="width: WIDTHpx; height: 1500px; border: 0"></iframe>"""


def make_page(name, folder):
    if name == "audit":
        result = read_audit(RESULTS / "audit" / "cifar_resnets" / "audit.json")
        (folder / "report.html").write_text(audit_page.render(result, folder))
    else:
        write_report(read_result(RESULTS / name), folder)
    return folder / "report.html"


def browse(page, *words):
    """Run the browser without a display; return its standard output and what the console says."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += ["--enable-logging=stderr", "--window-size=1280,1600", *words, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_overflows_and_the_console_is_silent(name, width, tmp_path):
    page = make_page(name, tmp_path)
    probed = tmp_path / "probed.html"
    probed.write_text(page.read_text().replace("</body>", f"{PROBE}</body>"))
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.replace("WIDTH", str(width)))
    dom, console = browse(frame, "--dump-dom", "--virtual-time-budget=5000")
    assert console == []
    seen = json.loads(re.search("<pre id=.probe.>([^<]+)</pre>", dom)[1])
    assert seen["window"] == width
    assert seen["page"] <= width
    down = [x for x in seen["down"] if x is not None]
    assert len(set(down)) > 1
    assert down == sorted(down, reverse=True)
    assert [x for x in seen["up"] if x is not None] == sorted(down)


def test_a_page_is_drawn(tmp_path):
    picture = tmp_path / "page.png"
    _, console = browse(make_page(PAGES[0], tmp_path), f"--screenshot={picture}")
    assert console == []
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    assert pixels.shape == (1600, 1280, 3)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100
