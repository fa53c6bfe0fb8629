"""A published model's card: it brings the model's records, and its code and its commands run."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from pretrain.base.settings import plain
from pretrain.nets.formats.reading import read
from pretrain.train.recipe import decisive
from reports.pages.card import train
from tests.publishing import published, trained_home
from tests.reports.store import pretraining, view
from zoo.suites import builtin
from zoo.suites.file import from_command_line
from zoo.weights.publish import chosen, publish


def test_a_model_of_a_results_folder_brings_its_records(tmp_path: Path) -> None:
    home = trained_home(tmp_path / "home")
    publish(chosen("odc", "smoke", home), tmp_path / "out", "org/name")
    body = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (body["source"]["seed"], body["source"]["suite"]) == (0, "smoke")
    config = json.loads((tmp_path / "out" / "odc.json").read_text())
    assert config["recipe"]["epochs"] == 440
    text = (tmp_path / "out" / "README.md").read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    (result,) = front["model-index"][0]["results"]
    assert result["dataset"]["name"] == "imagenet of suite smoke"  # 300 images are not ImageNet
    assert result["metrics"] == [{"type": "accuracy", "name": "AvgPool (MoCo)", "value": 41.23}]
    assert "zoo run mine --checkpoint hf://org/name --all-benchmarks" in text
    assert "| Parameters | 24 Million" in text
    meta = yaml.safe_load((tmp_path / "out" / "metafile.yml").read_text())
    (model,) = meta["Models"]
    assert model["In Collection"] == meta["Collections"][0]["Name"] == "ODC"
    assert model["Metadata"] == {
        "Epochs": 440,
        "Batch Size": 512,
        "FLOPs": 4087000000,
        "Parameters": 23508032,
    }
    assert model["Results"][0]["Metrics"] == {"Top 1 Accuracy": 41.23}
    assert (tmp_path / "out" / model["Config"]).stem == model["Name"]
    assert re.fullmatch(
        r"https://huggingface\.co/org/name/resolve/main/odc-[0-9a-f]{8}\.pth", model["Weights"]
    )
    assert yaml.safe_load((tmp_path / "out" / "model-index.yml").read_text()) == {"Import": ["metafile.yml"]}


def test_the_card_of_edges_says_which_images_its_network_takes(tmp_path: Path) -> None:
    """The transform ends in the two edges, which the network of the zoo finds itself."""
    out = published(tmp_path, sobel=True)
    said = (out / "README.md").read_text()
    assert "the two edges that the first convolution takes" in said
    (takes,) = re.findall(r"and takes `(.*?)`", said)
    net = read(out / "model.safetensors").backbone
    image = Image.new("RGB", (90, 80))
    assert net(eval(takes, {"net": net, "image": image})).shape == (1, net.dim)
    edges = runpy.run_path(str(out / "transform.py"))["transform"](image)
    first = net.get_submodule("conv1")
    assert first(edges[None]).shape[1] == 16


@pytest.mark.parametrize("arch", [pytest.param("resnet18", marks=pytest.mark.slow), "resnet10_narrow"])
def test_the_code_of_the_card_runs_as_it_stands(
    arch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = published(tmp_path, arch)
    monkeypatch.chdir(out)
    blocks = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == (2 if arch == "resnet18" else 1)
    made = []
    for block in blocks:
        names: dict[str, torch.Tensor] = {}
        exec(block, names)
        made.append(names["features"].detach())
    for features in made:
        torch.testing.assert_close(features, made[0])


@pytest.mark.slow
def test_the_commands_of_a_published_card_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained by `zoo run`, published; its python loads, its training command finds the model trained."""
    monkeypatch.chdir(tmp_path)
    zoo("run deepclusterv2 --benchmarks none --suite smoke")
    publish(chosen("deepclusterv2", "smoke", None), tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    evaluate, train = re.findall(r"```bash\nzoo (.*?)\n```", text)
    assert "deepclusterv2 pretrain: done (recorded)" in zoo(train)
    monkeypatch.chdir(tmp_path / "out")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
    assert "mine" in zoo(f"{evaluate} --suite smoke --dry-run")


def zoo(words: str) -> str:
    """What a command of the zoo says."""
    command = [sys.executable, "-m", "zoo", *shlex.split(words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=500)
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("model", "sets"),
    [
        ("random", ["random.arch=resnet18"]),
        ("odc", ["odc.schedule.kind=cosine", "odc.epochs=9"]),
        ("swav", ["swav.schedule.kind=step", "swav.schedule.milestones=[3]", "pretrain.input.size=96"]),
    ],
)
def test_the_command_of_a_model_with_other_settings_gives_them_again(
    tmp_path: Path, model: str, sets: list[str]
) -> None:
    made = builtin.load("paper", None, from_command_line(sets)).entry(model)
    named = {"name": "mine", "method": model, "recipe": made.recipe.name}
    settings = {"name": "pretrain", "version": 1, "settings": plain(made.recipe)}
    pretraining(tmp_path, model, model=named, protocol=settings)
    said = shlex.split(train(view(tmp_path), view(tmp_path).row("mine")))
    again = [said[i + 1] for i, word in enumerate(said) if word == "--set"]
    remade = builtin.load("paper", None, from_command_line(again)).entry(made.recipe.name)
    assert decisive(remade.recipe) == decisive(made.recipe)
