"""Records as CSV, JSON and parquet: one frame; the tables as LaTeX and Markdown."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path

from pretrain.base import files
from pretrain.base.faults import Fault
from reports.pages import latex, markdown
from reports.records import Kept, frame
from reports.tables.fill import Filled


class Format(StrEnum):
    """csv, json, parquet: a row per score; latex, markdown: the tables."""

    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"
    LATEX = "latex"
    MARKDOWN = "markdown"


def export(form: Format, kept: Kept, tables: Sequence[Filled], title: str, beside: Path) -> bytes:
    """The records, or the tables, in a format; links of Markdown are relative to the folder `beside`. Raises
    Fault where pandas, or pyarrow for parquet, is not there.
    """
    makers: dict[Format, Callable[[], bytes]] = {
        Format.CSV: lambda: frame(kept).to_csv(index=False, lineterminator="\n").encode(),
        Format.JSON: lambda: _json(kept),
        Format.PARQUET: lambda: _parquet(kept),
        Format.LATEX: lambda: latex.page(tables).encode(),
        Format.MARKDOWN: lambda: markdown.page(tables, title, "", beside).encode(),
    }
    return makers[form]()


def save(path: Path, content: bytes) -> None:
    """Writes an export, absent or complete; of a link, the file that it leads to. What is no file, such as
    /dev/stdout or a pipe, is written to and not replaced. Raises Fault on a full disk or missing rights.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        with files.explained(path):
            path.write_bytes(content)
        return
    files.write(Path(os.path.realpath(path)), lambda aside: aside.write_bytes(content))


def _json(kept: Kept) -> bytes:
    rows = frame(kept).astype(object)
    return (json.dumps(rows.where(rows.notna(), None).to_dict("records"), indent=1) + "\n").encode()


def _parquet(kept: Kept) -> bytes:
    into = io.BytesIO()
    try:
        frame(kept).to_parquet(into, index=False)
    except ImportError:
        raise Fault("dependency-missing", "parquet needs pyarrow; pip install pyarrow") from None
    return into.getvalue()
