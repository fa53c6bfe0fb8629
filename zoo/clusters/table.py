"""Files for people: assignments as CSV or parquet, features as .npy or parquet. Written in bounded memory."""

from __future__ import annotations

import csv
import importlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.base import files
from pretrain.base.faults import Fault
from zoo.clusters.rows import PART, Growing, Values, parts

COLUMNS = ("file", "cluster", "distance", "second", "second_distance")
CSV, PARQUET, NPY = ".csv", ".parquet", ".npy"


def checked(path: Path, endings: Sequence[str]) -> Path:
    """The path, if its ending is one of these and what writes it is installed. Raises Fault."""
    if path.suffix not in endings:
        said = f"expected a name that ends in {' or '.join(endings)}, got '{path.name}'"
        raise Fault("bad-config", f"--out {path}: {said}")
    if path.suffix == PARQUET:
        _pyarrow(path)
    return path


def _pyarrow(path: Path) -> Any:
    try:
        importlib.import_module("pyarrow.parquet")
    except ImportError:
        said = "parquet needs pyarrow, which is not installed; pip install pyarrow, or take another ending"
        raise Fault("dependency-missing", f"{path}: {said}") from None
    return importlib.import_module("pyarrow")


def assignments(path: Path, names: Sequence[str], found: Values, bad: dict[int, str]) -> None:
    """Writes a row of COLUMNS per image that is not bad: found (N, 4) as `features.nearest` gives them.

    The fields of the second cluster are empty where there is but one. Raises Fault on a full disk.
    """
    chunks = (_rows(names, found, part, bad) for part in parts(len(found)))
    write = _csv if path.suffix == CSV else _parquet
    files.write(path, lambda aside: write(aside, chunks))


def _rows(names: Sequence[str], found: Values, part: slice, bad: dict[int, str]) -> list[list[Any]]:
    numbers = range(part.start, part.stop)
    return [
        [_printable(names[i]), int(cluster), distance, None if second != second else int(second), other]
        for i, (cluster, distance, second, other) in zip(numbers, found[part].tolist(), strict=True)
        if i not in bad
    ]


def _printable(name: str) -> str:
    """The name as UTF-8 can say it: of bytes that are none, as Python escapes them."""
    return name.encode("utf-8", "backslashreplace").decode()


def _csv(path: Path, chunks: Iterator[list[list[Any]]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for rows in chunks:
            writer.writerows(
                [name, cluster, f"{distance:.9g}", "" if second is None else second, _number(other)]
                for name, cluster, distance, second, other in rows
            )


def _number(value: float) -> str:
    return "" if value != value else f"{value:.9g}"


def _parquet(path: Path, chunks: Iterator[list[list[Any]]]) -> None:
    arrow = _pyarrow(path)
    kinds = (arrow.string(), arrow.int32(), arrow.float64(), arrow.int32(), arrow.float64())
    schema = arrow.schema(list(zip(COLUMNS, kinds, strict=True)))
    with arrow.parquet.ParquetWriter(path, schema) as writer:
        for rows in chunks:
            columns = zip(*rows, strict=True) if rows else [()] * len(COLUMNS)
            arrays = [
                arrow.array([None if v != v else v for v in c], k)
                for c, k in zip(columns, kinds, strict=True)
            ]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))


def require_listable(path: Path, names: Sequence[str]) -> None:
    """Raises Fault where a name holds a line end, which a list of a name a line cannot say."""
    odd = next((name for name in names if "\n" in name or "\r" in name), None)
    if path.suffix != PARQUET and odd is not None:
        said = f"the name {odd!r} holds a line end, which {path.stem}.txt cannot say"
        raise Fault("bad-config", f"{said}; rename it, or take parquet")


def features(path: Path, names: Sequence[str], growing: Growing) -> None:
    """Writes the rows of all good images: NAME.npy with their names, one a line, in NAME.txt, or a parquet
    file of the columns file and features. Raises Fault on a full disk.
    """
    good = [i for i in range(len(names)) if i not in growing.bad]
    listed = [_printable(names[i]) for i in good]
    if path.suffix == PARQUET:
        files.write(path, lambda aside: _features_parquet(aside, listed, growing, good))
        return
    files.write_text(path.with_suffix(".txt"), "".join(f"{name}\n" for name in listed))
    files.write(path, _npy(growing, good))


def _npy(growing: Growing, good: list[int]) -> Callable[[Path], object]:
    """Moves the array where all rows are good, else copies those that are."""
    if not growing.bad:
        return growing.rows.replace
    return lambda aside: copied(growing.array(), good, aside)


def copied(rows: Values, good: list[int], path: Path) -> None:
    """Writes some rows of an array as a .npy file."""
    kind = np.lib.format.dtype_to_descr(rows.dtype)
    header = {"descr": kind, "fortran_order": False, "shape": (len(good), rows.shape[1])}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts(len(good)):
            file.write(np.ascontiguousarray(rows[good[part]]).tobytes())


def _features_parquet(path: Path, names: list[str], growing: Growing, good: list[int]) -> None:
    arrow, rows = _pyarrow(path), growing.array()
    kind = arrow.list_(arrow.float32(), rows.shape[1])
    schema = arrow.schema([("file", arrow.string()), ("features", kind)])
    with arrow.parquet.ParquetWriter(path, schema) as writer:
        for part in parts(len(good), max(1, PART * 1024 // rows.shape[1])):
            values = arrow.array(np.ascontiguousarray(rows[good[part]]).reshape(-1), arrow.float32())
            lists = arrow.FixedSizeListArray.from_arrays(values, rows.shape[1])
            arrays = [arrow.array(names[part], arrow.string()), lists]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))


def listed_bad(path: Path, root: Path, names: Sequence[str], bad: dict[int, str]) -> Path | None:
    """Writes the paths of bad images, one a line, beside the output, as a suite's `exclude` file takes them;
    None where there are none, and the list of an earlier call goes.
    """
    place = path.with_name(f"{path.name}.bad.txt")
    if not bad:
        place.unlink(missing_ok=True)
        return None
    listed = "".join(f"{(root / names[i]).absolute()}\n" for i in sorted(bad))
    files.write(place, lambda aside: aside.write_bytes(listed.encode(errors="surrogateescape")))
    return place
