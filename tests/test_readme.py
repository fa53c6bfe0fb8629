"""What the documents promise: links lead somewhere, commands are commands, their suite is a suite."""

from __future__ import annotations

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


@pytest.mark.parametrize("command", commands())
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
    done = subprocess.run([sys.executable, "-m", "zoo", *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode in (0, 4), done.stderr


def toml() -> str:
    """The suite file that README shows."""
    lines = README[README.index('    variant = "paper"') :].splitlines()
    block = lines[: lines.index("    zoo run odc --all-benchmarks --suite photos.toml")]
    return "\n".join(line.strip() for line in block)


def test_the_suite_file_is_read(tmp_path: Path) -> None:
    from zoo.suites import builtin

    (tmp_path / "photos.toml").write_text(toml())
    suite = builtin.load(str(tmp_path / "photos.toml"), None, {})
    entry = suite.entry("odc")
    assert entry.recipe.epochs == 20
    assert entry.notes == ("odc.schedule.milestones follow epochs (440 -> 20): [400] -> [18]",)


def test_the_makefile_has_the_readmes_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^ {4}make (\w+)", README, re.M):
        assert f"\n{target}:" in makefile
