"""ARCHITECTURE.md, enforced: imports point down, heavy libraries stay at home, files and functions stay small."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("zoo", "pretrain", "benchmarks", "reports")
ALLOWED = {
    "pretrain": {"pretrain"},
    "benchmarks": {"benchmarks", "pretrain"},
    "reports": {"reports", "benchmarks"},
    "zoo": {"zoo", "reports", "benchmarks", "pretrain"},
}
MM = {"mmcv", "mmengine", "mmdet", "mmseg"}


def sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Full dotted names that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    for name in imports(path):
        top = name.partition(".")[0]
        if top in PACKAGES:
            assert top in ALLOWED[package], f"{path} imports {name}"
            assert package != "reports" or top == "reports" or name.startswith("benchmarks.result"), name
        assert top not in MM or "mm" in path.relative_to(ROOT).parts, f"{path} imports {name}; only benchmarks/mm may"
        assert top != "torch" or package != "reports", f"{path} imports torch"


def test_mm_is_an_oracle_in_its_own_tests_alone() -> None:
    for path in (ROOT / "tests").rglob("*.py"):
        found = {name for name in imports(path) if name.partition(".")[0] in MM}
        assert not found or path.name.startswith("test_mm_"), f"{path} imports {found}"


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_are_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 300, f"{path} has {len(text.splitlines())} lines"
    assert path.stem not in ("utils", "common", "helpers", "misc")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            said = node.body[0].end_lineno if ast.get_docstring(node) else node.lineno
            assert (node.end_lineno or 0) - (said or 0) < 50, f"{path}:{node.lineno} {node.name}"


def test_protocols_and_methods_do_not_import_their_siblings() -> None:
    for folder in ("pretrain/methods", "benchmarks/protocols"):
        dotted = folder.replace("/", ".")
        for path in (ROOT / folder).glob("*.py"):
            assert not [name for name in imports(path) if name.startswith(dotted)], path


@pytest.mark.parametrize(
    "code",
    [
        "import zoo.cli, zoo.run, reports.tables",
        "from zoo.cli import app; app(['list'], standalone_mode=False)",
        "from zoo.cli import app; app(['plan', 'odc', '--suite', 'paper'], standalone_mode=False)",
        "from zoo.cli import app; app(['plan', 'odc'], standalone_mode=False)",
    ],
)
def test_planning_loads_no_torch(code: str, tmp_path: Path) -> None:
    heavy = "{'torch', 'faiss', 'sklearn', 'mmengine'}"
    check = f"import sys; {code}; bad = {heavy} & set(sys.modules); assert not bad, bad"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=tmp_path, capture_output=True)


def test_empty_init_files() -> None:
    assert all(path.read_text() == "" for path in sources() if path.name == "__init__.py")
