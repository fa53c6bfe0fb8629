"""The zoo as a library: what a notebook calls on modules, files and images of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import zoo
from pretrain.base import registry
from pretrain.base.settings import changed
from pretrain.data.loader import open_loader
from pretrain.data.split import from_folder
from pretrain.data.view import Input, centre_view
from pretrain.nets import checkpoint, clusters
from pretrain.nets.archs import build
from pretrain.train.recipe import Recipe
from tests import scenes
from tests.train import tiny
from zoo.suites.suite import METHODS, recipes

ROOT = Path(__file__).parents[1]
KNN = {"imagenet_knn": {"ks": [3]}}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes.folder(tmp_path_factory.mktemp("images"), per_class=6)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    backbone = build("resnet10_narrow", Input(size=16, resize=20), 0)
    checkpoint.save(tmp_path / "own.safetensors", backbone, "resnet10_narrow", {})
    return tmp_path / "own.safetensors"


class Mean(nn.Module):
    """The mean colour of each quarter; it has no weights."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)


def test_importing_the_zoo_is_cheap() -> None:
    code = (
        "import sys, zoo; heavy = {'torch', 'pandas', 'numpy', 'pydantic', 'typer'} & set(sys.modules); "
        "assert not heavy, heavy; import zoo.run; assert zoo.run.__name__ == 'zoo.run' and zoo.run.main"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)


def test_every_export_is_there_and_says_what_it_does() -> None:
    for name in zoo.__all__:
        assert getattr(zoo, name).__doc__, name
    assert set(zoo.__all__) <= set(dir(zoo))
    with pytest.raises(AttributeError, match="has no attribute 'evalute'; it has Fault, evaluate"):
        zoo.evalute  # noqa: B018


@pytest.mark.parametrize("package", ["zoo", "pretrain", "benchmarks", "reports"])
def test_types_are_shipped(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()


def test_a_backbone_takes_pictures_as_benchmarks_do(weights: Path, images: Path) -> None:
    backbone = zoo.load(str(weights))
    split = from_folder("all", images)
    loader = open_loader(split, [centre_view(backbone.input)], backbone.input, 0, torch.device("cpu"))
    (batch,) = loader.batches(np.arange(3), 3, 0)
    for i, expected in enumerate(batch.views[0]):
        with Image.open(split.path(i)) as picture:
            torch.testing.assert_close(backbone.transform(picture), expected)
    assert backbone(batch.views[0]).shape == (3, backbone.dim)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "I;16", "CMYK"])
def test_pictures_of_any_mode_are_taken(weights: Path, mode: str) -> None:
    picture = Image.new("L", (30, 20), 200) if mode == "P" else Image.new(mode, (30, 20))
    assert zoo.load(weights).transform(picture.convert(mode)).shape == (3, 16, 16)


def test_what_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(zoo.Fault, match=r"nowhere.pth is not there"):
        zoo.load(tmp_path / "nowhere.pth")
    with pytest.raises(zoo.Fault, match="found none; run `zoo run odc`"):
        zoo.load("odc", home=str(tmp_path))


def test_a_name_may_have_a_dot(images: Path, weights: Path, tmp_path: Path) -> None:
    words: dict[str, Any] = {"data": {"imagenet": str(images)}, "home": str(tmp_path), "settings": KNN}
    (record,) = zoo.evaluate(weights, ["imagenet_knn"], name="v2.pth", **words)
    assert record.status == "ok", record.message
    with pytest.raises(zoo.Fault, match=r"model 'v2.pth': no copy of the file"):
        zoo.load("v2.pth", home=str(tmp_path))  # ours are not copied; this is no file that is gone


def test_a_module_is_evaluated(images: Path, tmp_path: Path) -> None:
    words: dict[str, Any] = {"data": {"imagenet": str(images)}, "home": str(tmp_path), "settings": KNN}
    (record,) = zoo.evaluate(Mean(), ["imagenet_knn"], size=16, **words)
    assert record.status == "ok", record.message
    score = record.score("k3_top1")
    assert score is not None
    assert score.value > 90  # mean colours tell these classes
    assert record.model["arch"] == "foreign:Mean"
    again = zoo.evaluate(Mean(), ["imagenet_knn"], size=16, **words)
    assert again == [record]  # read, not computed again
    frame = zoo.records(tmp_path)
    assert set(frame["model"]) == {"Mean"}
    assert float(frame.set_index("metric").loc["k3_top1", "value"]) == score.value


def test_other_pixels_are_another_record(images: Path, tmp_path: Path) -> None:
    words: dict[str, Any] = {"data": {"imagenet": images}, "home": tmp_path, "settings": KNN, "name": "mine"}
    keys = {zoo.evaluate(Mean(), ["imagenet_knn"], size=size, **words)[0].key for size in (8, 16)}
    assert len(keys) == 2


