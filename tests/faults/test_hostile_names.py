"""Names that reach messages and pages: no control character, no way out of a cell, bounded."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from benchmarks.contract.table import Table
from pretrain.base.faults import LONGEST, Fault, printable
from reports.pages import markdown
from reports.tables import cells
from reports.tables.fill import Filled
from tests.faults.hostile import EVIL


@pytest.mark.case(37)
def test_a_message_is_printable_bounded_and_the_same_after_a_journey() -> None:
    fault = Fault("data-corrupt", f"{EVIL} line one\nline two" + "x" * 99_999 + "the end")
    assert all(c.isprintable() or c == "\n" for c in str(fault))
    assert str(fault).startswith("a\\x1b[31m\\x07\\r\\u202eb\\u2066c\\ud800 line one\nline two")
    assert str(fault).endswith("the end")
    assert len(str(fault)) <= LONGEST
    assert str(pickle.loads(pickle.dumps(fault))) == str(fault)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a b", "a b"),
        ("Zürich 図", "Zürich 図"),
        ("a\nb", "a\\nb"),
        ("\x9b31m", "\\x9b31m"),
        ("\u2028", "\\u2028"),
    ],
)
def test_what_is_printable_stays_and_the_rest_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    for limit in range(0, 40, 7):
        assert len(printable("\x1b" * 99, limit)) <= limit


NAMES = {
    "pipe": "a|b",
    "row": "a\n| b | c |\r\n\u2028d",
    "code": "`a` ``b",
    "tag": "<script>alert(1)</script>",
    "image": "![x](https://example.org/a.png)",
    "link": "[x](javascript:alert(1))",
    "backslash": "a\\|b",
    "escapes": EVIL,
    "entity": "&lt;b&gt;",
    "address": "https://example.org www.example.org",
    "formula": "$x$ _a_ **b** ~~c~~",
    "long": "x" * 100_000,
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.case(37)
def test_a_name_cannot_leave_its_cell(tmp_path: Path, name: str) -> None:
    row = cells.Row(NAMES[name], tmp_path / "a(b|c) `d`.json", NAMES[name], {})
    filled = Filled(Table(heading="Table"), ("Model", "Config"), [cells.identity(row)], [NAMES[name]])
    page = markdown.page([filled], NAMES[name][:50], "", tmp_path)
    head, rule, line = (one for one in page.splitlines() if one.startswith("|"))
    assert all(len(re.sub(r"\\.", "", one).split("|")) == 4 for one in (head, rule, line))
    assert all(c.isprintable() or c == "\n" for c in page)
    bare = re.sub(r"\\.", "", page)  # without what is escaped
    assert not re.search(r"[<`$*~]|&\w+;|https?:|www\.|_a|\]\((?!a%28)", bare)
    assert "(a%28b%7Cc%29%20%60d%60.json)" in line
    assert len(line) < 1000
