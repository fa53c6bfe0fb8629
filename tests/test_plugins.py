"""CONTRIBUTING's examples work as they stand there, in a folder outside the repository."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import scenes

ROOT = Path(__file__).parents[1]
PLACES = (
    "methods/rotnet/recipes.py",
    "methods/rotnet/method.py",
    "protocols/centroid/protocol.py",
    "protocols/centroid/run.py",
    "sets/flowers.py",
)
SUITE = """variant = 'smoke'
images = 'flowers/train'
protocols = ['imagenet_centroid', 'imagenet_knn']
[data]
flowers = 'images'
imagenet = 'images'
[pretrain]
input.size = 16
input.resize = 16
[rotnet]
batch_size = 8
views.0.size = 16
"""


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """The examples of CONTRIBUTING.md, written where their text says."""
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S)
    assert len(examples) == len(PLACES)
    for place, code in zip(PLACES, examples, strict=True):
        path = tmp_path / "mine" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    return tmp_path


def zoo(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return python(place, "-m", "zoo", *words)


def python(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ZOO_PLUGINS": str(place / "mine"), "OMP_NUM_THREADS": "1"}
    argv = [sys.executable, *words]
    return subprocess.run(argv, capture_output=True, text=True, cwd=place, env=environment)


@pytest.mark.slow
def test_a_method_a_protocol_and_a_data_set_of_ones_own(plugins: Path) -> None:
    scenes.folder(plugins / "images", per_class=8)
    (plugins / "own.toml").write_text(SUITE)
    listed = zoo(plugins, "list")
    assert "RotNet: which of four rotations" in listed.stdout
    assert "ImageNet nearest class mean" in listed.stdout
    done = zoo(plugins, "run", "rotnet", "--all-benchmarks", "--suite", "own.toml")
    assert done.returncode == 0, done.stderr
    page = (plugins / "runs" / "own" / "tables.md").read_text()
    assert "### Nearest Class Mean" in page
    assert re.search(r"\| Model \| Config \| Top-1 \|", page)
    assert page.index("Nearest-Neighbor") < page.index("Nearest Class Mean")  # in the place that it declares


COUNTED = """
from pretrain.train.model_card import step_flops
from zoo.suites.suite import recipes
print(step_flops("rotnet", recipes("rotnet")["demo"][0]))
"""


def test_operations_are_counted_of_a_method_that_looks_at_values(plugins: Path) -> None:
    """In its weights or in its loss; tensors without memory have none."""
    place = plugins / "mine" / "methods" / "rotnet" / "method.py"
    plain, counts = place.read_text(), list[str]()
    for line, looks in (
        ("        _, logits = net([x])\n", ""),
        ("        self.rotations = recipe.rotations\n", "        nn.init.trunc_normal_(torch.zeros(9))\n"),
        ("        _, logits = net([x])\n", "        assert bool((x == x).all())\n"),
        ("        _, logits = net([x])\n", "        x = x[x.flatten(1).abs().sum(1) >= 0]\n"),
    ):
        assert line in plain
        place.write_text(plain.replace(line, looks + line))
        done = python(plugins, "-c", COUNTED)
        assert done.returncode == 0, done.stderr
        counts.append(done.stdout)
    assert int(counts[0]) > 1_000_000
    assert set(counts) == {counts[0]}


@pytest.mark.slow
def test_it_is_in_every_suite_without_an_edit(plugins: Path) -> None:
    for suite in ("demo", "smoke", "paper"):
        assert "imagenet_centroid" in zoo(plugins, "list", "--suite", suite).stdout


def test_a_plugin_that_hides_an_entry_of_the_zoo_is_refused(plugins: Path) -> None:
    (plugins / "mine" / "methods" / "rotnet").rename(plugins / "mine" / "methods" / "odc")
    done = zoo(plugins, "list")
    assert done.returncode == 2
    assert "'odc' is both in" in done.stderr
    assert done.stderr.count("\n") == 1


RECIPES, PROTOCOL = "methods/rotnet/recipes.py", "protocols/centroid/protocol.py"


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (PROTOCOL, "imagenet_centroid", "imagenet_knn", "knn and centroid both declare 'imagenet_knn'"),
        (RECIPES, "rotnet_demo", "byol_resnet10-narrow_demo", "byol and rotnet both have a model called"),
        (RECIPES, "rotnet_demo", "swav", "rotnet and swav both have a model called 'swav'"),
        (RECIPES, "TITLE", "NAME", "recipes.py declares no TITLE; expected TITLE, SUMMARY, PAPER"),
        (PROTOCOL, "DEMO = ", "", "protocol.py declares no DEMO; expected PAPER, DEMO, SMOKE"),
        (RECIPES, "TITLE = ", "TITLE = (", "rotnet/recipes.py, line "),
        (PROTOCOL, "PAPER = ", "import nowhere\nPAPER = ", "No module named 'nowhere' ("),
    ],
)
def test_what_a_plugin_lacks_or_takes_from_the_zoo_is_one_sentence(
    plugins: Path, file: str, old: str, new: str, said: str
) -> None:
    path = plugins / "mine" / file
    path.write_text(path.read_text().replace(old, new))
    done = zoo(plugins, "run", "odc", "--benchmarks", "imagenet_knn", "--dry-run")
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_score_that_no_column_shows_is_a_fault(plugins: Path) -> None:
    scenes.folder(plugins / "images", per_class=8)
    (plugins / "own.toml").write_text(SUITE)
    path = plugins / "mine" / "protocols" / "centroid" / "run.py"
    path.write_text(path.read_text().replace('"top1"', '"top-1"'))
    done = zoo(plugins, "run", "raw_pixels", "--benchmarks", "imagenet_centroid", "--suite", "own.toml")
    assert done.returncode == 1
    assert "run.py gives top-1, columns show top1; name the scores alike" in done.stderr


def test_a_plugin_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    done = zoo(tmp_path, "list")
    assert done.returncode == 2
    assert done.stderr == f"error: ZOO_PLUGINS: {tmp_path / 'mine'} is not a folder\n"
