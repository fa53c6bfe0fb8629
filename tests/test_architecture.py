"""ARCHITECTURE.md, enforced: imports point down, heavy libraries stay at home, files and ways are short."""

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
    "reports": {"reports", "benchmarks", "pretrain"},
    "zoo": {"zoo", "reports", "benchmarks", "pretrain"},
}
# The wings of pretrain, lowest first: each may import those before it, and itself.
WINGS = ("base", "data", "nets", "cluster", "train", "methods")
MM = {"mmcv", "mmengine", "mmdet", "mmseg"}
HEAVY = {"torch", "torchvision", "faiss", "sklearn", "safetensors.torch", *MM}


def sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[str]:
    """Full dotted names that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", sources(), ids=named)
def test_imports_point_down(path: Path) -> None:
    package, *inside = path.relative_to(ROOT).parts
    for name in imports(path):
        top = name.partition(".")[0]
        assert top not in PACKAGES or top in ALLOWED[package], f"{path} imports {name}"
        if package == "reports":
            assert top not in HEAVY, f"{path} imports {name}"
            if top in ("benchmarks", "pretrain"):
                assert name.startswith(("benchmarks.contract", "pretrain.base")), f"{path} imports {name}"
        assert top not in MM or inside[:2] == ["mm", "worker"], f"{path} imports {name}; only mm/worker may"
        if package == "pretrain" and top == "pretrain" and inside[0] in WINGS:
            assert WINGS.index(name.split(".")[1]) <= WINGS.index(inside[0]), f"{path} imports {name}"


def test_mm_is_an_oracle_in_its_own_tests_alone() -> None:
    for path in (ROOT / "tests").rglob("*.py"):
        found = {name for name in imports(path) if name.partition(".")[0] in MM}
        assert not found or path.name.startswith("test_mm_"), f"{path} imports {found}"


@pytest.mark.parametrize("path", sources(), ids=named)
def test_files_and_functions_are_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 300, f"{path} has {len(text.splitlines())} lines"
    assert path.stem not in ("utils", "common", "helpers", "misc")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            said = node.body[0].end_lineno if ast.get_docstring(node) else node.lineno
            assert (node.end_lineno or 0) - (said or 0) < 50, f"{path}:{node.lineno} {node.name}"


@pytest.mark.parametrize("folder", ["pretrain/methods", "benchmarks/protocols"])
def test_methods_and_protocols_do_not_import_their_siblings(folder: str) -> None:
    dotted = folder.replace("/", ".")
    for path in (ROOT / folder).glob("*/*.py"):
        mine = f"{dotted}.{path.parent.name}"
        strange = [name for name in imports(path) if name.startswith(dotted) and not name.startswith(mine)]
        assert not strange, path


def test_declarations_stand_apart_from_maths() -> None:
    for folder, declaration, maths in (
        ("pretrain/methods", "recipes.py", "method.py"),
        ("benchmarks/protocols", "protocol.py", "run.py"),
    ):
        for entry in (path for path in (ROOT / folder).iterdir() if path.is_dir() and path.name[0] != "_"):
            assert {declaration, maths} <= {path.name for path in entry.glob("*.py")}, entry
            assert not {name.partition(".")[0] for name in imports(entry / declaration)} & HEAVY, entry


def test_no_code_branches_on_the_name_of_a_suite() -> None:
    """Comparisons with names of suites and variants; what differs between them stands in their constants."""
    names = {"demo", "smoke", "paper"}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare) and path.name not in ("builtin.py", "suite.py"):
                constants = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant)}
                assert not constants & names, f"{path}:{node.lineno}"


@pytest.mark.parametrize(
    "code",
    [
        "import zoo.cli, zoo.request, zoo.plan.planner, reports.tables.fill",
        "from zoo.cli import app; app(['list'], standalone_mode=False)",
        "from zoo.cli import app; app(['plan', 'odc', '--suite', 'paper'], standalone_mode=False)",
        "from zoo.cli import app; app(['plan', 'odc'], standalone_mode=False)",
        "from zoo.cli import app; app(['run', 'odc', '--all-benchmarks', '--dry-run'], standalone_mode=False)",
    ],
)
def test_listing_and_planning_load_no_torch(code: str, tmp_path: Path) -> None:
    check = f"import sys; {code}; bad = {HEAVY!r} & set(sys.modules); assert not bad, bad"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=tmp_path, capture_output=True)


WALK = """
import sys, traceback
from pretrain.methods.{module} import {owner} as owner
from zoo import run
kept = getattr(owner, {name!r})
def seen(*arguments, **options):
    ours = [f for f in traceback.extract_stack()[:-1] if {root!r} in f.filename and 'site-packages' not in f.filename]
    print(*(f.name for f in ours if f.name != '<module>'), {name!r}, sep=' > ')
    raise SystemExit(0)
setattr(owner, {name!r}, seen)
sys.argv = ['zoo', *{words!r}]
run.main()
"""


def frames(code: str, place: Path) -> list[str]:
    """Names of our functions between the command and the maths."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=place)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    return done.stdout.strip().splitlines()[-1].split(" > ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "owner", "name", "benchmark"),
    [
        ("pretrain.methods.odc.method", "ODC", "loss", "none"),
        ("benchmarks.protocols.knn", "run", "vote", "imagenet_knn"),
    ],
)
def test_the_way_from_the_command_to_the_maths_is_short(
    tmp_path: Path, where: str, owner: str, name: str, benchmark: str
) -> None:
    """Seven functions of ours at most; `pytest -s` prints them."""
    from tests import scenes

    scenes.folder(tmp_path / "images", per_class=8)
    (tmp_path / "own.toml").write_text(
        "variant = 'smoke'\nimages = 'images/train'\nbeside = []\n[data]\nimagenet = 'images'\n"
        "[pretrain]\ninput.size = 16\ninput.resize = 16\n"
        "[odc]\nepochs = 1\nclusters = 4\nbatch_size = 8\nviews.0.size = 16\n"
    )
    words = ["odc", "--benchmarks", benchmark, "--suite", "own.toml"]
    code = WALK.format(module="x", owner=owner, name=name, words=words, root=str(ROOT))
    code = code.replace(
        f"from pretrain.methods.x import {owner} as owner", f"from {where} import {owner} as owner"
    )
    found = frames(code, tmp_path)
    assert len(found) <= 7, " > ".join(found)


def test_empty_init_files() -> None:
    """But for that of the library, whose exports are loaded when they are used."""
    found = [path for path in sources() if path.name == "__init__.py" and path != ROOT / "zoo/__init__.py"]
    assert all(path.read_text() == "" for path in found)
