"""Tables on a terminal: every number stands whole, however narrow it is."""

from __future__ import annotations

import pytest

from benchmarks.contract.table import Table
from reports.pages import terminal
from reports.tables.cells import Cell
from reports.tables.fill import Filled


def filled(columns: int) -> Filled:
    headings = ("Model", "Config", *(f"k={k}" for k in range(columns)))
    row = [Cell("odc"), Cell("resnet50_8xb64-steplr-440e"), *(Cell("12.34 ± 0.56") for _ in range(columns))]
    return Filled(Table(heading="Low shot"), headings, [row])


@pytest.mark.parametrize("width", [40, 80, 120, 400])
def test_every_column_is_shown_once_and_fits(width: int) -> None:
    table = filled(11)
    found = list(terminal.blocks(table, width))
    assert [i for block in found for i in block[1:]] == list(range(1, 13))
    assert all(block[0] == 0 for block in found), "a block starts with the model"
    for block in found:
        texts = [max(len(table.columns[i]), len(table.rows[0][i].text)) for i in block]
        assert sum(texts) + terminal.BORDER * len(block) + 1 <= width
    assert (len(found) == 1) == (width == 400)


def test_at_80_columns_no_number_is_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "LOG_WIDTH", 80)
    terminal.show([filled(11)], "Model zoo", "[/not markup] \\[red]")
    shown = capsys.readouterr().out
    assert shown.count("12.34 ± 0.56") == 11
    assert "…" not in shown
    assert "[/not markup]" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_a_busy_machine_is_said_unless_threads_were_chosen() -> None:
    from zoo.run import crowded

    assert "8 processes are at work on 2 cores: ZOO_CORES=1" in crowded(8.2, 2, {})
    assert crowded(1.5, 2, {}) == ""
    assert crowded(8.2, 2, {"OMP_NUM_THREADS": "2"}) == ""
    assert crowded(8.2, 2, {"ZOO_CORES": "1"}) == ""
