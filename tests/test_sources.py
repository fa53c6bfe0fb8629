"""Code that a number comes from does not change without a word: a new version, or a promise."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pretrain.base import source as code
from tests import sources


@pytest.mark.case(28)
def test_the_code_is_the_accepted_one() -> None:
    accepted, found = json.loads(sources.FILE.read_text()), sources.current()
    changed = [name for name in {*accepted, *found} if accepted.get(name) != found.get(name)]
    assert not changed, (
        f"code or version of {sorted(changed)} changed: raise the version where a number can move, run "
        "`make accept` if one did, then `python -m tests.sources` (with --same-numbers if none did)"
    )


@pytest.mark.case(28)
def test_only_a_new_version_announces_new_code() -> None:
    old = {
        "a": {"version": 1, "source": "x"},
        "b": {"version": 1, "source": "x"},
        "c": {"version": 1, "source": "x"},
    }
    new = {
        "a": {"version": 1, "source": "y"},
        "b": {"version": 2, "source": "y"},
        "c": {"version": 1, "source": "x"},
    }
    assert sources.unannounced(old, new) == ["a"]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "ours"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "maths.py").write_text(
        '"""Doc."""\nfrom ours import helper\n\ndef f() -> int:\n    return helper.X\n'
    )
    (folder / "helper.py").write_text("X = 1\n")
    (folder / "unrelated.py").write_text("Y = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(code, "OURS", ("ours",))
    code.read.cache_clear()
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "ours"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("file", "text", "moves"),
    [
        ("helper.py", "X = 2\n", True),
        ("helper.py", "# a remark\nX = 1  # another\n", False),
        ("unrelated.py", "Y = 2\n", False),
        (
            "maths.py",
            '"""Other."""\nfrom ours import helper\n\ndef f() -> int:\n\n    return helper.X\n',
            False,
        ),
        ("maths.py", "from ours import helper\n\ndef f() -> int:\n    return helper.X + 1\n", True),
    ],
)
def test_the_digest_sees_imported_code_and_no_remarks(
    package: Path, file: str, text: str, moves: bool
) -> None:
    before = code.source("ours.maths")
    (package / file).write_text(text)
    code.read.cache_clear()
    assert (code.source("ours.maths") != before) is moves
