"""Every row of the table in docs/reliability.md has a test that carries its number, and names it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "reliability.md"
CASES = range(1, 46)


def numbers(mark: ast.AST) -> set[int]:
    """Those of `pytest.mark.case(...)`; none of anything else."""
    if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Attribute) and mark.func.attr == "case":
        return {
            one.value for one in mark.args if isinstance(one, ast.Constant) and isinstance(one.value, int)
        }
    return set()


def marked(path: Path) -> set[int]:
    """Cases of the tests of a file, by their own markers or by that of the file."""
    found: set[int] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            found |= {n for mark in node.decorator_list for n in numbers(mark)}
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
            found |= {n for mark in ast.walk(node.value) for n in numbers(mark)}
    return found


def rows() -> dict[int, list[str]]:
    """The cells of every numbered row."""
    lines = [re.split(r"\s*\|\s*", line.strip("| ")) for line in PAGE.read_text().splitlines()]
    return {int(cells[0]): cells[1:] for cells in lines if cells[0].isdigit()}


def test_every_case_has_a_row_and_a_test() -> None:
    tested = {path: marked(path) for path in TESTS.rglob("test_*.py")}
    every = set().union(*tested.values())
    assert set(rows()) == set(CASES)
    assert every == set(CASES), f"without a test: {sorted(set(CASES) - every)}, unknown: {every - set(CASES)}"


def test_every_row_names_a_file_that_carries_its_number() -> None:
    for case, cells in rows().items():
        assert len(cells) == 3, f"row {case}"
        named = [TESTS / f"{name}.py" for name in re.findall(r"`([\w/]+)`", cells[-1])]
        assert named, f"row {case} names no test"
        lacking = [path.name for path in named if not path.exists() or case not in marked(path)]
        assert not lacking, f"row {case}: {lacking} carry no case({case})"
