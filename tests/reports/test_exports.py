"""Every export is the same frame, or the same tables; values are never rounded in a frame."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.contract.score import Score, Selection, Spread
from pretrain.base.faults import LONGEST, Fault
from reports.exports import Format, export, save
from reports.pages import latex
from reports.records import COLUMNS, records
from tests.faults.hostile import EVIL
from tests.reports.store import PAPER, benchmark, pretraining, view

KNN = PAPER["imagenet_knn"]
VALUE = 12.345678901234567


@pytest.fixture
def home(tmp_path: Path) -> Path:
    chosen = Selection("layer", "f5", "val", {"f5": VALUE})
    score = Score("k10_top1", VALUE, 50_000, "val", spread=Spread.of("draws", [1.0, 3.0]), selection=chosen)
    pretraining(tmp_path, "odc")
    benchmark(tmp_path, KNN, {}, metrics=[score, Score("k20_top1", 1e-20, 50_000, "val")])
    benchmark(tmp_path, PAPER["clustering"], {}, status="failed", reason="nan", message="no", metrics=[])
    return tmp_path


def exported(home: Path, form: Format) -> bytes:
    made = view(home)
    return export(form, made.records, [made.filled(KNN.table)], "Zoo", home)


def test_the_frame_has_a_row_per_score_and_one_for_what_has_none(home: Path) -> None:
    frame = records(home)
    assert list(frame.columns) == list(COLUMNS)
    assert [(row.protocol, row.metric, row.status) for row in frame.itertuples()] == [
        ("pretrain", "", "ok"),
        ("clustering", "", "failed"),
        ("imagenet_knn", "k10_top1", "ok"),
        ("imagenet_knn", "k20_top1", "ok"),
    ]
    one = frame[frame.metric == "k10_top1"].iloc[0]
    assert (one.value, one["std"], one.n, one.trained, one.seed) == (VALUE, 1.0, 50_000, 0, 0)
    assert (one.selected, one.choice, one.selected_on, one.data) == ("layer", "f5", "val", "val=aaaa")


def test_csv_json_and_parquet_are_the_frame(home: Path) -> None:
    import pandas

    frame = records(home)
    save(home / "x.parquet", exported(home, Format.PARQUET))
    pandas.testing.assert_frame_equal(pandas.read_parquet(home / "x.parquet"), frame)
    rows = list(csv.DictReader(io.StringIO(exported(home, Format.CSV).decode())))
    body = json.loads(exported(home, Format.JSON))
    assert list(rows[0]) == list(body[0]) == list(COLUMNS)
    for read in ([row["value"] for row in rows], [row["value"] for row in body]):
        assert [float(value) for value in read if value not in ("", None)] == [VALUE, 1e-20]
    assert (body[0]["value"], body[0]["version"], body[2]["n"]) == (None, 2, 50_000)


@pytest.mark.case(37)
def test_latex_is_booktabs_with_everything_escaped(home: Path) -> None:
    text = exported(home, Format.LATEX).decode()
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 2
    assert r"\caption{ImageNet Nearest-Neighbor Classification}" in text
    assert r"odc & resnet50\_8xb64-steplr-440e & 12.3 & " in text
    assert r"\caption{ImageNet Nearest-Neighbor Classification, published}" in text
    assert latex.escape("a_b & 5 % ± \\{x}\n~^#$<|") == (
        r"a\_b \& 5 \% $\pm$ \textbackslash{}\{x\} \textasciitilde{}\textasciicircum{}\#\$\textless{}\textbar{}"
    )
    for grid in text.split(r"\begin{table}")[1:]:
        columns = len(grid[grid.index("{tabular}{") + 10 : grid.index("}\n\\toprule")])
        rows = [line for line in grid.splitlines() if line.endswith(r"\\")]
        assert rows
        assert {len(line.split(" & ")) for line in rows} == {columns}


@pytest.mark.case(37)
def test_latex_holds_no_control_character_and_no_endless_name() -> None:
    shown = latex.escape(EVIL + "x" * 100_000)
    assert shown.isprintable()
    assert shown.startswith(r"a\textbackslash{}x1b[31m\textbackslash{}x07 \textbackslash{}u202eb")
    assert len(shown) < 2 * LONGEST


def test_an_export_follows_links_and_replaces_nothing_that_is_no_file(tmp_path: Path) -> None:
    link, pipe = tmp_path / "link.csv", tmp_path / "pipe"
    link.symlink_to(tmp_path / "there.csv")
    save(link, b"a")
    assert (link.is_symlink(), (tmp_path / "there.csv").read_bytes()) == (True, b"a")
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        save(pipe, b"b")
        assert (pipe.is_fifo(), os.read(reader, 2)) == (True, b"b")
    finally:
        os.close(reader)


def test_markdown_is_the_page(home: Path) -> None:
    assert exported(home, Format.MARKDOWN).decode().startswith("# Zoo\n\n## Classification\n")


def test_a_folder_without_records_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="holds no readable result"):
        records(tmp_path)


def test_rendering_loads_neither_torch_nor_pandas(home: Path) -> None:
    """Pages, the gate and the list of formats; frames load pandas when they are made."""
    code = (
        "import sys; from pathlib import Path; import reports.exports, zoo.gate; from reports import site\n"
        "from reports.view import View; from reports.records import found\n"
        "from benchmarks.contract.protocol import catalogue\n"
        f"home = Path({str(home)!r})\n"
        "site.bring(View(found(home), list(catalogue('paper').values()), 'paper'), (), home / 'pages')\n"
        "zoo.gate.gate(home / 'results' / 'odc' / 'imagenet_knn', home / 'b.json', accept=True)\n"
        "bad = {'torch', 'pandas', 'pyarrow', 'sklearn'} & set(sys.modules); assert not bad, bad"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
    assert (home / "pages" / "model_zoo.md").exists()