def test_the_module_itself_stays_as_it_is(images: Path, tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).train()
    module(torch.randn(2, 3, 16, 16))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    words: dict[str, Any] = {"data": {"imagenet": images}, "home": tmp_path, "settings": KNN}
    (record,) = zoo.evaluate(module, ["imagenet_knn"], size=16, **words)
    assert record.status == "ok", record.message
    assert module.training
    assert all(bool((module.state_dict()[name] == tensor).all()) for name, tensor in before.items())
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_a_file_is_evaluated(weights: Path, images: Path, tmp_path: Path) -> None:
    words: dict[str, Any] = {"data": {"imagenet": images}, "home": tmp_path / "home", "settings": KNN}
    (record,) = zoo.evaluate(str(weights), ["imagenet_knn"], **words)
    assert record.status == "ok", record.message
    assert record.model["weights_sha256"] == checkpoint.describe(weights).sha256


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"benchmarks": ["knn"]}, "unknown benchmark 'knn'"),
        ({"data": {"imagnet": "x"}}, "unknown data set 'imagnet'"),
        ({"data": {"imagenet": "nowhere"}}, "nowhere.* is not there"),
        ({"settings": {"imagenet_knn": {"ks": [0]}}}, "imagenet_knn"),
        ({"settings": {"imagenet_kn": {"ks": [1]}}}, "did you mean imagenet_knn"),
        ({"name": "no name"}, "must be 1-80 letters"),
        ({"name": "odc"}, "'odc' is a model that the zoo trains"),
        ({"model": "odc"}, "has no weights with these settings"),
        ({"model": "nothing.pth"}, "checkpoint nothing.pth is not there"),
    ],
)
def test_what_cannot_be_evaluated(images: Path, tmp_path: Path, words: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {
        "model": Mean(), "benchmarks": ["imagenet_knn"], "data": {"imagenet": images}, "size": 16
    }  # fmt: skip
    with pytest.raises(zoo.Fault, match=said):
        zoo.evaluate(home=tmp_path, **(given | words))


def test_pretraining_by_a_recipe(images: Path, tmp_path: Path) -> None:
    path = zoo.fit(tiny("odc", epochs=1), str(images / "train"), str(tmp_path / "run"))
    assert path == tmp_path / "run" / "backbone.safetensors"
    assert clusters.describe(path.with_name(clusters.NAME)).method == "odc"
    assert zoo.load(path).dim == checkpoint.load(path).dim


def test_pretraining_by_a_name_and_settings(images: Path, tmp_path: Path) -> None:
    few = {
        "epochs": 1,
        "batch_size": 4,
        "clusters": 4,
        "input.size": 16,
        "input.resize": 16,
        "views.0.size": 16,
    }
    smoke = recipes("odc")["smoke"][0].name
    path = zoo.fit(smoke, images / "train", tmp_path, settings=few)
    assert checkpoint.describe(path).origin["epochs"] == 1
    with pytest.raises(zoo.Fault, match="unknown recipe 'odc_smok'; did you mean"):
        zoo.fit("odc_smok", images, tmp_path)
    with pytest.raises(zoo.Fault, match="unknown setting 'epoch'"):
        zoo.fit(smoke, images, tmp_path, settings={"epoch": 1})
    with pytest.raises(zoo.Fault, match="nowhere is not there"):
        zoo.fit(smoke, tmp_path / "nowhere", tmp_path)


def test_a_method_by_its_name_is_the_published_recipe() -> None:
    from zoo.library.training import named

    method, recipe = named("swav")
    assert (method, named(recipe)) == ("swav", ("swav", recipe))
    assert recipe.arch == "resnet50"
    assert named(changed(tiny("odc"), epochs=7))[0] == "odc"


def test_every_recipe_is_of_its_method() -> None:
    from zoo.library.training import named

    for method in registry.names(METHODS):
        for found in recipes(method).values():
            for recipe in found:
                assert named(recipe) == (method, recipe)


def test_a_recipe_of_no_method_here_is_refused(images: Path, tmp_path: Path) -> None:
    stray = Recipe(**{**vars(tiny("random")), "name": "mine"})
    with pytest.raises(zoo.Fault, match=r"fit: expected a recipe of one method.*name"):
        zoo.fit(stray, images, tmp_path)


NOTEBOOK = ROOT / "examples" / "library.ipynb"


def cells() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text())["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


def test_the_notebook_is_small_and_was_executed() -> None:
    assert NOTEBOOK.stat().st_size < 300_000
    assert [cell["execution_count"] for cell in cells()] == list(range(1, len(cells()) + 1))
    assert all(cell["outputs"] for cell in cells() if "print" in "".join(cell["source"]))
    assert "Traceback" not in NOTEBOOK.read_text()


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells():
        exec(compile("".join(cell["source"]), f"cell {cell['execution_count']}", "exec"), names)
