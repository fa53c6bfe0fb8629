"""Tables of Hugging Face as shards: parquet or arrow files with a column `image` of bytes and one `label`.

A table cannot be read at any place without reading around it. So each is copied once into a tar file under
`packed/`, the images byte by byte as they are, and read from there from then on.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from pretrain.base import files
from pretrain.base.faults import Fault
from pretrain.base.lease import lease

KINDS = (".parquet", ".arrow")
STARTS = {
    b"\xff\xd8": ".jpg",
    b"\x89PNG": ".png",
    b"RIFF": ".webp",
    b"BM": ".bmp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
}
ROWS = 64  # read at a time


def found(root: Path, part: str) -> list[Path]:
    """The tables of a part: `<part>-*.parquet` in root or data/, `<name>-<part>.arrow` or
    `<name>-<part>-<number>*.arrow` in root, with or without a name, or `<part>/*.arrow`.
    """
    tables = [p for at in (root, root / "data") for p in sorted(at.glob(f"{part}-*.parquet"))]
    named = re.compile(rf"(.*-)?{re.escape(part)}(-\d.*)?\.arrow")  # the val of `carnival-train` is no part
    arrows = (path for path in sorted(root.glob("*.arrow")) if named.fullmatch(path.name))
    return tables or list(arrows) or sorted((root / part).glob("*.arrow"))


def shards(root: Path, part: str, tables: Sequence[Path]) -> list[Path]:
    """Shards made of the tables of a part. Raises Fault where they cannot be read or copied."""
    made = [root / "packed" / f"{part}-{i:05d}-of-{len(tables):05d}.tar" for i in range(len(tables))]
    if not any(map(_due, made, tables)):
        return made
    if not os.access(root, os.W_OK):
        said = "its tables are copied into packed/ once; copy the data set to a folder that can be written"
        raise Fault("bad-config", f"{root} cannot be written, but {said}")
    with lease(root / "packed" / f".{part}.lock"):
        for i, (table, path) in enumerate(zip(tables, made, strict=True)):
            if _due(path, table):
                of = _state(table)
                files.write(path, lambda aside, i=i, table=table: _pack(aside, table, i))  # type: ignore[misc]
                files.write_text(_stamp(path), of)
    return made


def _due(path: Path, table: Path) -> bool:
    """Whether a table was not copied yet, or is another since then: an older one, too. Copies without a stamp
    are those of earlier versions.
    """
    if path.exists() and not _stamp(path).exists():
        return path.stat().st_mtime_ns < table.stat().st_mtime_ns
    try:
        return not path.exists() or _stamp(path).read_text(encoding="utf-8") != _state(table)
    except (OSError, ValueError):
        return True


def _stamp(path: Path) -> Path:
    """Beside a copy, what its table was."""
    return path.with_name(f".{path.name}.of")


def _state(table: Path) -> str:
    stat = table.stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _pack(path: Path, table: Path, number: int) -> None:
    with tarfile.open(path, "w") as tar:
        for row, (content, label) in enumerate(_rows(table)):
            ending = next((e for start, e in STARTS.items() if content.startswith(start)), "")
            if not ending:
                raise Fault("data-corrupt", f"{table}: row {row} holds no image of a known format")
            entry = tarfile.TarInfo(f"{label}/{number:05d}_{row:08d}{ending}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def _rows(table: Path) -> Iterator[tuple[bytes, str]]:
    """Bytes and class of each row. Raises Fault where the table is not of images, or damaged."""
    try:
        pa: Any = import_module("pyarrow")
    except ImportError:
        said = "reading it needs the package pyarrow; install it, or unpack the images into class folders"
        raise Fault("dependency-missing", f"{table}: {said}") from None
    try:
        schema, batches = _batches(table)
        if {"image", "label"} - set(schema.names):
            said = f"expected columns image and label, got {', '.join(schema.names)}"
            raise Fault("data-corrupt", f"{table}: {said:.400}; rename those that hold them")
        names = _names(schema.metadata or {})
        for batch in batches:
            for image, label in zip(*(batch.column(c).to_pylist() for c in ("image", "label")), strict=True):
                yield _content(image, table), _class(label, names, table)
    except (pa.ArrowException, OSError) as error:
        raise Fault("data-corrupt", f"{table} is no whole table ({error}); fetch it again") from None


def _batches(table: Path) -> tuple[Any, Iterable[Any]]:
    if table.suffix == ".parquet":
        file = import_module("pyarrow.parquet").ParquetFile(table)
        return file.schema_arrow, file.iter_batches(ROWS)
    pa, ipc = import_module("pyarrow"), import_module("pyarrow.ipc")
    source = pa.memory_map(str(table))
    try:
        stream = ipc.open_stream(source)
        return stream.schema, stream
    except pa.ArrowInvalid:
        whole = ipc.open_file(source)
        return whole.schema, (whole.get_batch(i) for i in range(whole.num_record_batches))


def _names(metadata: dict[bytes, bytes]) -> list[str]:
    """Names of the classes in order, where the table says them."""
    try:
        said = json.loads(metadata[b"huggingface"])["info"]["features"]["label"]["names"]
    except (KeyError, ValueError, TypeError):
        return []
    return [str(name) for name in said] if isinstance(said, list) else []


def _content(image: Any, table: Path) -> bytes:
    content = image.get("bytes") if isinstance(image, dict) else image
    if not isinstance(content, bytes):
        said = f"column image must hold the bytes of files, not their paths, got {image!r:.60}"
        raise Fault("data-corrupt", f"{table}: {said}; write the bytes, or drop the row")
    return content


def _class(label: Any, names: list[str], table: Path) -> str:
    """A folder's name: its number first, so that their order stays, then what it is called."""
    if not isinstance(label, int) or label < 0 or (names and label >= len(names)):
        below = f" to {len(names) - 1}" if names else ""
        said = f"label {label!r:.40} is no class, expected its number, from 0{below}"
        advice = "number the classes, which Hugging Face does as ClassLabel; unlabelled parts cannot be read"
        raise Fault("data-corrupt", f"{table}: {said}; {advice}")
    name = names[label] if names else ""
    plain = "".join(c if c.isalnum() or c in "-_" else "_" for c in name)
    return f"{label:05d}_{plain}" if plain else f"{label:05d}"
