"""Writes requirements.lock: every package that was tested together, with the hash of its file.

    python -m tests.lock        asks pip what it would install by constraints.txt; downloads no package

The hashes are of the files for Linux on x86-64 with Python 3.11, where the tests run.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
HEAD = """\
# What was tested together on Linux, x86-64, Python 3.11, with the hash of each file; written by `python -m tests.lock`.
#   pip install --require-hashes -r requirements.lock && pip install --no-deps .
"""
EXTRAS = ".[dev,hub,tensorboard,timm]"


def resolved(extras: str) -> list[dict[str, Any]]:
    """What pip would install into an empty environment."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        asked = ["-c", str(ROOT / "constraints.txt"), "-e", extras]
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        subprocess.run([*pip, "--report", str(report), *asked], check=True, cwd=ROOT)
        found: list[dict[str, Any]] = json.loads(report.read_text())["install"]
        return found


def entry(package: dict[str, Any]) -> str:
    """NAME==VERSION --hash=sha256:..."""
    told, hashes = package["metadata"], package["download_info"]["archive_info"]["hashes"]
    return f"{told['name']}=={told['version']} --hash=sha256:{hashes['sha256']}"


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(path: Path) -> dict[str, str]:
    """Versions by normal name, of a file with lines of NAME==VERSION."""
    lines = (line.split(" --")[0].strip() for line in path.read_text().splitlines())
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {normal(name): version for name, version in pairs}


def main() -> None:
    packages = [package for package in resolved(EXTRAS) if "archive_info" in package["download_info"]]
    LOCK.write_text(HEAD + "".join(f"{line}\n" for line in sorted(map(entry, packages), key=str.lower)))
    print(f"{LOCK.name}: {len(packages)} packages")


if __name__ == "__main__":
    main()
