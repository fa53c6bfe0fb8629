"""Files that are written anew keep what others rely on."""

from __future__ import annotations

from pathlib import Path

import pytest

from pretrain.base import files


@pytest.mark.parametrize("mode", [0o664, 0o600, 0o444])
def test_a_file_that_is_written_anew_keeps_its_mode(mode: int, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("old")
    page.chmod(mode)
    files.write_text(page, "new")
    assert page.read_text() == "new"
    assert page.stat().st_mode & 0o777 == mode
