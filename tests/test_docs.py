"""The documentation: links that lead somewhere, commands that exist, tutorials that run."""

import contextlib
import re
from pathlib import Path

import jax
import pytest

from gpool_jax.cli import main as cli
from gpool_jax.cli.options import COMMANDS
from gpool_jax.config import KINDS, plain

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("docs/**/*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
PAGES = [page for page in PAGES if "generated" not in page.parts and "_build" not in page.parts]
TUTORIALS = sorted(ROOT.glob("docs/tutorials/*.md"))
# Made when the documentation is built.
MADE = "reference/generated/"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_documentation_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if ":" in target or MADE in path:
            continue
        other = (page.parent / path) if path else page
        assert other.exists(), target
        if anchor and other.suffix == ".md":
            titles = re.findall(r"^#+ (.*)$", other.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles}


def test_every_page_is_in_the_table_of_contents():
    index = (ROOT / "docs/index.md").read_text()
    listed = set(re.findall(r"^([a-z_]+(?:/[a-z_]+)*)$", index, re.MULTILINE))
    for toctree in ("findings/index",):
        more = (ROOT / f"docs/{toctree}.md").read_text()
        listed |= {f"findings/{name}" for name in re.findall(r"^([a-z_]+)$", more, re.MULTILINE)}
    pages = {
        str(p.relative_to(ROOT / "docs"))[:-3] for p in PAGES if p.is_relative_to(ROOT / "docs")
    }
    assert pages - {"index"} <= listed
    assert {name for name in listed if not name.startswith(MADE)} <= pages


def lines_of_gpool():
    """Every line of the pages that runs the program: (page, command, options)."""
    found = []
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        for line in re.findall(r"^    .*?\b(gpool [a-z].*)$", text, re.MULTILINE):
            words = line.partition("#")[0]
            found.append((page, words.split()[1], set(re.findall(r"(?<!\S)--[\w.-]+", words))))
    return found


def test_commands_and_options_that_the_pages_use_are_there(capsys):
    fields = {f"--{name}" for kind in KINDS.values() for name, _ in plain.leaves(kind())}
    fields = {re.sub("_", "-", field) for field in fields}
    lines = lines_of_gpool()
    assert {"audit", "train", "rank", "attack", "evaluate"} <= {command for _, command, _ in lines}
    known = {}
    for page, command, options in lines:
        if command == "configs":
            continue
        assert command in COMMANDS, (page, command)
        if command not in known:
            with contextlib.suppress(SystemExit):
                cli.main(["help", command])
            known[command] = set(re.findall(r"--[\w.-]+", capsys.readouterr().out))
        # Of a run, or of weights, a command has the fields of its sections.
        sections = COMMANDS[command].sections
        own = {
            field
            for field in fields
            if sections is None or field[2:].partition(".")[0] in (*sections, "task", "n", "data")
        }
        assert options <= known[command] | own | {"--help"}, (page, command)


@pytest.mark.slow
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = re.findall(r"```\{code-cell\} python\n(.*?)```", page.read_text(), re.DOTALL)
    assert len(cells) > 1
    scope = {"__name__": "tutorial"}
    with jax.numpy_rank_promotion("allow"):  # as users have it
        for cell in cells:
            exec(compile(cell, page.name, "exec"), scope)
