"""The tables and sentences of the pages are those of the committed results."""

import re

from benchmarks import tables


def test_the_pages_hold_the_tables_of_the_committed_results():
    found, held = tables.all_tables(), []
    for page in tables.PAGES:
        text = page.read_text()
        names = re.findall(r"<!-- (\S+ \S+) -->", text)
        for name in names:
            assert f"<!-- {name} -->\n{found[name]}\n<!-- end -->" in text
        assert tables.fill(text, found) == text
        held += names
    assert len(held) == len(set(held)) == 30


def test_filling_replaces_one_block_and_leaves_the_next():
    text = "x\n<!-- a -->\n<!-- end -->\ny\n<!-- b -->\nold\n<!-- end -->\n"
    filled = "x\n<!-- a -->\nnew\n<!-- end -->\ny\n<!-- b -->\nold\n<!-- end -->\n"
    assert tables.fill(text, {"a": "new"}) == filled
    assert tables.fill(filled, {"a": "new"}) == filled
