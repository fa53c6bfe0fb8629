"""What a reader looks for first: the best of each column, and how far a number is above an untrained
network's.
"""

from __future__ import annotations

from collections.abc import Sequence

from reports.tables.cells import Cell, Missing, Row

REFERENCE = "random"  # the method whose numbers others are compared with


def method(row: Row) -> str:
    """The method of a model, as its records say; its name where it has none."""
    if row.method:
        return row.method
    for found in row.records.values():
        if not isinstance(found, Missing) and found:
            return str(found[0][1].model.get("method", row.model))
    return row.model


def marked(rows: Sequence[Row], grid: Sequence[list[Cell]]) -> list[list[Cell]]:
    """The cells of the models' rows, with the best of each column marked, where there are two to choose from,
    and the difference to the untrained network.
    """
    untrained = [i for i, row in enumerate(rows) if method(row) == REFERENCE]
    own = (i for i in untrained if rows[i].model == REFERENCE)  # and not one that `--as` has named
    floor = next(own, next(iter(untrained), None))
    columns = [_column(list(cells), floor) for cells in zip(*grid, strict=True)]
    return [list(cells) for cells in zip(*columns, strict=True)] if columns else [[] for _ in rows]


def _column(cells: list[Cell], floor: int | None) -> list[Cell]:
    running = [c for c in cells if c.mark != "grey"]
    values = [
        -c.value if c.better == "lower" else c.value for c in running if c.value is not None and c.better
    ]
    top = max(values) if len(values) > 1 else None
    base = cells[floor].value if floor is not None and cells[floor].mark != "grey" else None
    return [_cell(c, top, None if i == floor else base) for i, c in enumerate(cells)]


def _cell(cell: Cell, top: float | None, base: float | None) -> Cell:
    """One cell. What is shown alike is equally good: values are compared as they are rounded."""
    if cell.value is None or cell.mark == "grey":
        return cell
    ours = -cell.value if cell.better == "lower" else cell.value
    best = top is not None and cell.better and round(ours, cell.digits) == round(top, cell.digits)
    gain = "" if base is None else signed(cell.value - base, cell.digits)
    return cell._replace(mark="best" if best else "", gain=gain)


def signed(difference: float, digits: int) -> str:
    """A difference with its sign, a real minus."""
    return f"{difference:+z.{digits}f}".replace("-", "−")
