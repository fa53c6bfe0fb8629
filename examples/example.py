"""Writes docs/example/ from a finished run: pages, pictures of its site, and the verdict of a gate.

    python examples/example.py --suite demo --home runs/demo --gate runs/gate

Records and weights stay where they are, so the pages of the example do not link to them. Pictures need
Chromium; without it, those that are there stay.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
# A picture is of a page, what follows its name in the address, and so many px of it.
SHOTS = {
    "site.png": ("index.html", "", (1200, 1000)),
    "model.png": ("models/{model}.html", "", (1200, 1500)),
    "compare.png": ("compare.html", "#a={model}&b={other}", (1200, 900)),
}
LARGEST = 150_000  # bytes of a picture
LINK = re.compile(r"\[([^\[\]]*)\]\(([^()\s]+)\)")
SEEDS = re.compile(r"(?<=\)) \[\d+\]\(\S*result\.json\)")  # links to the records of the other seeds
SAID = ("every cell links to its own", "every cell has its own, to which this example does not link")


def zoo(*words: str | Path, wanted: tuple[int, ...] = (0,)) -> None:
    """A verb of `zoo`; exits where it fails."""
    code = subprocess.run([sys.executable, "-m", "zoo", *map(str, words)], cwd=ROOT).returncode
    if code not in wanted:
        raise SystemExit(code)


def pages(suite: str, home: Path, place: Path) -> None:
    """The zoo's own pages, without links to what is not beside them."""
    for old in place.rglob("*.md"):
        old.unlink()
    zoo("report", "--suite", suite, "--out", home, "--pages", place)
    for path in place.rglob("*.md"):
        while (fewer := SEEDS.sub("", text := path.read_text())) != text:
            path.write_text(fewer)
        path.write_text(LINK.sub(partial(_kept, place, path.parent), text).replace(*SAID))


def _kept(place: Path, beside: Path, link: re.Match[str]) -> str:
    """A link as it is, or its text alone where it leads out of the example."""
    to = link[2].partition("#")[0]
    if to.startswith("http") or not to or (beside / to).resolve().is_relative_to(place.resolve()):
        return link[0]
    return link[1]


def pictures(suite: str, home: Path, place: Path, models: dict[str, str]) -> None:
    """Pictures of the site, of at most `LARGEST` bytes each."""
    binary = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if binary is None:
        print("no Chromium here: the pictures stay as they are", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        zoo("report", "--suite", suite, "--out", home, "--html", site)
        for name, (page, more, size) in SHOTS.items():
            taken = Path(folder) / name
            address = (site / page.format(**models)).as_uri() + more.format(**models)
            _shot(binary, address, taken, size)
            _small(taken, place / name)


def _shot(binary: str, address: str, path: Path, size: tuple[int, int]) -> None:
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=4000"]
    words += [f"--window-size={size[0]},{size[1]}", f"--screenshot={path}", address]
    subprocess.run([binary, *words], check=True, capture_output=True, timeout=120)


def _small(taken: Path, path: Path) -> None:
    """With as many colours as fit into `LARGEST`."""
    picture = Image.open(taken).convert("RGB")
    for colours in (256, 128, 64, 32, 16):
        picture.quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size <= LARGEST:
            return
    raise SystemExit(
        f"{path.name} has {path.stat().st_size} bytes, expected {LARGEST}; show less of the page"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suite", default="demo")
    parser.add_argument("--home", type=Path, default=Path("runs/demo"))
    parser.add_argument("--gate", type=Path, default=Path("runs/gate"), help="home of what is gated")
    parser.add_argument("--baseline", type=Path, default=Path("tests/golden/baseline.json"))
    parser.add_argument("--model", default="odc", help="whose page is shown")
    parser.add_argument("--other", default="swav", help="what it is compared with")
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "example")
    given = parser.parse_args()
    place: Path = given.to
    place.mkdir(parents=True, exist_ok=True)
    pages(given.suite, given.home, place)
    pictures(given.suite, given.home, place, {"model": given.model, "other": given.other})
    if given.gate.is_dir():
        verdict = ("--baseline", given.baseline, "--suite", "smoke", "--out", given.gate)
        zoo("gate", *verdict, "--summary", place / "gate.md", wanted=(0, 3))
    total = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    print(f"{place}: {total / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
