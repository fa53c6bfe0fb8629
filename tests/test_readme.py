"""What the documents promise: links lead somewhere, commands are commands, their suite is a suite."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def commands() -> list[str]:
    """Every `zoo ...` line of README's indented blocks, without its comment."""
    lines = [
        line.strip() for line in README.splitlines() if re.match(r" {4}(zoo|torchrun|python -m zoo)", line)
    ]
    return sorted({line.partition("#")[0].strip() for line in lines})


QUICK = ("zoo list", "zoo run odc --all-benchmarks --dry-run")  # the others, a process each, are slow
EVERY = [one if one in QUICK else pytest.param(one, marks=pytest.mark.slow) for one in commands()]


@pytest.mark.parametrize("command", EVERY)
def test_every_command_is_understood(command: str, tmp_path: Path) -> None:
    """Planned, not run: an unknown option or name is exit code 2; 0 and 4 (data are missing) are answers."""
    (tmp_path / "photos.toml").write_text(toml())
    words = shlex.split(command)
    words = words[words.index("-m") + 2 :] if "-m" in words else words[1:]
    words = ["run", *words] if command.startswith("torchrun") or "zoo.run" in command else words
    if words[0] == "run":
        words = [word for i, word in enumerate(words) if word != "--gpus" and words[i - 1] != "--gpus"] + [
            "--dry-run"
        ]
    words += ["--help"] if words[0] == "serve" else []  # it would serve until it is stopped
    environment = {**os.environ, "ZOO_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
    line = [sys.executable, "-m", "zoo", *words]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)
    assert done.returncode in (0, 4), done.stderr


def toml() -> str:
    """The suite file that README shows."""
    lines = README[README.index('    variant = "photos"') :].splitlines()
    block = lines[: next(i for i, line in enumerate(lines) if line.startswith("    zoo run odc --suite"))]
    return "\n".join(line.strip() for line in block)


def test_the_suite_file_is_read(tmp_path: Path) -> None:
    from zoo.suites import builtin

    (tmp_path / "photos.toml").write_text(toml())
    suite = builtin.load(str(tmp_path / "photos.toml"), None, {})
    entry = suite.entry("odc")
    assert entry.recipe.clusters == 150
    assert entry.recipe.adapts == ("batch_size", "lr", "epochs")


@pytest.mark.slow
@pytest.mark.parametrize("model", [[], ["odc"]])
def test_the_example_says_what_to_put_where(model: list[str], tmp_path: Path) -> None:
    """In an empty folder, with nothing said but the suite; a model alone means all of its benchmarks."""
    (tmp_path / "photos.toml").write_text((ROOT / "examples" / "photos.toml").read_text())
    words = ["-m", "zoo", "run", *model, "--suite", "photos.toml"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 4
    assert "photos/train is not there; expected layout: train/<class>/" in done.stderr


def test_the_makefile_has_the_readmes_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^ {4}make (\w+)", README, re.M):
        assert f"\n{target}:" in makefile
