"""The README's tables are those of the committed results."""

import re

from benchmarks import tables


def test_the_readme_holds_the_tables_of_the_committed_results():
    text = (tables.ROOT / "README.md").read_text()
    found = tables.all_tables()
    names = re.findall(r"<!-- (\S+ \S+) -->", text)
    assert len(names) == 12
    for name in names:
        assert f"<!-- {name} -->\n{found[name]}\n<!-- end -->" in text
    assert tables.fill(text) == text


def test_filling_replaces_one_block_and_leaves_the_next(monkeypatch):
    monkeypatch.setattr(tables, "all_tables", lambda: {"a": "new"})
    text = "x\n<!-- a -->\n<!-- end -->\ny\n<!-- b -->\nold\n<!-- end -->\n"
    filled = "x\n<!-- a -->\nnew\n<!-- end -->\ny\n<!-- b -->\nold\n<!-- end -->\n"
    assert tables.fill(text) == filled
    assert tables.fill(filled) == filled
